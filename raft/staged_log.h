// A group's log as it will be once what is staged is written: where it ends, and whether what a Ready brings can follow it.
//
//     StagedLog log(store, group);
//     if (absl::Status wrong = log.Check(ready); !wrong.ok()) Stop(wrong);    // before any of it is staged
//     log.Stage(ready, round);
//     store.Write(round); log.OnWritten();
//
// The store CHECKs that an entry follows the log's last one, since that is its owner's duty. What a leader sent is not known to
// follow until it is held against the log: an offset behind a cut comes from the message alone (Core keeps no old entries).
//
// Not thread-safe; the store outlives it.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "raft/log_store.h"
#include "raft/ready.h"
#include "raft/types.h"

namespace millrace::raft {

class StagedLog {
 public:
  // The log is open, and only this object stages its entries from now on.
  StagedLog(LogStore& store, GroupId group);

  // kInvalidArgument: the log and what `ready` would do to it contradict each other. kDataLoss: the log is damaged where it would be
  // cut. Reads at most one header; may block when that is old.
  absl::Status Check(const Ready& ready);
  // Takes the entries. Checked right before.
  void Stage(Ready& ready, Round& round);
  // The log start is to move there, or further: nothing below it comes any more.
  void KeepFrom(Offset log_start) { log_start_ = std::max(log_start_, log_start); }
  void OnWritten() { staged_.clear(); }

 private:
  // Behind an entry.
  struct Position {
    LogIndex index;
    Offset end_offset;
    int64_t append_time = 0;
  };

  static Position After(const EntryHeader& header) { return {header.index, header.end_offset(), header.append_time}; }
  absl::Status CheckInstall(const InstallSnapshot& snapshot) const;
  // Where the log ends once it is cut.
  absl::StatusOr<Position> CheckCut(LogIndex first_removed) const;
  absl::StatusOr<Position> PositionOf(LogIndex last_kept) const;
  absl::Status CheckFollows(const Position& end, const Entry& entry) const;

  LogStore& store_;
  const GroupId group_;
  Position begin_;                // before the first entry, when this object was made or at the last reset
  Position end_;                  // of the last entry, staged ones included
  Offset log_start_;              // asked for, staged or not
  std::optional<Position> cut_;   // of the Ready last checked: where its cut leaves the log
  std::vector<Position> staged_;  // of entries that are not written yet, and stand; ends with end_ unless empty
};

}  // namespace millrace::raft
