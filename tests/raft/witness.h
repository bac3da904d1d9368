// Sees what the replicas of a cluster apply, send and answer. What one has applied is the truth: all others apply the same there,
// every member has it at the end, and a linearizable read that was asked for later knows of it.
//
//     TestCluster cluster(3, {.on_applied = [&](int broker, const raft::Entry& entry) { witness.OnApplied(broker, entry); }}, …);
//     cluster.replica(2).core().ReadIndex(witness.NextRead(2));
//     witness.ExpectHeld(2, cluster.store(2));
//
// Adds test failures.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "raft/log_store.h"
#include "raft/membership.h"
#include "tests/support/test_replica.h"

namespace millrace {

class Witness {
 public:
  // "joint memberships", "promotions", "returns" of members that had left and "answers" to reads go into `counts`.
  explicit Witness(std::map<std::string, int>& counts) : counts_(counts) {}

  void OnApplied(int broker, const raft::Entry& entry);
  // What its sender must not forget: `vote` is on its disk, `acked` as durable as acks have to be.
  void OnSent(const raft::Message& message, const raft::TermAndVote& vote, const raft::LogState& acked);
  // The id of a read that this broker is asked for now.
  uint64_t NextRead(int broker);
  void OnAnswer(int broker, const TestReplica::Answer& answer);
  // What it was asked for nobody answers.
  void OnDeath(int broker);

  // The log and the replica have all that was applied, and nothing else in its place.
  void ExpectHeld(int broker, raft::LogStore& store, raft::GroupId group) const;
  void ExpectAllAnswered() const;

 private:
  struct Read {
    int broker;
    raft::LogIndex committed;  // was known to be
    bool answered = false;
  };

  raft::LogIndex last() const { return applied_.empty() ? raft::LogIndex(0) : applied_.rbegin()->first; }
  void OnMembership(const raft::Membership& membership);

  std::map<std::string, int>& counts_;
  std::map<raft::LogIndex, uint32_t> applied_;  // its chain's digest stands for an entry and all before it
  std::map<uint64_t, Read> reads_;              // of brokers that have not died since
  uint64_t last_read_ = 0;
  raft::Membership membership_;  // the last one applied
  raft::ReplicaSet left_;
};

}  // namespace millrace
