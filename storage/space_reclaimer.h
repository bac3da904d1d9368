// Gives the space of removed entries back soon, instead of when RocksDB next has a reason to compact: a store that nobody writes
// to would keep them for ever.
//
//     SpaceReclaimer reclaimer(db, std::chrono::seconds(20));
//     reclaimer.Removed(group, bytes);     // after the write that removed them
//
// So long after a removal it flushes, and compacts the keys of the groups concerned; a WAL file goes with the last table that refers
// to it. It does so only while that is cheap: it rewrites at most 16 MiB of keys and small values, or a quarter of what was
// removed. Beyond, removals add up, and RocksDB's own compactions do the rest. Compactions never rewrite payloads in WAL files.
//
// Threads: Removed() may be called by any; the work is done on a thread of its own.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>

#include "raft/types.h"

namespace rocksdb {
class DB;
}

namespace millrace::storage {

class SpaceReclaimer {
 public:
  SpaceReclaimer(rocksdb::DB& db, std::chrono::milliseconds delay);
  // Breaks off what is under way.
  ~SpaceReclaimer();

  // Payload bytes, as far as known.
  void Removed(raft::GroupId group, int64_t bytes);

  uint64_t runs() const { return runs_; }  // compactions done

 private:
  struct Dead {
    raft::GroupId first;
    raft::GroupId last;
    int64_t bytes = 0;
  };

  void Run();
  bool IsCheap(const Dead& dead) const;
  void Reclaim(const Dead& dead);

  rocksdb::DB& db_;
  const std::chrono::milliseconds delay_;
  std::atomic<uint64_t> runs_{0};
  std::atomic<bool> stopping_{false};  // RocksDB looks at it, too
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Dead> dead_;  // since the last compaction; guarded by mutex_
  bool news_ = false;         // something was removed since the last look; guarded by mutex_
  std::thread thread_;        // last: runs as soon as it is made
};

}  // namespace millrace::storage
