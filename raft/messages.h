// What replicas of a group say to each other: plain values. The transport adds the group and the cluster, and may lose, double,
// delay and reorder all of it. (Message table with thesis sections: README.)
//
//     Message{.from = self, .to = peer, .term = Term(3), .body = VoteRequest{.last = {Term(2), LogIndex(40)}}}
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/cord.h"
#include "raft/membership.h"
#include "raft/types.h"

namespace millrace::raft {

// To an abstaining replica: once it holds the log up to `index`, synced, it may count again (ARCHITECTURE D9). It holds for the
// abstention that the replica named, so that a late one cannot end another. Index 0: not known yet.
struct Confirmed {
  LogIndex index;
  uint64_t abstention = 0;
};

// Leader to member: entries that follow `prev`. Without entries it asks whether `prev` is there, and tells the commit index.
struct AppendEntries {
  EntryId prev;
  std::vector<Entry> entries;
  LogIndex commit;
  Confirmed confirmed;
  // The leader has seen this life of the replica without entries that it had acked: it must abstain until `confirmed`. 0: it has not.
  uint64_t lost_in_life = 0;
  // With `prev` at the beginning of all: a committed one, for a replica that was made with none. Only its log tells it who is in the
  // group, and the first members are in no entry.
  std::shared_ptr<const Membership> membership;
  uint64_t request = 0;  // rises with each AppendEntries of a leader's term; the reply carries it back
};

// Member to leader, once what it says is on its disk.
struct AppendReply {
  bool accepted = false;
  LogIndex match;         // accepted: the log equals the leader's up to here
  bool unsynced = false;  // accepted: some of that is only written, and lost with the machine (flush=async)
  LogIndex rejected;      // not accepted: the index of the request's prev
  EntryId hint;           // not accepted: the log may equal the leader's at or before here (a search by term, core.cc)
  LogIndex last_index;    // of the replica's log
  uint64_t abstention = 0;  // holds it and must not be counted; the number names this time of abstaining. 0: counts
  // Drawn at each start: only between two lives can a disk turn out to have lost what was acked.
  uint64_t life = 0;
  uint64_t request = 0;
};

// Leader to member, every heartbeat interval.
struct Heartbeat {
  // Committed, and acked by the member. Its term proves that the member still has it: a disk that lost a cut holds at that index
  // what had been cut off.
  EntryId commit;
  Confirmed confirmed;
  uint64_t read_round = 0;  // the newest round of reads that an answer confirms
  bool quiesce = false;     // everything is everywhere: stop the timers, the brokers' heartbeat stands in from here
  LogIndex last_index;      // with quiesce: the leader's
};

struct HeartbeatReply {
  uint64_t read_round = 0;
  bool quiet = false;  // its timers stand still, at last_index
  LogIndex last_index;
  uint64_t abstention = 0;  // as in AppendReply
};

struct VoteRequest {
  EntryId last;           // of the candidate's log
  bool pre_vote = false;  // "would you vote for me in term + 1?": changes nothing at the voter (thesis 9.6)
  bool transfer = false;  // the leader itself asked for this election: live leaders do not protect themselves from it
};

struct VoteReply {
  bool granted = false;
  bool pre_vote = false;
  // Granted by a replica that may have lost what it acked: it counts only if every voter grants (core_abstaining.cc).
  bool abstaining = false;
  Term asked;  // the request's term: pre-votes of an earlier round do not count (no term has changed since)
};

// Leader to a member whose next entry the leader's log no longer has: where the leader's log begins, and the state beside it.
// The member drops its own log and goes on behind `last`. For a partition there are no records in it: those before the log's
// start are gone on purpose.
struct InstallSnapshot {
  EntryId last;               // the entry before the first one that will follow
  Offset end_offset;          // where that entry ended: base_offset of the next
  Offset log_start;           // first readable offset
  int64_t append_time = 0;    // of the entry `last`, ms
  uint32_t chain = 0;         // of the entry `last`: the member's digests go on from it (EntryHeader::chain)
  Membership membership;      // as of `last`, or a later one that is committed
  LogIndex membership_index;  // of the entry that brought it; `last` at most
  absl::Cord state;           // opaque to the core: producer table, metadata image, …
  uint64_t request = 0;       // as in AppendEntries
};

// Leader to the member that shall lead: start an election at once (thesis 3.10).
struct TimeoutNow {};

struct Message {
  ReplicaId from;
  ReplicaId to;
  Term term;  // the sender's
  std::variant<AppendEntries, AppendReply, Heartbeat, HeartbeatReply, VoteRequest, VoteReply, InstallSnapshot,
               TimeoutNow>
      body;
};

// One line, for logs and dumps; payloads as their size.
std::string ToString(const Message& message);

}  // namespace millrace::raft
