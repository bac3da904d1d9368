#include "proto/wire/crc32c.h"

#include <string>

#include "gtest/gtest.h"
#include "tests/wire/random_input.h"

namespace millrace {
namespace {

// Bit by bit, as the polynomial says.
uint32_t SlowCrc32c(std::string_view data) {
  uint32_t crc = ~0u;
  for (char byte : data) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc;
}

TEST(Crc32c, IsThatOfRfc3720) {
  std::string ascending(32, '\0'), descending(32, '\0');
  for (int i = 0; i < 32; ++i) ascending[i] = static_cast<char>(i), descending[i] = static_cast<char>(31 - i);
  const std::string read_command(
      "\x01\xc0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x14\x00\x00\x00\x00\x00\x04\x00"
      "\x00\x00\x00\x14\x00\x00\x00\x18\x28\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00",
      48);
  EXPECT_EQ(Crc32c(0, std::string(32, '\0')), 0x8a9136aa);
  EXPECT_EQ(Crc32c(0, std::string(32, '\xff')), 0x62a8ab43);
  EXPECT_EQ(Crc32c(0, ascending), 0x46dd794e);
  EXPECT_EQ(Crc32c(0, descending), 0x113fdb5c);
  EXPECT_EQ(Crc32c(0, read_command), 0xd9963a56);
  EXPECT_EQ(Crc32c(0, "123456789"), 0xe3069283);
}

TEST(Crc32c, OfNothingIsWhatItContinues) {
  EXPECT_EQ(Crc32c(0, ""), 0);
  EXPECT_EQ(Crc32c(0x12345678, absl::Cord()), 0x12345678);
}

TEST(Crc32c, ContinuesOverPiecesAndChunks) {
  RandomInput random;
  for (int i = 0; i < 200; ++i) {
    const std::string bytes = random.SomeBytes();
    const std::string_view view = bytes;
    const size_t cut = random.Below(bytes.size() + 1);
    EXPECT_EQ(Crc32c(0, view), SlowCrc32c(view));
    EXPECT_EQ(Crc32c(Crc32c(0, view.substr(0, cut)), view.substr(cut)), SlowCrc32c(view));
    EXPECT_EQ(Crc32c(0, random.Chunked(bytes)), SlowCrc32c(view));
  }
}

TEST(Crc32c, OfNeighboursAreJoined) {
  RandomInput random;
  for (int i = 0; i < 50; ++i) {
    const std::string first = random.SomeBytes(), second = random.SomeBytes();
    const Crc32cShift shift(second.size());
    EXPECT_EQ(shift(Crc32c(0, first)) ^ Crc32c(0, second), SlowCrc32c(first + second));
  }
}

}  // namespace
}  // namespace millrace
