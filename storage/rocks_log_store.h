// The logs of all groups of one broker, on one RocksDB: raft::LogStore as the broker uses it.
//
//     RocksLogStore::Options options;
//     options.directory = "/var/lib/millrace/store";
//     options.on_fatal = [](absl::Status status) { ... stop the process ... };
//     absl::StatusOr<std::unique_ptr<RocksLogStore>> store = RocksLogStore::Open(std::move(options));
//     ...
//     absl::Status closed = (*store)->Close();     // leaves the clean-shutdown mark; without it the next start is unclean
//
// Threads, errors: raft/log_store.h. The store has four threads of its own (sync, space, next WAL file, removed files) besides RocksDB's two
// background threads.
// README.md has the layout of keys and values, and the reasons.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "raft/log_store.h"

namespace rocksdb {
class FileSystem;
}

namespace millrace::storage {

// What the store has done since it was opened, and what it holds.
struct StoreStats {
  uint64_t rounds = 0;
  uint64_t entry_bytes = 0;   // payloads written
  uint64_t syncs = 0;         // of the WAL, on request
  uint64_t cached_bytes = 0;  // memory held by the tail cache
  uint64_t memtable_bytes = 0;
  uint64_t wal_bytes_written = 0;
  uint64_t moved_bytes_written = 0;  // payloads, out of files that were hardly alive
  uint64_t sst_bytes_written = 0;
  uint64_t file_syncs = 0;      // fsync calls on any file
  uint64_t wal_file_bytes = 0;  // size of the WAL files there are
  uint64_t kept_wal_files = 0;  // that RocksDB needs no more, kept for the payloads in them
  uint64_t kept_wal_bytes = 0;
  uint64_t moved_files = 0;  // that payloads were moved into
  uint64_t moved_file_bytes = 0;
  uint64_t sst_files = 0;
  uint64_t sst_file_bytes = 0;
  uint64_t read_only_logs = 0;  // open ones
  uint64_t dead_bytes = 0;      // in files that stay for the payloads in them, as far as known: payload_files.h
  uint64_t reclaims = 0;        // compactions that gave the space of removed entries back
  uint64_t evacuations = 0;     // and such that moved payloads
};

class RocksLogStore : public raft::LogStore {
 public:
  struct Options {
    std::string directory;
    bool create_if_missing = true;

    size_t cache_bytes = 64 << 20;  // entries kept in memory for readers at the end of a log
    size_t memory_bytes =
        128 << 20;  // of memtables together; each is flushed, and its WAL file closed, at a third of it
    // Tables and payloads that are moved are handed to the disk in pieces of this size, so that no sync of the WAL queues behind a
    // whole file; 0: when they are complete.
    size_t flush_piece_bytes = 256 << 10;

    // Payloads lie where the write-ahead log wrote them. false: each flush moves them to files of their own, so they are written
    // twice. The same store can be opened either way.
    bool payloads_once = true;

    // What to call the logs of groups first to last in messages of damage; may be null. By any thread.
    std::function<std::string(raft::GroupId first, raft::GroupId last)> name_logs;
    // Called once, by any thread, at the first failure after which the store is unusable. The process should end.
    std::function<void(absl::Status)> on_fatal;
    // Called on the sync thread before anything else, for example to set its priority: acks wait for it. May be null.
    std::function<void()> on_sync_thread;

    // What follows is for tests and benchmarks.

    // So long after entries were removed their space is given back, if nothing else did; and what may stay dead beside what
    // lives in the same files. See space_reclaimer.h.
    std::chrono::milliseconds reclaim_delay{20'000};
    // While it says so, payloads are moved out of files of which little is dead, and keys are compacted whatever it costs: what was
    // removed gives its space back. Any thread; may be null.
    std::function<bool()> space_is_short;
    uint64_t dead_bytes_max = 256 << 20;

    // Large files are removed a piece of this size at a time: see file_remover.h.
    uint64_t removal_piece_bytes = 2 << 20;

    // What lies under the store's files, and the boot the machine is in.
    std::shared_ptr<rocksdb::FileSystem> file_system;  // unset: WalFileSystem on the machine's
    std::string boot_id;                               // unset: the kernel's
  };

  // kFailedPrecondition: in use by another process, of another format, or not to be written to; kDataLoss: damaged; kNotFound:
  // missing, and not to be made. The text says what to do.
  static absl::StatusOr<std::unique_ptr<RocksLogStore>> Open(Options options);

  // Without Close() before, as if the process had died: everything written is kept, but not marked clean.
  ~RocksLogStore() override;

  // Syncs, leaves the clean-shutdown mark, closes the files. Nothing else may be called afterwards, or at the same time.
  absl::Status Close();

  // Whether Close() ended the previous use, or there was none.
  bool opened_clean() const;
  // Whether the machine went down under a previous use: what was written but not synced may be gone. Stays true, over
  // restarts, until ForgetOsCrash(): what follows from the crash has been written.
  bool os_crashed() const;
  // Where the log that was replayed ended in something that cannot be read and was not known to be synced: "DIR/000012.log, offset
  // 4711"; empty if it did not. A crash cuts a write short; or what was synced last is damaged.
  std::string cut_log() const;
  // Whether what was synced may be gone: the log ended like that, and not only in a write that was cut short when the process was
  // killed. Stays true, over restarts, until ForgetOsCrash(), as os_crashed() does.
  bool lost_synced() const;
  absl::Status ForgetOsCrash();

  // Looks at no directory. [any]
  StoreStats Stats() const;

  absl::Status Create(raft::GroupId group, const raft::SegmentLimits& limits) override;
  absl::Status Remove(const std::vector<raft::GroupId>& groups) override;
  absl::StatusOr<std::vector<raft::GroupId>> List() override;
  absl::StatusOr<raft::LogState> Open(raft::GroupId group) override;
  raft::LogState State(raft::GroupId group) override;
  std::vector<raft::SegmentInfo> Segments(raft::GroupId group) override;
  void SetLimits(raft::GroupId group, const raft::SegmentLimits& limits) override;
  std::unique_ptr<raft::Round> NewRound() override;
  absl::Status Write(raft::Round& round) override;
  void WhenWritable(std::function<void()> retry) override;
  void Sync(std::function<void(absl::Status)> done) override;
  bool ReadCached(raft::GroupId group, raft::Offset from, raft::Offset end, size_t bytes_max,
                  std::vector<raft::Entry>* entries) override;
  bool ReadCachedEntries(raft::GroupId group, raft::LogIndex first, raft::LogIndex last, size_t bytes_max,
                         std::vector<raft::Entry>* entries) override;
  absl::StatusOr<std::vector<raft::Entry>> Read(raft::GroupId group, raft::Offset from, raft::Offset end,
                                                size_t bytes_max) override;
  absl::StatusOr<std::vector<raft::Entry>> ReadEntries(raft::GroupId group, raft::LogIndex first, raft::LogIndex last,
                                                       size_t bytes_max) override;
  absl::StatusOr<raft::Term> TermAt(raft::GroupId group, raft::LogIndex index) override;
  absl::StatusOr<raft::EntryHeader> HeaderAt(raft::GroupId group, raft::LogIndex index) override;
  absl::StatusOr<raft::EntryHeader> HeaderFor(raft::GroupId group, raft::Offset offset) override;
  absl::StatusOr<raft::Offset> OffsetForTime(raft::GroupId group, int64_t timestamp) override;
  absl::StatusOr<std::vector<std::pair<std::string, std::string>>> Values(raft::GroupId group) override;

 private:
  class Impl;
  explicit RocksLogStore(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace::storage
