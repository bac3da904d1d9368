// Where one log stands, without reading the disk: what is known of it in memory while it is open.
//
// A copy is cheap: sealed segments are shared. The writer of a group edits a copy (LogEditor) and publishes it once it is
// written; readers take a copy and work on it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "raft/log_store.h"
#include "storage/log_meta.h"

namespace millrace::storage {

using SegmentList = std::vector<SegmentMeta>;

struct LogImage {
  raft::SegmentLimits limits;
  raft::TermAndVote term_and_vote;
  LogStart start;
  LogPosition last;  // the last entry; start.before if there is none
  // Oldest first, without gaps: each begins where the previous one ends, the first one at start.before.
  std::shared_ptr<const SegmentList> sealed = std::make_shared<SegmentList>();
  std::optional<SegmentMeta> active;  // there if any entry is; active->last == last
  // The interval being filled, within the active segment. Empty: last_index == first_index - 1.
  IntervalMeta interval;
  int64_t interval_begin_bytes = 0;  // LogPosition::log_bytes before its first entry
  bool read_only = false;            // what follows `last` is damaged, its end unknown
  // How often entries were removed, at either end: a reader that misses something looks whether this has changed.
  uint64_t cuts = 0;

  raft::LogIndex first_index() const { return start.before.index + 1; }
  raft::LogState ToState() const;
  // The segment that holds an entry of this log.
  const SegmentMeta& SegmentOf(raft::LogIndex index) const;
  // The first segment that ends above `offset`, which is below the log end.
  const SegmentMeta& SegmentOf(raft::Offset offset) const;

  // Begins an empty interval behind `position`.
  void BeginInterval(const LogPosition& position);

  // What in it cannot be; nothing if all of it can.
  std::optional<std::string> Contradiction() const;
  void CheckInvariants() const;
};

}  // namespace millrace::storage
