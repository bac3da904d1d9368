// The other members of a group whose one replica is under test: not cores, but plain scripts that keep to the rules.
//
//     ScriptedLeaders leaders(group, self, draw);
//     leaders.Disturb(replica);       // a new leader, entries, a cut, a snapshot, a vote, …: messages to the replica
//
//     ScriptedFollower follower(self, draw);
//     follower.Answer(replica, message);
#pragma once

#include <vector>

#include "raft/messages.h"
#include "tests/storage/workload.h"
#include "tests/support/memory_log.h"
#include "tests/support/test_replica.h"

namespace millrace::storage {

// All leaders that a follower hears of. Each has the log of the one before it as far as that was committed, and maybe more.
class ScriptedLeaders {
 public:
  // Two of `members` besides `self` lead by turns.
  ScriptedLeaders(raft::GroupId group, raft::ReplicaId self, Workload& draw)
      : group_(group), self_(self), draw_(draw) {}

  static raft::Membership FirstMembership(raft::ReplicaId self);

  // What leads now does something, and the replica hears of it, or not yet.
  void Disturb(TestReplica& replica);

 private:
  void Append(raft::EntryType type);
  void ChangeLeader(TestReplica& replica);
  void Commit();
  void DropPrefix(bool all);
  void AskForAVote(TestReplica& replica);
  // What the replica lacks, or a part of it.
  void Replicate(TestReplica& replica);
  void SendSnapshot(TestReplica& replica);
  template <typename Body>
  void Send(TestReplica& replica, Body body);
  raft::ReplicaId leader() const;

  const raft::GroupId group_;
  const raft::ReplicaId self_;
  Workload& draw_;
  MemoryLog log_{{.bytes_max = 4000}};
  raft::Term term_{1};
  raft::LogIndex commit_;
  std::vector<raft::MembershipAt> memberships_;  // the first one is committed, or was there before all entries
};

// One that takes what it is sent and acks it, soon or late, and votes for whoever asks.
class ScriptedFollower {
 public:
  explicit ScriptedFollower(raft::ReplicaId self) : self_(self) {}

  void Answer(TestReplica& replica, const raft::Message& message);

 private:
  const raft::ReplicaId self_;
  raft::LogIndex last_;
};

}  // namespace millrace::storage
