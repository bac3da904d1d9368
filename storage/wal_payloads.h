// The files of the write-ahead log as places of payloads: which tables (SST files) refer to each, how long it stays, what of it
// is on the disk.
//
// A WAL file that RocksDB deletes stays, under the name 000123.payloads, as long as a table refers to it.
//
//     WalPayloads payloads(directory, files);
//     payloads.Placed({123, 4711}, 65536);             // a payload lies there: 000123.log is being written or replayed
//     payloads.Pin(130, {123});                        // 000130.sst refers to it
//     payloads.Delete(123);                            // RocksDB needs it no more
//     payloads.Read({123, 4711}, 65536, out);
//     payloads.Unpin(130);                             // the table is gone, and with the last one the file
//
// Thread-safe, but for record().
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <rocksdb/file_system.h>

#include "storage/entry_format.h"
#include "storage/open_files.h"
#include "storage/wal_record.h"

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

class WalPayloads {
 public:
  // `files` outlives it.
  WalPayloads(std::string directory, rocksdb::FileSystem& files);

  WalRecord& record() { return record_; }

  // RocksDB begins to write a WAL file.
  void Begin(uint64_t wal, std::shared_ptr<WritableWal> writable);
  // RocksDB begins to read one that an earlier process wrote, of `bytes`.
  void Replay(uint64_t wal, uint64_t bytes);
  // How long the one being written is.
  void Wrote(uint64_t bytes) { bytes_being_written_ = bytes; }
  uint64_t bytes_being_written() const { return bytes_being_written_; }

  // A payload of `bytes` that is in the memtable lies there.
  void Placed(const PayloadPlace& place, uint64_t bytes);
  // The WAL files, but for the one being written, of which less than half is payloads that were placed in it. To keep one for
  // them would take more space than to write them again.
  std::set<uint64_t> Sparse() const;

  // When it returns, all WAL files but the one being written are on the disk.
  rocksdb::IOStatus SyncClosed();

  // 000130.sst, for 130, refers to these WAL files. [again with the same ones: nothing changes]
  void Pin(uint64_t table, const std::vector<uint64_t>& wals);
  void Unpin(uint64_t table);
  // RocksDB wants 000123.log deleted. Before Opened() it stays anyway.
  rocksdb::IOStatus Delete(uint64_t wal);
  // All tables that there are have pinned what they refer to: what none does goes.
  rocksdb::IOStatus Opened();

  // `bytes` from `place` on, of one record. In one call to the kernel: what lies between a log's fragments goes to waste.
  rocksdb::IOStatus Read(const PayloadPlace& place, size_t bytes, char* out);

 private:
  struct Wal {
    bool rocksdb_uses = true;
    int pins = 0;
    uint64_t placed_bytes = 0;
    uint64_t bytes = 0;                     // unless it is `writable` that knows
    uint64_t synced = 0;                    // the same
    std::shared_ptr<WritableWal> writable;  // of this process

    uint64_t size() const { return writable != nullptr ? writable->written() : bytes; }
    void RocksDbLeft();
  };

  std::string PathOf(uint64_t wal) const;
  rocksdb::IOStatus Open(uint64_t wal, std::shared_ptr<const OpenFiles::File>* file);
  rocksdb::IOStatus DeleteFile(uint64_t wal, std::string_view suffix);
  rocksdb::IOStatus Sync(uint64_t wal);
  rocksdb::IOStatus SyncReopened(const std::string& path);

  const std::string directory_;
  rocksdb::FileSystem& files_;
  OpenFiles open_files_;
  WalRecord record_;
  std::atomic<uint64_t> bytes_being_written_{0};
  // Held while a file is opened to read, renamed or deleted: what is opened has its name, and what is deleted is not kept open.
  // Taken before mutex_.
  std::mutex names_mutex_;
  mutable std::mutex mutex_;  // not held while the disk is asked for anything
  // Guarded by mutex_.
  std::map<uint64_t, Wal> wals_;
  uint64_t being_written_ = 0;
  uint64_t being_replayed_ = 0;  // or was last
  std::map<uint64_t, std::vector<uint64_t>> pins_of_tables_;
  std::set<uint64_t> gone_tables_;  // before opened_: whoever saw one before may still pin for it
  bool opened_ = false;
};

}  // namespace millrace::storage
