// What stands on a group's log: a partition's high watermark and producer table, the cluster's metadata.
//
// Threads: all is called by the thread that drives the group, within calls of its GroupDriver. The state machine may give the core
// events (Core::Propose, ReadIndex, …) and move the log start, and must not call anything else of the driver from there.
// Order: committed entries come in the order of the log, each once in a driver's life, after they were written to this replica's
// log (not necessarily synced there: a majority has them). What a role change or a cut says holds from that call on.
// Failure: a status that is not OK stops this replica (GroupDriver::fatal), its data stays.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "raft/log_store.h"
#include "raft/messages.h"
#include "raft/ready.h"
#include "raft/types.h"

namespace millrace::raft {

class StateMachine {
 public:
  virtual ~StateMachine() = default;

  // Never empty, all types of entries. Done when it returns.
  virtual void Apply(const std::vector<Entry>& entries) = 0;
  // A committed entry is damaged here. OK: it was passed over (its records are lost on this replica), go on behind it.
  virtual absl::Status ApplyDamaged(LogIndex index, const absl::Status& damage) = 0;

  // For a member whose next entry is no longer in the log: what it needs beside the entries behind `last`. For a partition that
  // keeps its records `last` is the entry before the log's first; a state that stands for all entries applied names the last of
  // them. At or behind the log's begin, and applied. Nothing: not now, asked again later.
  struct Snapshot {
    LogIndex last;
    // May be of a later moment than `last` if applying the entries between does no harm then. Who restarts from it before these have
    // come may not say that it has applied them (GroupDriver::Options::applied): those in its log may be others.
    absl::Cord state;
  };
  virtual std::optional<Snapshot> MakeSnapshot() = 0;
  // Takes a leader's snapshot in place of all state; what is kept of it beside the log it stages in `round`, which also resets the
  // log. Entries behind snapshot.last come next. snapshot.log_start may lie above snapshot.end_offset: the log cannot start
  // there before it has come so far; the entry that moved it there comes with the log. Not OK: the state cannot be read,
  // nothing was staged.
  virtual absl::Status Install(const InstallSnapshot& snapshot, Round& round) = 0;

  // Entries from `first_removed` on, none of them applied, are being replaced: forget what was derived from them.
  virtual void OnTruncated(LogIndex first_removed) = 0;
  virtual void OnRoleChange(const RoleChange& change) = 0;
  // Answers Core::ReadIndex; when `ready`, everything committed at that time has been applied.
  virtual void OnReadAnswered(uint64_t id, bool ready) = 0;
  virtual void OnNotice(const Notice& notice) = 0;
};

}  // namespace millrace::raft
