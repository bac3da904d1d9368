// A group's log as it will be once what is staged of it is written: where it ends, and whether what a Ready brings can follow it.
//
//     StagedLog log(store, group);                                                       // nothing is staged yet
//     if (absl::Status wrong = log.Check(ready, log_start); !wrong.ok()) Stop(wrong);    // before any of it is staged
//     log.Stage(ready, round);
//
// The store CHECKs that an entry follows the log's last one, since that is its owner's duty. What a leader sent is not known to
// follow until it is held against the log: an offset behind a cut comes from the message alone (Core keeps no old entries).
//
// Not thread-safe; the store outlives it. Made anew for each round: it costs nothing while nothing is staged.
#pragma once

#include <optional>

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
  // cut. The log will start at `log_start` at least. Reads at most one header; may block when that is old.
  absl::Status Check(const Ready& ready, Offset log_start);
  // Takes the entries. Checked right before.
  void Stage(Ready& ready, Round& round);
  // Not past what is committed.
  void StageLogStart(Offset log_start, Round& round);

 private:
  // Behind an entry.
  struct Position {
    LogIndex index;
    Offset end_offset;
    int64_t append_time = 0;
  };

  static Position After(const EntryHeader& header) { return {header.index, header.end_offset(), header.append_time}; }
  absl::Status CheckInstall(const InstallSnapshot& snapshot, Offset log_start) const;
  // Where the log ends once it is cut. What stays is written: only messages cut, and between Readies that are staged together none
  // is stepped.
  absl::StatusOr<Position> CheckCut(LogIndex first_removed) const;
  absl::StatusOr<Position> PositionOf(LogIndex last_kept) const;
  absl::Status CheckFollows(const Position& end, const Entry& entry) const;

  LogStore& store_;
  const GroupId group_;
  Position begin_;  // before the first entry
  Position end_;    // of the last entry, staged ones included
  Offset log_start_;
  std::optional<Position> cut_;  // of the Ready last checked: where its cut leaves the log
};

}  // namespace millrace::raft
