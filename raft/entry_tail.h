// The end of the log that is not durable here yet, in memory: what a leader sends to its followers while its own write is under
// way. Entries share their payload with whoever proposed them.
#pragma once

#include <vector>

#include "raft/types.h"

namespace millrace::raft {

class EntryTail {
 public:
  // An empty tail behind `last`; `end_offset` is where the log ends.
  EntryTail(LogIndex last, Offset end_offset) : first_(last + 1), end_offset_(end_offset) {}

  bool empty() const { return head_ == entries_.size(); }
  LogIndex first_index() const { return first_; }  // last_index() + 1 when empty
  LogIndex last_index() const { return first_ + (static_cast<int64_t>(entries_.size() - head_) - 1); }
  Offset end_offset() const { return end_offset_; }
  size_t bytes() const { return bytes_; }  // MemoryCost of the entries

  // In [first_index, last_index].
  const Entry& At(LogIndex index) const { return entries_[head_ + static_cast<size_t>(index - first_)]; }

  // Its index is last_index() + 1.
  void Append(Entry entry);
  // Removes from `first_removed` on. An index before the tail empties it, and the tail then follows `first_removed` - 1, where
  // the log ends at `end_offset`.
  void TruncateSuffix(LogIndex first_removed, Offset end_offset);
  // Forgets what is durable now.
  void RemovePrefix(LogIndex last_removed);
  // Appends copies of [first, last] to `out` as long as they are at most `bytes_max` together, but at least one.
  void CopyTo(LogIndex first, LogIndex last, size_t bytes_max, std::vector<Entry>* out) const;
  // Gives memory back when empty.
  void Shrink();

 private:
  std::vector<Entry> entries_;
  size_t head_ = 0;  // entries before it are forgotten; compacted when they are the larger part
  LogIndex first_;   // of entries_[head_]
  Offset end_offset_;
  size_t bytes_ = 0;
};

}  // namespace millrace::raft
