// Where a group's log ends, staged entries included: what the next entry's header continues from.
//
//     LogTail tail(store.Open(group).value());
//     raft::Entry entry = tail.Next(EntryType::kRecords, term, clock.Wall());
//     entry.header.record_count = n; ...
//     tail.Advance(entry.header);
//     round.Append(group, std::move(entry));
#pragma once

#include <algorithm>
#include <cstdint>

#include "raft/log_store.h"

namespace millrace::server {

class LogTail {
 public:
  LogTail() = default;
  explicit LogTail(const raft::LogState& state)
      : last_index_(state.last_index), end_(state.log_end), last_append_time_(state.last_append_time) {}

  // The append time never goes back, whatever the clock does: retention takes a segment's last entry for its newest.
  raft::Entry Next(raft::EntryType type, raft::Term term, int64_t now) const {
    raft::Entry entry;
    entry.header.type = type;
    entry.header.term = term;
    entry.header.index = last_index_ + 1;
    entry.header.base_offset = end_;
    entry.header.append_time = std::max(now, last_append_time_);
    entry.header.max_timestamp = entry.header.append_time;
    return entry;
  }

  void Advance(const raft::EntryHeader& appended) {
    last_index_ = appended.index;
    end_ = appended.end_offset();
    last_append_time_ = appended.append_time;
  }

  raft::LogIndex last_index() const { return last_index_; }
  raft::Offset end() const { return end_; }

 private:
  raft::LogIndex last_index_;
  raft::Offset end_;
  int64_t last_append_time_ = 0;
};

}  // namespace millrace::server
