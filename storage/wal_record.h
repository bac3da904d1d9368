// Where the record of the write-ahead log lies whose entries RocksDB puts into the memtable next. RocksDB appends a batch to the log
// and inserts it right after, on one thread, so what was appended last is what is inserted now.
//
//     record.Expect();                       // DB::Write begins
//     record.Appending(wal, file_bytes);     // the first append after that; the file's length before it
//     record.PlaceOf(position);              // from the memtable, for each payload in the batch
//
// When a log is replayed nothing is appended; Replaying() tells instead. Not thread-safe: belongs to who writes, or opens.
#pragma once

#include <cstdint>
#include <optional>

#include "proto/wire/check.h"
#include "storage/entry_format.h"
#include "storage/wal_format.h"

namespace millrace::storage {

class WalRecord {
 public:
  void Expect() {
    expected_ = true;
    first_byte_.reset();
  }
  void Appending(uint64_t wal, uint64_t file_bytes) {
    if (!expected_) return;
    expected_ = false;
    first_byte_ = PayloadPlace{wal, WalRecordBegin(file_bytes)};
  }
  void Replaying(const PayloadPlace& first_byte) { first_byte_ = first_byte; }
  // Nothing is known of the next one.
  void Forget() {
    expected_ = false;
    first_byte_.reset();
  }

  // Of the byte at `position` of the record's batch; nothing: unknown.
  std::optional<PayloadPlace> PlaceOf(uint64_t position) const {
    MILLRACE_CHECK(!expected_) << "a batch was inserted that no WAL file was given";
    if (!first_byte_) return std::nullopt;
    return PayloadPlace{first_byte_->file, WalPosition(first_byte_->offset, position)};
  }

 private:
  bool expected_ = false;
  std::optional<PayloadPlace> first_byte_;
};

}  // namespace millrace::storage
