// Gives the space of removed entries back soon, instead of when RocksDB next has a reason to compact: a store that nobody writes
// to would keep them for ever.
//
//     SpaceReclaimer reclaimer(db, payloads, stall, {});
//     reclaimer.Removed(group, bytes, 0);  // after the write that removed them
//     reclaimer.RemovedLogs({group});      // that write also put RemovedGroupsKey(), which is left until it has been done
//
// A while after a removal it flushes, and compacts the keys of the groups concerned; a file of payloads goes with the last table
// that refers to it. It does so only while that is cheap: it rewrites at most 16 MiB of keys and small values, or a quarter of
// what was removed. Beyond, removals add up, and RocksDB's own compactions do the rest. After whole logs were removed it does so
// in any case, also if that was an earlier process.
//
// What is removed may share its files with what stays. When more is dead than `dead_bytes_max` and 10 % of what lives, payloads
// are moved out of the files that are least alive, some hundred MiB at a time, until less is (Rosenblum and Ousterhout, The Design and
// Implementation of a Log-Structured File System, 1992, section 3). Writers that are faster than that are held back, so that dead
// are never much more than three times `dead_bytes_max` and 20 % of what lives.
//
// Threads: Removed() and RemovedLogs() may be called by any; the work is done on a thread of its own.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "raft/types.h"
#include "storage/keys.h"
#include "storage/payload_files.h"
#include "storage/write_stall.h"

namespace rocksdb {
class DB;
enum class BottommostLevelCompaction;
}  // namespace rocksdb

namespace millrace::storage {

class SpaceReclaimer {
 public:
  struct Options {
    std::chrono::milliseconds delay;          // between a removal and the compaction
    uint64_t dead_bytes_max;                  // besides 10 % of what lives, before anything is moved
    bool removed_before;                      // an earlier process removed something and did not come to compact it
    std::vector<std::string> removed_groups;  // every RemovedGroupsKey() that there is
    // Deletes some, on the reclaimer's thread. false: not now, it is tried again.
    std::function<bool(const std::vector<std::string>&)> forget;
    std::function<bool()> space_is_short;  // then hardly anything may be dead; may be null
  };

  // All outlive it.
  SpaceReclaimer(rocksdb::DB& db, PayloadFiles& payloads, WriteStall& stall, const Options& options);
  // Breaks off what is under way.
  ~SpaceReclaimer();

  // Payload bytes, as far as known, and how many of them lie in tables.
  void Removed(raft::GroupId group, int64_t bytes, int64_t table_bytes);
  void RemovedLogs(const std::vector<raft::GroupId>& groups);

  uint64_t runs() const { return runs_; }                // compactions done for removed entries
  uint64_t evacuations() const { return evacuations_; }  // and to move payloads

 private:
  using Clock = std::chrono::steady_clock;

  // Something was removed of some of these.
  struct Removal {
    GroupRange groups;
    int64_t bytes = 0;
    int64_t table_bytes = 0;  // of them, in tables: they are not rewritten
    Clock::time_point since;
  };

  void Run();
  // The removals whose time has come; all, when too much is dead.
  std::vector<Removal> TakeDue();
  // What an earlier process removed: how much is not known. While the disk is short some logs at a time, if all are too much.
  std::optional<Removal> TakeRemovedBefore(Clock::time_point latest, uint64_t cheap_bytes, bool is_short);
  // How far those from `groups.first` on are cheap together; the first may not be.
  raft::GroupId LastCheap(GroupRange groups, uint64_t cheap_bytes) const;
  // What was removed, if it was before `latest` or is much.
  std::optional<Removal> TakeRemoved(Clock::time_point latest, bool is_short);
  // With mutex_ held.
  void Add(const Removal& removal);
  void AddLogs(GroupRange groups, Clock::time_point since);
  // RemovedGroupsKey()s.
  std::vector<std::string> MarksIn(GroupRange groups) const;
  void Reclaim(const Removal& removal);
  bool SpaceIsShort() const { return options_.space_is_short != nullptr && options_.space_is_short(); }
  // While it is: what may be written at once to get some back.
  uint64_t WritableWhenShort() const;
  uint64_t TableBytes() const;
  // With what tables hold themselves.
  uint64_t LiveBytes(const PayloadFiles::Space& space) const;
  uint64_t DeadMax(const PayloadFiles::Space& space) const;
  // How much may come in while payloads are moved: at worst as much dies.
  int64_t WritableBytes(const PayloadFiles::Space& space) const;
  // Whether what is to be rewritten for it is not more than `cheap_bytes`, or a part of what was removed.
  bool IsCheap(const Removal& removal, uint64_t cheap_bytes) const;
  // false: broken off, or failed.
  bool Compact(GroupRange groups, rocksdb::BottommostLevelCompaction lowest);
  // Whether there is less dead now.
  bool Evacuate();

  rocksdb::DB& db_;
  PayloadFiles& payloads_;
  WriteStall& stall_;
  const Options options_;
  std::atomic<uint64_t> runs_{0};
  std::atomic<uint64_t> evacuations_{0};
  // Of the thread.
  std::chrono::milliseconds pause_{0};
  Clock::time_point evacuate_after_{};
  std::vector<std::string> done_;      // RemovedGroupsKey()s to be deleted
  std::atomic<bool> stopping_{false};  // RocksDB looks at it, too
  std::mutex mutex_;
  std::condition_variable look_;
  // Since the last compaction for it. Guarded by mutex_.
  std::optional<Removal> removed_;
  std::optional<Removal> removed_before_;  // by an earlier process
  std::vector<Removal> removed_logs_;
  std::thread thread_;  // last: runs as soon as it is made
};

}  // namespace millrace::storage
