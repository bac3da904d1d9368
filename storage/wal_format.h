// The bytes of a RocksDB 7.8.3 write-ahead log, as far as we look at them.
//
// A log file is blocks of 32 KiB of fragments, each `crc(4) length(2) type(1) data` (db/log_format.h). The fragments of a record
// make a WriteBatch: `sequence(8) count(4)`, then records of `tag [family] key [value]` with varint lengths (db/write_batch.cc).
// Within a record every block but the first begins with a fragment's header, so the place of one byte tells the places of all
// that follow it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace::storage {

inline constexpr size_t kWalBlockBytes = 32 << 10;
inline constexpr size_t kWalHeaderBytes = 7;  // of a fragment
inline constexpr size_t kBatchHeaderBytes = 12;

enum WalFragment : uint8_t { kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

// db/dbformat.h
inline constexpr uint8_t kPutTag = 0x1;
inline constexpr uint8_t kLogDataTag = 0x3;  // for the log only: no key, not in the memtable

// Of the data behind a fragment's header.
size_t WalFragmentBytes(const char* header);

// Where the first byte of a record's data goes that is appended to a file of `file_bytes`.
uint64_t WalRecordBegin(uint64_t file_bytes);

// Where in the file the byte `bytes` after the one at `offset` lies, both of one record.
uint64_t WalPosition(uint64_t offset, uint64_t bytes);

// A checksum as RocksDB stores it, rotated and shifted (util/crc32c.h), as it was computed.
uint32_t UnmaskedCrc(uint32_t stored);

}  // namespace millrace::storage
