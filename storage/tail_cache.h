// The newest entries of all logs, kept in memory as they were appended: what nearly every reader asks for.
//
//     auto tail = std::make_shared<CachedTail>();         // one for each log
//     cache.Append(tail, entries);
//     tail->Read(from, end, bytes_max, &out);             // payloads shared, not copied
//
// One budget for all logs; when it is used up the entries that were appended first go, whosever they are.
// Threads: any; a log's appends and cuts come from its one writer.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "raft/types.h"

namespace millrace::storage {

// Of one log: its last entries without a gap.
class CachedTail {
 public:
  // Entries from the one that holds `from`, as LogStore::ReadCached. False: it is not here.
  bool Read(raft::Offset from, raft::Offset end, size_t bytes_max, std::vector<raft::Entry>* entries) const;
  // From entry `first` on, as LogStore::ReadCachedEntries. False: it is not here.
  bool ReadEntries(raft::LogIndex first, raft::LogIndex last, size_t bytes_max,
                   std::vector<raft::Entry>* entries) const;

 private:
  friend class TailCache;

  struct Item {
    raft::Entry entry;
    size_t cost;
  };

  mutable std::mutex mutex_;
  std::deque<Item> items_;  // guarded by mutex_
};

class TailCache {
 public:
  explicit TailCache(size_t bytes_max) : bytes_max_(bytes_max) {}

  // Takes the entries.
  void Append(const std::shared_ptr<CachedTail>& tail, std::vector<raft::Entry>& entries);
  void TruncateSuffix(CachedTail& tail, raft::LogIndex first_removed);

  size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  struct Appended {
    std::shared_ptr<CachedTail> tail;
    raft::LogIndex index;
  };

  void Evict();
  void ForgetCutOff();

  const size_t bytes_max_;
  std::atomic<size_t> bytes_{0};
  std::atomic<size_t> entries_{0};
  std::mutex mutex_;
  // In order of appending; guarded by mutex_. Entries that were cut off since are still named here.
  std::deque<Appended> order_;
};

}  // namespace millrace::storage
