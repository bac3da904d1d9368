// The log of one node of a transcript, in memory: what Ready told to write, and nothing else.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "raft/ready.h"
#include "raft/types.h"

namespace millrace::conformance {

class NodeLog {
 public:
  explicit NodeLog(raft::EntryId before) : before_(before) {}

  void Write(const raft::Ready& ready);
  // Back and past the end are CHECKed.
  void RemovePrefix(raft::LogIndex last_removed);

  raft::LogIndex first_index() const { return before_.index + 1; }
  raft::LogIndex last_index() const { return before_.index + static_cast<int64_t>(entries_.size()); }
  const std::deque<raft::Entry>& entries() const { return entries_; }
  // In [first_index, last_index].
  const raft::Entry& At(raft::LogIndex index) const { return entries_[static_cast<size_t>(index - first_index())]; }
  bool Has(raft::LogIndex index) const { return index >= first_index() && index <= last_index(); }

 private:
  raft::EntryId before_;  // the entry before the first one
  std::deque<raft::Entry> entries_;
};

}  // namespace millrace::conformance
