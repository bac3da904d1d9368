// The WAL files of a store as places of values: what lies where and has not been flushed yet, which files blob files refer to,
// and how long each stays.
//
// A WAL file that RocksDB deletes stays, under the name 000123.values, as long as an extent of a blob file refers to it.
//
//     WalValues wals(directory, files);
//     wals.Add(123, key, value);                           // while 000123.log is written or replayed
//     auto place = wals.Take(key, bytes, crc, pinned);     // while a blob file is written
//     wals.Sync(place->wal, bytes);                        // before the blob file may be relied on
//     wals.Delete(123);                                      // RocksDB needs it no more
//     wals.Unpin(123);                                       // nor does a blob file
//
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <rocksdb/file_system.h>

#include "storage/open_files.h"
#include "storage/wal_value_scanner.h"

namespace millrace::storage {

// A WAL file that is open for writing, as its writer and those who have to sync it share it.
class WritableWal {
 public:
  explicit WritableWal(rocksdb::FSWritableFile* file) : file_(file) {}

  void Wrote(uint64_t bytes) { written_.fetch_add(bytes, std::memory_order_release); }
  uint64_t written() const { return written_.load(std::memory_order_acquire); }
  uint64_t synced() const { return synced_.load(std::memory_order_acquire); }
  // Whether it is still open; syncs it if so. All syncs of the file go through here, as the first failure is final: the kernel
  // tells of lost pages once, and takes them for written from then on.
  bool Sync(rocksdb::IOStatus* status);
  void Closing();

 private:
  std::atomic<uint64_t> written_{0};
  std::atomic<uint64_t> synced_{0};
  std::mutex mutex_;
  rocksdb::FSWritableFile* file_;  // guarded by mutex_ against being closed
  rocksdb::IOStatus last_sync_;    // guarded by mutex_
};

class WalValues {
 public:
  struct Place {
    uint64_t wal = 0;
    WalValue value;
  };

  // `files` outlives it.
  WalValues(std::string directory, rocksdb::FileSystem& files, OpenFiles& open_files)
      : directory_(std::move(directory)), files_(files), open_files_(open_files) {}

  // RocksDB begins to write a WAL file.
  void Begin(uint64_t wal, std::shared_ptr<WritableWal> writable);
  // RocksDB begins to read one. Whether it is one that an earlier process wrote, so that its values are not known.
  bool Replay(uint64_t wal, uint64_t bytes);
  // It holds the value of `key`.
  void Add(uint64_t wal, std::string_view key, const WalValue& value);

  // Where the value of `key` with this length and checksum lies, if it is known. The first time that a WAL file is in the answer
  // it is pinned and put into `pinned`.
  std::optional<Place> Take(const std::string& key, uint64_t bytes, uint32_t crc, std::set<uint64_t>& pinned);

  // Whether what was taken is most of the WAL file. A file of which little is wanted would keep more space than it spares: what
  // is not in a flush was removed before it, or is small.
  bool IsWorthKeeping(uint64_t wal) const;

  // When it returns, the first `bytes` of the WAL file are on the disk.
  rocksdb::IOStatus Sync(uint64_t wal, uint64_t bytes);

  // At the start, for each blob file that refers to it, whether the file is there or not.
  void Pin(uint64_t wal);
  void Unpin(uint64_t wal);
  // At the start: what some blob file needs is not known, so WAL files up to this one, those of earlier processes, stay.
  void KeepUnpinned(uint64_t last);
  // The blob files that were not known are gone.
  void DeleteKeptUnpinned();
  // RocksDB wants 000123.log deleted.
  rocksdb::IOStatus Delete(uint64_t wal);
  // At the start, after the pins: removes what an earlier process would have removed next. `kept` are the 000123.values there.
  rocksdb::IOStatus DeleteUnpinned(const std::vector<uint64_t>& kept);

  // `bytes` of a value that lies at `value_offset`, without its first `skip`. In one call to the kernel: what lies between a
  // log's fragments goes to waste.
  rocksdb::IOStatus Read(uint64_t wal, uint64_t value_offset, uint64_t skip, size_t bytes, char* out);

 private:
  struct Wal {
    bool rocksdb_uses = true;
    int pins = 0;
    uint64_t bytes = 0;                     // unless it is open for writing
    uint64_t taken_bytes = 0;               // of values that blob files have taken
    uint64_t synced = 0;                    // bytes, as far as it is not `writable` that knows
    std::shared_ptr<WritableWal> writable;  // of this process
    std::unordered_map<std::string, WalValue> values;

    void RocksDbLeft();
  };

  std::string Path(uint64_t wal, bool rocksdb_uses) const;
  rocksdb::IOStatus Open(uint64_t wal, std::shared_ptr<const OpenFiles::File>* file);
  rocksdb::IOStatus DeleteFile(uint64_t wal, bool rocksdb_uses);
  rocksdb::IOStatus SyncReopened(const std::string& path);

  const std::string directory_;
  rocksdb::FileSystem& files_;
  OpenFiles& open_files_;
  mutable std::mutex mutex_;
  std::map<uint64_t, Wal> wals_;      // guarded by mutex_
  uint64_t keep_unpinned_to_ = 0;     // guarded by mutex_
  std::set<uint64_t> kept_unpinned_;  // 000123.values that nothing is known to need; guarded by mutex_
};

}  // namespace millrace::storage
