#include "storage/entry_format.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/escaping.h"

namespace millrace::storage {
namespace {

using raft::EntryHeader;
using raft::EntryType;
using raft::LogIndex;
using raft::Offset;
using raft::Term;

// The example of storage/README.md.
StoredHeader Example() {
  return {.entry = {.type = EntryType::kRecords,
                    .term = Term(3),
                    .index = LogIndex(42),
                    .base_offset = Offset(1000),
                    .record_count = 25,
                    .append_time = 1'700'000'000'000,
                    .max_timestamp = 1'699'999'999'990,
                    .payload_crc = 0xe3069283,
                    .chain = 0x01020304},
          .log_bytes = 65536,
          .segment_max_timestamp = 1'700'000'000'005,
          .payload_bytes = 9};
}

std::string Stored(const StoredHeader& header, const std::string& payload) {
  std::string value(kStoredHeaderBytes, '\0');
  EncodeHeader(header, value.data());
  return value + payload;
}

TEST(EntryFormat, HeaderComesBackAsItWas) {
  const auto decoded = DecodeHeader(Stored(Example(), "123456789"));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->entry.type, EntryType::kRecords);
  EXPECT_EQ(decoded->entry.term, Term(3));
  EXPECT_EQ(decoded->entry.index, LogIndex(42));
  EXPECT_EQ(decoded->entry.base_offset, Offset(1000));
  EXPECT_EQ(decoded->entry.record_count, 25);
  EXPECT_EQ(decoded->entry.append_time, 1'700'000'000'000);
  EXPECT_EQ(decoded->entry.max_timestamp, 1'699'999'999'990);
  EXPECT_EQ(decoded->entry.payload_crc, 0xe3069283);
  EXPECT_EQ(decoded->entry.chain, 0x01020304u);
  EXPECT_EQ(decoded->log_bytes, 65536);
  EXPECT_EQ(decoded->segment_max_timestamp, 1'700'000'000'005);
  EXPECT_EQ(decoded->payload_bytes, 9u);
}

TEST(EntryFormat, BytesAreThoseOfTheReadme) {
  const std::string value = Stored(Example(), "123456789");
  const auto hex = absl::BytesToHexString(absl::string_view(value.data(), value.size()));
  EXPECT_EQ(std::string(hex),
            "0101000019000000"  // version, type, placed, zero, record_count
            "0300000000000000"  // term
            "2a00000000000000"  // index
            "e803000000000000"  // base_offset
            "0068e5cf8b010000"  // append_time
            "f667e5cf8b010000"  // max_timestamp
            "839206e304030201"  // payload_crc, chain
            "0000010000000000"  // log_bytes
            "0568e5cf8b010000"  // segment_max_timestamp
            "0900000008666728"  // payload_bytes, header_crc
            "313233343536373839");
}

TEST(EntryFormat, PlaceIsThatOfTheReadme) {
  StoredHeader header = Example();
  header.payload_bytes = 100'000;
  header.placed = true;
  std::string value = Stored(header, std::string(kPlaceBytes, '\0'));
  EncodePlace({123, 50}, value.data() + kStoredHeaderBytes);
  EXPECT_EQ(value[2], 1);
  EXPECT_EQ(absl::BytesToHexString(absl::string_view(value).substr(kStoredHeaderBytes)),
            "7b00000000000000"
            "3200000000000000"
            "609891a1");
  EXPECT_TRUE(HasPlace(value));
  const auto decoded = DecodeHeader(value);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_TRUE(decoded->placed);
  EXPECT_EQ(decoded->payload_bytes, 100'000u);
  EXPECT_EQ(DecodePlace(value).value(), (PayloadPlace{123, 50}));
  for (size_t bit = kStoredHeaderBytes * 8; bit < value.size() * 8; ++bit) {
    std::string bad = value;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_TRUE(absl::IsDataLoss(DecodePlace(bad).status())) << "bit " << bit;
  }
  EXPECT_TRUE(absl::IsDataLoss(DecodeHeader(value + "0").status()));
  EXPECT_FALSE(HasPlace(value + "0"));
  EXPECT_FALSE(HasPlace(Stored(Example(), std::string(kPlaceBytes, 'p')))) << "a payload as long as a place";
}

TEST(EntryFormat, EveryFlippedBitOfAHeaderIsFound) {
  const std::string good = Stored(Example(), "123456789");
  for (size_t bit = 0; bit < kStoredHeaderBytes * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_TRUE(absl::IsDataLoss(DecodeHeader(bad).status())) << "bit " << bit;
  }
}

TEST(EntryFormat, OneDamagedByteOfAHeaderIsMendedAndTwoAreNot) {
  constexpr uint32_t kBefore = 77;
  StoredHeader header = Example();
  header.entry.chain = ChainDigest(kBefore, header.entry);
  std::string good(kStoredHeaderBytes, 0);
  EncodeHeader(header, good.data());
  good.append(header.payload_bytes, 'p');
  const raft::LogIndex index = header.entry.index;
  const raft::Offset offset = header.entry.base_offset;
  for (size_t at = 0; at < kStoredHeaderBytes; ++at) {
    std::string damaged = good;
    damaged[at] = static_cast<char>(~damaged[at]);
    const auto mended = MendHeader(damaged, index, offset, kBefore);
    ASSERT_TRUE(mended) << "byte " << at;
    EXPECT_EQ(mended->entry.end_offset(), header.entry.end_offset());
    EXPECT_EQ(mended->log_bytes, header.log_bytes);
    EXPECT_EQ(mended->entry.chain, header.entry.chain);
    damaged[(at + 7) % kStoredHeaderBytes] ^= 1;
    EXPECT_FALSE(MendHeader(damaged, index, offset, kBefore)) << "byte " << at;
  }
  std::string damaged = good;
  damaged[20] ^= 1;
  EXPECT_FALSE(MendHeader(damaged, index, offset, kBefore + 1)) << "another log's";
  EXPECT_FALSE(MendHeader(damaged, index + 1, offset, kBefore));
  EXPECT_FALSE(MendHeader(damaged, index, offset + 1, kBefore));
  EXPECT_FALSE(MendHeader(damaged.substr(0, 40), index, offset, kBefore));
}

TEST(EntryFormat, TooShortOrTooLongValuesAreDamaged) {
  const std::string good = Stored(Example(), "123456789");
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_TRUE(absl::IsDataLoss(DecodeHeader(std::string_view(good).substr(0, size)).status())) << size;
  }
  EXPECT_TRUE(absl::IsDataLoss(DecodeHeader(good + "0").status()));
}

TEST(EntryFormat, ChainCoversEveryFieldAndWhatCameBefore) {
  const EntryHeader header = Example().entry;
  const uint32_t digest = ChainDigest(1, header);
  EXPECT_EQ(ChainDigest(1, header), digest);
  EXPECT_NE(ChainDigest(2, header), digest);
  const auto differs = [&](auto change) {
    EntryHeader other = header;
    change(other);
    return ChainDigest(1, other) != digest;
  };
  EXPECT_TRUE(differs([](EntryHeader& h) { h.type = EntryType::kNoop; }));
  EXPECT_TRUE(differs([](EntryHeader& h) { h.term = Term(4); }));
  EXPECT_TRUE(differs([](EntryHeader& h) { h.index = LogIndex(43); }));
  EXPECT_TRUE(differs([](EntryHeader& h) { h.base_offset = Offset(1001); }));
  EXPECT_TRUE(differs([](EntryHeader& h) { h.record_count = 24; }));
  EXPECT_TRUE(differs([](EntryHeader& h) { h.append_time += 1; }));
  EXPECT_TRUE(differs([](EntryHeader& h) { h.max_timestamp += 1; }));
  EXPECT_TRUE(differs([](EntryHeader& h) { h.payload_crc += 1; }));
  EXPECT_FALSE(differs([](EntryHeader& h) { h.chain += 1; }));  // its own place is not part of it
}

}  // namespace
}  // namespace millrace::storage
