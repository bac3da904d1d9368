#include "storage/blob_extents.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/escaping.h"

namespace millrace::storage {
namespace {

// The example of storage/README.md: a value of 100,000 bytes, key of 25.
constexpr BlobExtent kExtent = {.offset = 87, .kept_before = 87, .bytes = 100'000, .value_offset = 76, .wal = 0};
constexpr BlobTrailer kTrailer = {
    .wal_count = 1, .extent_count = 1, .kept_bytes = 119, .file_bytes = 100'119, .table_crc = 0x01020304};

const std::vector<uint64_t> kWals = {123};

TEST(BlobExtents, HaveTheDocumentedBytes) {
  std::string extent;
  AppendTo(extent, kExtent);
  EXPECT_EQ(absl::BytesToHexString(extent), "5700000057000000a08601004c00000000000000");
  const BlobExtent decoded = DecodeExtent(extent.data());
  EXPECT_EQ(decoded.offset, kExtent.offset);
  EXPECT_EQ(decoded.kept_before, kExtent.kept_before);
  EXPECT_EQ(decoded.bytes, kExtent.bytes);
  EXPECT_EQ(decoded.value_offset, kExtent.value_offset);
  EXPECT_EQ(decoded.wal, kExtent.wal);
}

TEST(BlobExtents, EndingHasTheDocumentedBytes) {
  std::string bytes;
  AppendEnding(bytes, kWals, kTrailer);
  EXPECT_EQ(absl::BytesToHexString(bytes),
            "7b00000000000000"  // WAL file 000123
            "01000000"          // WAL files
            "01000000"          // extents
            "7700000000000000"  // bytes kept
            "1787010000000000"  // bytes as RocksDB sees the file
            "04030201"          // checksum of the extents
            "ba6f7d5b"          // checksum of what stands before
            "01000000"          // version
            "6d72657874656e74");
}

TEST(BlobExtents, ADamagedEndingIsNone) {
  std::string bytes;
  AppendEnding(bytes, kWals, kTrailer);
  const uint64_t size = kTrailer.kept_bytes + kTrailer.extents_bytes() + bytes.size();
  const auto decode = [&](uint64_t file_bytes) -> std::optional<std::vector<uint64_t>> {
    if (!DecodeTrailer(std::string_view(bytes).substr(kTrailer.wals_bytes()), file_bytes)) return std::nullopt;
    return DecodeWals(bytes);
  };
  ASSERT_EQ(decode(size), kWals);
  EXPECT_FALSE(decode(size + 1));
  EXPECT_FALSE(DecodeTrailer(std::string_view(bytes).substr(1), size));
  for (char& byte : bytes) {
    byte ^= 1;
    EXPECT_FALSE(decode(size));
    byte ^= 1;
  }
}

}  // namespace
}  // namespace millrace::storage
