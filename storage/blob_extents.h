// What a blob file says about the values that it does not hold itself: where in which WAL file their bytes lie.
//
// Such a file holds the bytes that RocksDB wrote to it, without those values, and after them a table that ends it:
//
//     [bytes as RocksDB wrote them, the extents' bytes left out]
//     [values]          that were left out first and then moved here, because little else of their WAL file was wanted
//     [extents]         20 bytes each, in the order of the file
//     [WAL numbers]     8 bytes each; an extent names one by its place in this list
//     [trailer]         44 bytes:  wal_count(4) extent_count(4) kept_bytes(8) file_bytes(8) table_crc(4) trailer_crc(4)
//                                  version(4) magic(8)
//     extent            offset(4) kept_before(4) bytes(4) value_offset(4) wal(4)
//
// Integers are little-endian. `table_crc` is the CRC-32C of the extents, `trailer_crc` that of the WAL numbers and the trailer's
// bytes before it. README.md has a worked example.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::storage {

// An extent costs the file its length in the table and a reader a second file: a smaller value is as cheap where RocksDB puts it.
inline constexpr uint32_t kExtentBytesMin = 4096;

// Of a blob file's header and footer.
inline constexpr uint32_t kRocksDbBlobMagic = 2395959;

// Bytes of the file as RocksDB sees it that lie in a WAL file instead.
struct BlobExtent {
  static constexpr size_t kBytes = 20;
  // As `wal`: the value was moved here, and `value_offset` is of this file.
  static constexpr uint32_t kThisFile = 0xffffffff;

  uint32_t offset = 0;        // as RocksDB sees the file
  uint32_t kept_before = 0;   // bytes that the file itself keeps of those before `offset`
  uint32_t bytes = 0;         // headers between a WAL's fragments do not count
  uint32_t value_offset = 0;  // of the first byte, in the WAL file
  uint32_t wal = 0;           // place in the list of WAL numbers

  uint64_t end() const { return uint64_t{offset} + bytes; }
};

void AppendTo(std::string& out, const BlobExtent& extent);
BlobExtent DecodeExtent(const char* bytes);

struct BlobTrailer {
  static constexpr size_t kBytes = 44;

  uint32_t wal_count = 0;
  uint32_t extent_count = 0;
  uint64_t kept_bytes = 0;  // of the file itself, before the table, values that were moved to it included
  uint64_t file_bytes = 0;  // as RocksDB sees the file
  uint32_t table_crc = 0;

  uint64_t extents_bytes() const { return uint64_t{extent_count} * BlobExtent::kBytes; }
  uint64_t wals_bytes() const { return uint64_t{wal_count} * sizeof(uint64_t); }
};

// The WAL numbers and the trailer: how the file ends.
void AppendEnding(std::string& out, const std::vector<uint64_t>& wals, const BlobTrailer& trailer);

// How a blob file ends.
enum class BlobEnding {
  kExtents,
  kRocksDb,  // it wrote the file by itself
  kUnknown,  // unfinished, or damaged: which WAL files it needs is not known
};

// Of the last BlobTrailer::kBytes of a file of `size` bytes, all but trailer_crc, which covers what stands before as well.
std::optional<BlobTrailer> DecodeTrailer(std::string_view bytes, uint64_t size);
// Of the last wals_bytes() + BlobTrailer::kBytes; nothing if they are damaged.
std::optional<std::vector<uint64_t>> DecodeWals(std::string_view bytes);
// Whether they are RocksDB's own footer.
bool IsRocksDbFooter(std::string_view bytes);

// What is known in memory of a blob file with extents.
struct BlobFile {
  uint64_t number = 0;
  BlobTrailer trailer;
  std::vector<uint64_t> wals;  // each once
};

}  // namespace millrace::storage
