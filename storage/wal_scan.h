// Tells the torn tail of a write-ahead log from damage, before RocksDB replays it.
//
// RocksDB 7.8.3 (kPointInTimeRecovery) replays up to the first record that it cannot read and silently drops the rest, whether
// a crash left it or a byte of something long synced has flipped; and it takes zeros or a missing file for nothing at all and
// goes on behind them. So every batch of rounds, and of logs that are made or removed, begins with the sequence number that was
// known to be synced when it was written (PutSyncedMark), and what cannot be read is held against the highest such number found
// anywhere behind it:
//   - at or below it: damage. Records that were promised cannot be read. Nothing may be opened.
//   - above it: the tail that a crash left, with or without holes. Replay ends before it.
// A file whose name or whole content was lost leaves nothing behind that could not be read. So the mark also says which log files
// were the newest when the batch was begun: from that each file's records tell the file before it, which must have some, too.
// What was synced last passes for a torn tail when it is damaged, if no batch after it can be read that says so.
//
// The scan also tells, while a record is replayed, where it lies: its payloads do not go into the memtable, only their places do
// (README.md).
//
//     WalGuard guard(files, directory, payloads.record());
//     options.wal_filter = &guard;                    // RocksDB asks it before it replays
//     rocksdb::DB::Open(options, ...);                // fails if the log is damaged
//     guard.status();                                   // kDataLoss: names the file and the offset
//
// Not thread-safe; RocksDB calls it on the thread that opens.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <rocksdb/wal_filter.h>
#include <rocksdb/write_batch.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/entry_format.h"
#include "storage/file_system.h"
#include "storage/wal_record.h"

namespace millrace::storage {

// Put first into every batch: all up to `sequence` is on the disk, and these were the newest log files when the batch was begun.
void PutSyncedMark(rocksdb::WriteBatch& batch, uint64_t sequence, const StoreFileSystem::NewestWals& wals);

struct Replayable {
  uint64_t last = 0;  // sequence number of the last record that may be replayed
  // Records that are large enough to hold a placed payload, in order of their sequence numbers.
  struct LargeRecord {
    uint64_t sequence = 0;
    PayloadPlace first_byte;
  };
  std::vector<LargeRecord> large_records;
  // Where what is there ends to be readable, and was not promised to be: "000012.log, offset 4711". Empty: nowhere.
  std::string cut;
  // `cut` is the last thing there is, and ends with its file: a write that did not come to its end. If the machine did not go down,
  // nobody has been told that any of it was written. (A length that has flipped can look like that; its checksum is what is missing.)
  bool cut_short = false;
  absl::Status damage;  // what follows was promised, and cannot be read: kDataLoss, names the file and the offset
};

// What may be replayed, from 000123.log on if `first_wal` is 123. The log files are read from the disk, as far as the page cache
// has no newer bytes: after a failed sync it may hold what the disk does not.
absl::StatusOr<Replayable> ScanWal(rocksdb::FileSystem& files, const std::string& directory, uint64_t first_wal);

class WalGuard : public rocksdb::WalFilter {
 public:
  enum class OnDamage { kRefuse, kReplayUpToIt };

  // `files` and `record` outlive it.
  WalGuard(StoreFileSystem& files, std::string directory, WalRecord& record, OnDamage on_damage = OnDamage::kRefuse)
      : files_(files), directory_(std::move(directory)), record_(record), on_damage_(on_damage) {}

  // What the scan found, whatever is done about it.
  const absl::Status& status() const { return status_; }
  const std::string& cut() const { return cut_; }  // Replayable's, as the next
  bool cut_short() const { return cut_short_; }
  // Nothing more will be replayed: gives its memory back.
  void Done() { replayable_ = {}; }

  const char* Name() const override { return "millrace-wal-guard"; }
  void ColumnFamilyLogNumberMap(const std::map<uint32_t, uint64_t>& first_wals,
                                const std::map<std::string, uint32_t>& ids) override;
  WalProcessingOption LogRecordFound(unsigned long long wal, const std::string& path,  // NOLINT(google-runtime-int)
                                     const rocksdb::WriteBatch& batch, rocksdb::WriteBatch* new_batch,
                                     bool* changed) override;

 private:
  StoreFileSystem& files_;
  const std::string directory_;
  WalRecord& record_;
  const OnDamage on_damage_;
  absl::Status status_;
  std::string cut_;
  bool cut_short_ = false;
  Replayable replayable_;
};

}  // namespace millrace::storage
