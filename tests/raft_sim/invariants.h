// What must hold after every event, whatever the faults. Each check is incremental: it looks at what the event changed, against
// tables of everything seen so far, so that a check costs a few loads and the whole history is covered.
//
// The list, with where each is checked, is in README.md. A violation ends the run with a sentence that begins with the
// invariant's name.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "raft/core.h"
#include "tests/raft_sim/chain.h"

namespace millrace::raft::sim {

class Node;
struct World;

// What is seen of a core between two events.
struct Glance {
  Role role = Role::kFollower;
  Term term;
  ReplicaId leader;
  LogIndex commit;
  LogIndex stable;
  bool quiet = false;
  bool abstaining = false;
  std::shared_ptr<const MembershipAt> membership;
};

class Invariants {
 public:
  explicit Invariants(World& world) : world_(world) {}

  // A process has started from its disk.
  void OnStart(Node& node);
  // The log in the node's memory has changed.
  void OnAppended(Node& node, LogIndex index);
  void OnTruncate(Node& node, LogIndex first_removed);
  void OnInstall(Node& node, const InstallSnapshot& snapshot);
  // It is on the node's disk. Before, a crash may bring back what it has replaced.
  void OnInstalled(const Node& node);
  // After an event, once its Readies are taken.
  void OnChange(Node& node, const Glance& before, const Glance& after);
  void OnSend(Node& node, const Message& message);
  // Its machine went down: what it acked with a mark may be lost.
  void OnMachineCrash(const Node& node);
  void OnApply(Node& node, LogIndex index);
  // True: the node held what all voters had lost, and may say so; also when its core has only just learnt that this was committed,
  // and no Ready has told yet.
  bool IsVictim(ReplicaId id) const;
  // Whether it tells of a log that has lost something since: whoever takes it may become a victim.
  bool IsOfBeforeLoss(const Message& message) const { return !lost_.empty() && message.term < lost_in_; }
  void OnPossibleLoss(Node& leader);

  // The workload.
  uint64_t NewProposal();
  void OnRefused(uint64_t proposal);
  bool Committed(uint64_t proposal) const;
  void OnReadIssued(uint64_t id);
  void OnReadReady(Node& node, const ReadReady& read);

  LogIndex committed_last() const { return LogIndex(static_cast<int64_t>(committed_.size()) - 1); }

 private:
  struct Commit {
    Term term;
    Term in_term;  // of whoever was first seen to know
    uint64_t digest = 0;
    uint64_t proposal = 0;
  };
  struct Vote {
    ReplicaId voter;
    ReplicaId candidate;
    bool abstaining;
  };
  struct Leadership {
    ReplicaId leader;
    uint32_t life = 0;
  };
  // The highest match that a replica has acked in a term: without the mark of the abstaining, or with it and not lost since. The
  // latter counts from the replica's next answer without the mark on.
  struct Acks {
    LogIndex counted;
    LogIndex marked;
  };
  enum class ProposalState : uint8_t { kOpen, kRefused, kCommitted };

  void OnLeader(Node& node, const Glance& after);
  void OnCommit(Node& node, const Glance& before, const Glance& after);
  void OnLeaderCommit(Node& node, const Glance& before, const Glance& after);
  void CheckCommitted(Node& node, LogIndex index, const Link& link);
  void OnVote(Node& node, const Message& message, const VoteReply& vote);
  void OnAppendReply(Node& node, const Message& message, const AppendReply& reply);
  bool WonFairly(const Node& node, const Glance& after);
  bool QuorumHolds(const Node& leader, const Membership& membership, EntryId id) const;
  void CheckLoss(const Node& node, const Node& leader, LogIndex first_lost);
  void Judge(const Node& node);
  bool IsKnownVictim(ReplicaId id) const;
  bool IsLost(LogIndex index, uint64_t digest) const;
  bool IsOfBeforeLoss(const Node& node, LogIndex index, uint64_t digest) const;
  void Fail(const Node& node, std::string_view invariant, std::string_view what);

  World& world_;
  std::vector<absl::InlinedVector<std::pair<Term, uint64_t>, 2>> digests_;  // by index: of each term's entry there
  std::vector<Commit> committed_ = std::vector<Commit>(1);                  // by index
  std::vector<Leadership> leaderships_;                                     // by term
  std::vector<std::vector<Vote>> votes_;                                    // by term
  std::vector<ProposalState> proposals_ = std::vector<ProposalState>(1);    // by number
  std::vector<std::pair<LogIndex, int>> reads_;  // by id: committed when it was issued, how many losses there had been
  std::map<std::pair<ReplicaId, Term>, Acks> acks_;
  std::vector<ReplicaId> victims_;  // held what all voters had lost
  int losses_ = 0;
  Term lost_in_;             // of the last loss's leader
  std::set<uint64_t> lost_;  // digests of what was committed and is lost
};

}  // namespace millrace::raft::sim
