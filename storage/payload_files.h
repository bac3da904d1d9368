// The files in which payloads lie: which tables (SST files) refer to each, how long it stays, what of it is on the disk.
//
// Most are WAL files. One that RocksDB deletes stays, under the name 000123.payloads, as long as a table refers to it. Others were
// made to move payloads into, 000001.moved: out of files of which little is still referred to.
//
//     PayloadFiles payloads(directory, files);
//     payloads.Placed({123, 4711}, 65536);             // a payload lies there: 000123.log is being written or replayed
//     payloads.Pin(130, {{123, 65536}});               // 000130.sst refers to so many bytes in it
//     payloads.Delete(123);                            // RocksDB needs it no more
//     payloads.Read({123, 4711}, 65536, out);
//     payloads.Unpin(130);                             // the table is gone, and with the last one the file
//
// Thread-safe, but for record().
#pragma once

#include <algorithm>
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
#include "storage/file_remover.h"
#include "storage/open_files.h"
#include "storage/wal_record.h"

namespace millrace::storage {

// A file that is open for writing, as its writer and those who have to sync it share it.
class SharedFile {
 public:
  explicit SharedFile(rocksdb::FSWritableFile* file) : file_(file) {}

  void Wrote(uint64_t bytes) { written_.fetch_add(bytes, std::memory_order_release); }
  uint64_t written() const { return written_.load(std::memory_order_acquire); }
  // Nothing was written since the last sync, and nothing failed. Never waits for a sync under way.
  bool settled() const { return !failed_ && synced_.load(std::memory_order_acquire) == written(); }
  // Whether it is still open; syncs it if so. All syncs of the file go through here, as the first failure is final: the kernel
  // tells of lost pages once, and takes them for written from then on.
  bool Sync(rocksdb::IOStatus* status);
  // A write failed: so does each sync from now on.
  void Fail(const rocksdb::IOStatus& status);
  void Closing();

 private:
  std::atomic<uint64_t> written_{0};
  std::atomic<uint64_t> synced_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;  // held through a sync, so that the file is not closed meanwhile
  // Guarded by mutex_.
  rocksdb::FSWritableFile* file_;
  rocksdb::IOStatus last_sync_;
};

// So many bytes of a file: payloads, and what lies around them.
struct PayloadReference {
  uint64_t file = 0;
  uint64_t bytes = 0;

  bool operator==(const PayloadReference&) const = default;
};

class PayloadFiles {
 public:
  // `files` outlives it.
  PayloadFiles(std::string directory, rocksdb::FileSystem& files,
               uint64_t removal_piece_bytes = FileRemover::kPieceBytes);

  WalRecord& record() { return record_; }

  // RocksDB begins to write a WAL file.
  void Begin(uint64_t wal, std::shared_ptr<SharedFile> writable);
  // RocksDB begins to read one that an earlier process wrote, of `bytes`.
  void Replay(uint64_t wal, uint64_t bytes);
  // How long the one being written is.
  void Wrote(uint64_t bytes) { bytes_being_written_ = bytes; }
  uint64_t bytes_being_written() const { return bytes_being_written_; }

  // A payload of `bytes` that is in the memtable lies there.
  void Placed(const PayloadPlace& place, uint64_t bytes);
  // The WAL files, but for the one being written, of which less than this part is payloads that were placed in it. (What
  // else is in one takes its space for as long as they live.)
  std::set<uint64_t> Sparse(double part) const;

  // Makes a file to move payloads into. Until EndMoved() it stays anyway.
  rocksdb::IOStatus BeginMoved(uint64_t* number, std::unique_ptr<rocksdb::FSWritableFile>* file,
                               std::shared_ptr<SharedFile>* shared);
  // The tables that refer to it have pinned it: without any it goes.
  void EndMoved(uint64_t number);

  // When it returns, all that a table may refer to is on the disk: the WAL files, but for the one being written, and what was
  // moved.
  rocksdb::IOStatus SyncReferenced();

  // 000130.sst, for 130, refers to these files. [again: nothing changes] A table that a compaction makes does not count yet as to
  // what lives: those that it is made of still do.
  void Pin(uint64_t table, const std::vector<PayloadReference>& references, bool counts = true);
  void Unpin(uint64_t table);
  // `made` now count instead of `from`, which go when nobody reads them any more.
  void Replace(const std::vector<uint64_t>& from, const std::vector<uint64_t>& made);
  // RocksDB wants 000123.log deleted. Before Opened() it stays anyway.
  rocksdb::IOStatus Delete(uint64_t wal);
  // All tables that there are have pinned what they refer to: what none does goes.
  rocksdb::IOStatus Opened();
  // Instead, before anything else, for who only reads: log files that RocksDB would give their other name at its start may be
  // referred to.
  rocksdb::IOStatus TakeAsTheyAre();

  // Bytes of the files that there are, by what the tables say: they also refer to entries removed since they were written. Without
  // files that only tables refer to which were replaced.
  struct Space {
    uint64_t live = 0;  // also all of the WAL files that RocksDB needs
    uint64_t dead = 0;
    uint64_t stuck = 0;  // of `dead`, beside something that cannot be read
  };
  Space space() const;
  // Of one of them, what tables refer to.
  uint64_t ReferencedBytes(uint64_t number) const;
  // Chooses files to move the payloads out of, those with the smallest part alive first, until at most `dead_max` is dead in the
  // others. Not more than `live_max` is moved, and nothing out of files of which less than `dead_part_min` is dead. false: none.
  bool BeginEvacuation(uint64_t dead_max, uint64_t live_max, double dead_part_min = 0);
  std::set<uint64_t> evacuated() const;
  // Something in this file cannot be read, so it stays: it is not chosen again.
  void Unreadable(uint64_t number);
  void EndEvacuation();

  // `bytes` from `place` on, of one payload. In one call to the kernel: what lies between a log's fragments goes to waste.
  rocksdb::IOStatus Read(const PayloadPlace& place, size_t bytes, char* out);

 private:
  struct File {
    bool in_use = true;  // RocksDB needs it as its log, or payloads are being moved into it
    bool stuck = false;  // something in it cannot be read
    int pins = 0;
    uint64_t referenced_bytes = 0;  // by those who pin it and count
    uint64_t placed_bytes = 0;
    uint64_t bytes = 0;                    // unless it is `writable` that knows
    uint64_t synced = 0;                   // the same
    std::shared_ptr<SharedFile> writable;  // of this process

    uint64_t size() const { return writable != nullptr ? writable->written() : bytes; }
    uint64_t live() const { return std::min(size(), referenced_bytes); }
    bool going() const { return !in_use && referenced_bytes == 0; }
    void Leave();
  };

  struct Pins {
    std::vector<PayloadReference> references;
    bool counts;
  };
  // With mutex_ held.
  void Count(Pins& pins, bool counts);

  // What the directory holds of the files that stay for their payloads.
  struct Found {
    uint64_t number;
    uint64_t bytes;
  };
  // `others`: paths of those with this suffix.
  rocksdb::IOStatus List(std::vector<Found>* found, std::string_view suffix, std::vector<std::string>* others);
  std::string PathOf(uint64_t number) const;
  std::string KeptPath(uint64_t number) const;
  rocksdb::IOStatus Open(uint64_t number, std::shared_ptr<const OpenFiles::File>* file);
  bool IsBeingWritten(uint64_t number) const;
  rocksdb::IOStatus DeletePath(uint64_t number, const std::string& path);
  rocksdb::IOStatus Sync(uint64_t number);
  rocksdb::IOStatus SyncReopened(const std::string& path);

  const std::string directory_;
  rocksdb::FileSystem& files_;
  FileRemover remover_;
  OpenFiles open_files_;
  WalRecord record_;
  std::atomic<uint64_t> bytes_being_written_{0};
  // Held while a file is opened to read, renamed or deleted: what is opened has its name, and what is deleted is not kept open.
  // Taken before mutex_.
  std::mutex names_mutex_;
  uint64_t last_moved_ = 0;   // guarded by names_mutex_; 0: the directory was not looked at yet
  mutable std::mutex mutex_;  // not held while the disk is asked for anything
  // Guarded by mutex_.
  std::map<uint64_t, File> by_number_;
  uint64_t being_written_ = 0;
  uint64_t being_replayed_ = 0;  // or was last
  std::map<uint64_t, Pins> pins_of_tables_;
  std::set<uint64_t> gone_tables_;  // before opened_: whoever saw one before may still pin for it
  std::set<uint64_t> evacuated_;
  bool opened_ = false;
};

}  // namespace millrace::storage
