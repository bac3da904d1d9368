// What a core wants done. The driver takes it with TakeReady() and does it in this order:
//
//   1. Write, in one atomic batch, in the order of the fields: install, truncate_from, append, term_and_vote, memberships.
//   2. Send `send_now` at any time, before the write too.
//   3. When this batch and all earlier ones are durable (synced if the topic's level or `must_sync` says so, else written), send
//      `send_after_persist`, then call OnPersisted(seq). A Ready that writes nothing is durable as soon as those before it are.
//   4. Apply `committed` (they may be ahead of what is durable here), then OnApplied(); answer `reads_ready`. What `install` stands
//      for counts as applied.
//   5. Answer `entry_requests` with OnEntries() and `snapshot_requests` with OnSnapshot(), whenever that is convenient.
//
// Batches are written in the order of `seq`; nothing else may be reordered with them. If the write fails the replica must never
// be used again: what reached the disk is unknown (reliability: fsync is not retried).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "raft/membership.h"
#include "raft/messages.h"
#include "raft/types.h"

namespace millrace::raft {

using ReadySeq = StrongInt<struct ReadySeqTag>;

enum class Role : uint8_t { kFollower, kPreCandidate, kCandidate, kLeader };

// Both inclusive; empty when last < first.
struct IndexRange {
  LogIndex first{1};
  LogIndex last{0};

  bool empty() const { return last < first; }
};

struct RoleChange {
  Role role = Role::kFollower;
  Term term;
  ReplicaId leader;  // kNoReplica: not known
};

// Entries for a member that lags behind what the core keeps in memory: read [first, last], at most bytes_max (one at least).
struct EntryRequest {
  ReplicaId to;
  LogIndex first;
  LogIndex last;
  size_t bytes_max = 0;
};

// A read barrier that has been passed: what is applied is at least everything committed when ReadIndex was called.
struct ReadReady {
  uint64_t id = 0;
  LogIndex index;
};

// What operators should hear of; the core has dealt with it.
struct Notice {
  enum Kind : uint8_t {
    // `replica` no longer had entries that it had acked. It abstains until it has caught up.
    kLostDurability,
    // This leader was elected by all voters, some of which may have lost what they acked: what was acked may be gone.
    kPossibleLoss,
    // This replica counts again after having abstained.
    kAbstainingEnded,
    // The leader gave up: its own disk has not finished a write for Config::stall_ticks.
    kDiskStalled,
    // The driver's: the entry at `index` is damaged in this leader's store, and `replica` needs it.
    kDamagedEntry,
    // A transfer of leadership to `replica` was given up.
    kTransferAborted,
  };
  Kind kind;
  ReplicaId replica;
  LogIndex index;
};

// A contradiction that a message proves. The core has stopped for good: the driver stops this replica, keeps its data, tells.
struct Fatal {
  enum Kind : uint8_t {
    kTwoLeaders,          // two leaders of one term
    kCommittedOverwrite,  // an entry that is committed here would be replaced
    kDivergedLog,         // equal (term, index), different contents; or what was sent cannot follow the log here
    kDamagedLog,          // what is needed of the log here cannot be read
  };
  Kind kind;
  std::string text;
};

struct Ready {
  ReadySeq seq;

  std::optional<InstallSnapshot> install;  // drop the whole log and begin anew behind install->last
  std::optional<LogIndex> truncate_from;   // drop the entries from here on
  std::vector<Entry> append;
  std::optional<TermAndVote> term_and_vote;
  std::optional<std::vector<MembershipAt>> memberships;  // replaces what was kept
  bool must_sync = false;  // at every durability level: term, vote, membership, snapshot, first entry of a term

  std::vector<Message> send_now;
  std::vector<Message> send_after_persist;

  IndexRange committed;
  std::vector<ReadReady> reads_ready;
  std::vector<uint64_t> reads_failed;  // not the leader any more: ask again elsewhere; nothing has happened

  std::vector<EntryRequest> entry_requests;
  std::vector<ReplicaId> snapshot_requests;

  std::optional<RoleChange> role;
  std::vector<Notice> notices;
  std::optional<Fatal> fatal;

  bool writes() const { return install || truncate_from || !append.empty() || term_and_vote || memberships; }
};

}  // namespace millrace::raft
