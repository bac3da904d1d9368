// The bytes of a RocksDB 7.8.3 write-ahead log, as far as we look at them.
//
// A log file is blocks of 32 KiB of fragments, each `crc(4) length(2) type(1) data` (db/log_format.h). The fragments of a record
// make a WriteBatch: `sequence(8) count(4)`, then records of `tag [family] key [value]` with varint lengths (db/write_batch.cc).
// Within a record every block but the first begins with a fragment's header, so the place where a value begins tells where all
// of it lies.
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace::storage {

inline constexpr size_t kWalBlockBytes = 32 << 10;
inline constexpr size_t kWalHeaderBytes = 7;  // of a fragment
inline constexpr size_t kBatchHeaderBytes = 12;

enum WalFragment : uint8_t { kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

// db/dbformat.h: what a batch of ours can have.
enum BatchTag : uint8_t {
  kDeletion = 0x0,
  kPut = 0x1,
  kLogData = 0x3,
  kFamilyDeletion = 0x4,
  kFamilyPut = 0x5,
  kNoop = 0xD,
  kFamilyRangeDeletion = 0xE,
  kRangeDeletion = 0xF,
};

// Of the data behind a fragment's header.
size_t WalFragmentBytes(const char* header);

// Where in the file the byte `bytes` after the one at `offset` lies, both of one record.
uint64_t WalPosition(uint64_t offset, uint64_t bytes);

// A checksum as RocksDB stores it, rotated and shifted (util/crc32c.h), as it was computed.
uint32_t UnmaskedCrc(uint32_t stored);

}  // namespace millrace::storage
