#include "proto/wire/crc32c.h"

#include <algorithm>
#include <string>

#include <isa-l/crc.h>

namespace millrace {

uint32_t Crc32c(uint32_t crc, std::string_view data) {
  // ISA-L takes lengths as int, and the checksum before its final inversion. It does not write to the buffer.
  constexpr size_t kPieceBytes = size_t{1} << 30;
  auto* bytes = reinterpret_cast<unsigned char*>(const_cast<char*>(data.data()));
  uint32_t state = ~crc;
  for (size_t done = 0; done < data.size(); done += kPieceBytes) {
    state = crc32_iscsi(bytes + done, static_cast<int>(std::min(data.size() - done, kPieceBytes)), state);
  }
  return ~state;
}

uint32_t Crc32c(uint32_t crc, const absl::Cord& data) {
  for (absl::string_view chunk : data.Chunks()) crc = Crc32c(crc, std::string_view(chunk.data(), chunk.size()));
  return crc;
}

Crc32cShift::Crc32cShift(size_t bytes) {
  const std::string zeros(bytes, '\0');
  for (size_t byte = 0; byte < table_.size(); ++byte) {
    for (uint32_t value = 1; value < 256; ++value) {
      const uint32_t low = value & -value;
      // Without the inversions before and after, which are not linear.
      if (value == low) table_[byte][value] = ~Crc32c(~(value << 8 * byte), zeros);
      if (value != low) table_[byte][value] = table_[byte][low] ^ table_[byte][value ^ low];
    }
  }
}

}  // namespace millrace
