#include "tests/raft_sim/invariants.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "raft/quorum.h"
#include "tests/raft_sim/node.h"
#include "tests/raft_sim/world.h"

namespace millrace::raft::sim {
namespace {

// Of a table that grows with the largest number seen.
template <typename T>
T& At(std::vector<T>& table, int64_t number) {
  if (table.size() <= static_cast<size_t>(number)) table.resize(static_cast<size_t>(number) + 1);
  return table[static_cast<size_t>(number)];
}

}  // namespace

void Invariants::Fail(const Node& node, std::string_view invariant, std::string_view what) {
  std::string text = absl::StrCat(std::string(invariant), ": broker ", node.broker(), ": ", std::string(what));
  world_.Fail(std::move(text));
}

// ---- The log in memory

void Invariants::OnStart(Node& node) {
  const Image& image = node.disk().acked();
  if (node.core().term() != image.term_and_vote().term) Fail(node, "term on disk", "a start changes it");
  if (node.core().commit_index() < image.term_and_vote().commit_index) {
    Fail(node, "commit never moves back", "a start forgets what was stored");
  }
  Judge(node);  // the last commit may not have got to its disk, nor a snapshot that took the place of all
  for (LogIndex i = node.chain().before() + 1; i <= node.core().commit_index(); ++i) {
    CheckCommitted(node, i, node.chain().At(i));
  }
}

void Invariants::OnAppended(Node& node, LogIndex index) {
  const Link& link = node.chain().At(index);
  auto& here = At(digests_, index.value());
  auto known = std::find_if(here.begin(), here.end(), [&](const auto& pair) { return pair.first == link.term; });
  if (known == here.end()) {
    here.emplace_back(link.term, link.digest);
  } else if (known->second != link.digest) {
    Fail(node, "log matching",
         absl::StrCat("two logs differ at or before ", index.value(), " of term ", link.term.value()));
  }
  if (link.proposal != 0 && proposals_[link.proposal] == ProposalState::kRefused) {
    Fail(node, "refused means not appended", absl::StrCat("proposal ", link.proposal));
  }
}

void Invariants::OnTruncate(Node& node, LogIndex first_removed) {
  if (first_removed <= node.seen().commit) {
    Fail(node, "no truncation below commit",
         absl::StrCat("from ", first_removed.value(), " with commit ", node.seen().commit.value()));
  }
}

void Invariants::OnInstall(Node& node, const InstallSnapshot& snapshot) {
  const LogIndex last = snapshot.last.index;
  if (last <= node.seen().commit) {
    Fail(node, "no snapshot below commit",
         absl::StrCat("at ", last.value(), " with commit ", node.seen().commit.value()));
  }
  uint64_t digest = 0;
  std::string state(snapshot.state);
  std::memcpy(&digest, state.data(), sizeof digest);
  if (IsOfBeforeLoss(node, last, digest)) return victims_.push_back(node.id());
  if (last > committed_last() || committed_[static_cast<size_t>(last.value())].digest != digest) {
    Fail(node, "state machine safety", absl::StrCat("a snapshot at ", last.value(), " of what is not committed"));
  }
}

void Invariants::OnInstalled(const Node& node) { Judge(node); }

// ---- Roles and commit

void Invariants::OnChange(Node& node, const Glance& before, const Glance& after) {
  if (after.term < before.term) Fail(node, "terms never fall", "in memory");
  if (after.role == Role::kLeader && (before.role != Role::kLeader || before.term != after.term)) OnLeader(node, after);
  if (after.commit < before.commit) Fail(node, "commit never moves back", "in memory");
  if (after.commit > before.commit) OnCommit(node, before, after);
  if (after.role == Role::kLeader && after.membership != before.membership) {
    const auto& memberships = node.core().memberships();
    const LogIndex committed = std::max(after.commit, committed_last());
    auto open = std::count_if(memberships.begin(), memberships.end(),
                              [&](const MembershipAt& m) { return m.index > committed; });
    if (open > 1) Fail(node, "one membership change in flight", absl::StrCat(open, " are"));
  }
}

void Invariants::OnLeader(Node& node, const Glance& after) {
  Leadership& leadership = At(leaderships_, after.term.value());
  if (leadership.leader) {
    bool same = leadership.leader == node.id() && leadership.life == node.life();
    if (!same) Fail(node, "election safety", absl::StrCat("term ", after.term.value(), " has had a leader"));
  }
  leadership = {node.id(), node.life()};

  const TermAndVote& disk = node.disk().synced().term_and_vote();
  if (disk.term != after.term || disk.voted_for != node.id()) {
    Fail(node, "votes are durable", "a leader whose own vote is not synced");
  }
  if (!WonFairly(node, after)) {
    Fail(node, "election by a quorum",
         absl::StrCat("term ", after.term.value(), " under ", ToString(after.membership->membership)));
  }
  // It need not have what later leaders have committed: the last vote may reach it late.
  const Chain& chain = node.chain();
  LogIndex last = committed_last();
  while (last > chain.before() && committed_[static_cast<size_t>(last.value())].in_term >= after.term) last = last - 1;
  if (last <= chain.before()) return;
  if (last > chain.last()) {
    Fail(node, "leader completeness",
         absl::StrCat("its log ends at ", chain.last().value(), ", committed is ", last.value()));
  } else if (chain.At(last).digest != committed_[static_cast<size_t>(last.value())].digest) {
    Fail(node, "leader completeness", absl::StrCat("its log differs from what is committed up to ", last.value()));
  }
}

// A quorum granted without a mark, or all voters did, marked or not. The membership may have changed in the event that ended the
// election only by what the new leader itself appends, and it appends none before its first commit.
bool Invariants::WonFairly(const Node& node, const Glance& after) {
  const Membership& membership = after.membership->membership;
  std::vector<Vote>& votes = At(votes_, after.term.value());
  auto vote = [&](ReplicaId voter, bool marked_too) -> std::optional<bool> {
    if (voter == node.id()) return marked_too || !node.abstaining();
    for (const Vote& v : votes) {
      if (v.voter == voter && v.candidate == node.id()) return marked_too || !v.abstaining;
    }
    return std::nullopt;
  };
  auto unmarked = [&](ReplicaId id) { return vote(id, false); };
  if (Tally(membership, unmarked) == VoteResult::kWon) return true;
  auto granted = [&](ReplicaId id) { return vote(id, true).value_or(false); };
  return std::all_of(membership.voters.begin(), membership.voters.end(), granted) &&
         std::all_of(membership.outgoing.begin(), membership.outgoing.end(), granted);
}

void Invariants::OnCommit(Node& node, const Glance& before, const Glance& after) {
  const Chain& chain = node.chain();
  if (after.commit > chain.last()) return Fail(node, "commit <= last", "commits what its log does not have");
  bool leads = after.role == Role::kLeader && before.role == Role::kLeader && before.term == after.term;
  if (leads) OnLeaderCommit(node, before, after);
  for (LogIndex i = std::max(before.commit, chain.before()) + 1; i <= after.commit; ++i) {
    CheckCommitted(node, i, chain.At(i));
  }
}

void Invariants::OnLeaderCommit(Node& node, const Glance& before, const Glance& after) {
  const Link& link = node.chain().At(after.commit);
  if (link.term != after.term) {
    Fail(node, "only entries of the own term are counted", absl::StrCat("commit ", after.commit.value()));
  }
  // The membership that counted may have been followed by another in the same event (a joint one by its end).
  EntryId id{link.term, after.commit};
  if (QuorumHolds(node, before.membership->membership, id) || QuorumHolds(node, after.membership->membership, id))
    return;
  Fail(node, "acked means held by a quorum",
       absl::StrCat("index ", id.index.value(), " under ", ToString(after.membership->membership)));
}

bool Invariants::QuorumHolds(const Node& leader, const Membership& membership, EntryId id) const {
  // An ack on its way outlives what it stands for when the disk is lost, or with flush=async when the machine goes down: then the
  // acks are what counts.
  const bool async = world_.swarm.Has(Fault::kAsyncFlush);
  auto holds = [&](ReplicaId voter) -> std::optional<bool> {
    const Node* node = world_.Alive(voter);
    if ((async || node == nullptr) && voter != leader.id()) {
      auto ack = acks_.find({voter, id.term});
      return ack != acks_.end() && ack->second.counted >= id.index;
    }
    // The leader's own end of abstaining needs no disk: if it dies before, it abstains again.
    const bool abstains = voter == leader.id() ? leader.core().abstaining() : node->abstaining();
    return !abstains && node->disk().acked().chain().Holds(id);
  };
  return Tally(membership, holds) == VoteResult::kWon;
}

void Invariants::CheckCommitted(Node& node, LogIndex index, const Link& link) {
  if (IsKnownVictim(node.id())) return;
  if (IsOfBeforeLoss(node, index, link.digest)) return victims_.push_back(node.id());
  Commit& known = At(committed_, index.value());
  if (known.term == Term(0)) {
    known = {link.term, node.LearntIn(index), link.digest, link.proposal};
    if (link.proposal != 0) {
      ProposalState& state = proposals_[link.proposal];
      if (state == ProposalState::kCommitted) Fail(node, "committed once", absl::StrCat("proposal ", link.proposal));
      state = ProposalState::kCommitted;
      ++world_.coverage.proposals_acked;
    }
  } else if (known.digest != link.digest) {
    Fail(node, "committed entries agree", absl::StrCat("index ", index.value()));
  }
}

void Invariants::OnApply(Node& node, LogIndex index) {
  if (IsKnownVictim(node.id())) return;
  const Link& link = node.chain().At(index);
  if (index > committed_last() || committed_[static_cast<size_t>(index.value())].digest != link.digest) {
    Fail(node, "state machine safety", absl::StrCat("applies another entry at ", index.value()));
  }
}

// ---- Messages

void Invariants::OnSend(Node& node, const Message& message) {
  if (const auto* vote = std::get_if<VoteReply>(&message.body)) {
    if (!vote->granted || vote->pre_vote) return;
    const TermAndVote& disk = node.disk().synced().term_and_vote();
    bool stored = disk.term > message.term || (disk.term == message.term && disk.voted_for == message.to);
    if (!stored) Fail(node, "votes are durable", "a vote leaves before it is synced");
    if (node.must_mark() && !vote->abstaining) Fail(node, "abstaining", "a vote without its mark");
    for (const Vote& v : At(votes_, message.term.value())) {
      if (v.voter == message.from && v.candidate != message.to) {
        Fail(node, "one vote in a term", absl::StrCat("term ", message.term.value()));
      }
    }
    At(votes_, message.term.value()).push_back({message.from, message.to, vote->abstaining});
  } else if (const auto* reply = std::get_if<AppendReply>(&message.body)) {
    OnAppendReply(node, message, *reply);
  }
}

void Invariants::OnAppendReply(Node& node, const Message& message, const AppendReply& reply) {
  const Image& acked = node.disk().acked();
  const bool marked = reply.abstention != 0;
  if (node.must_mark() && !marked) Fail(node, "abstaining", "an answer without its mark");
  if (reply.accepted && acked.chain().last() < reply.match) {
    Fail(node, "acks are durable", absl::StrCat("match ", reply.match.value()));
  }
  // Within its term nothing replaces what it acks: the disk has that very entry, not what was cut off there.
  const Chain& log = node.chain();
  const bool same_term = reply.accepted && message.term == node.core().term();
  if (same_term && log.Has(reply.match) && acked.chain().Has(reply.match) &&
      log.At(reply.match).digest != acked.chain().At(reply.match).digest) {
    Fail(node, "acks are durable", absl::StrCat("the disk has another entry at ", reply.match.value()));
  }
  Acks& acks = acks_[{message.from, message.term}];
  if (reply.accepted) acks.marked = std::max(acks.marked, reply.match);
  if (!marked) acks.counted = std::max(acks.counted, acks.marked);
}

void Invariants::OnMachineCrash(const Node& node) {
  for (auto it = acks_.lower_bound({node.id(), Term(0)}); it != acks_.end() && it->first.first == node.id(); ++it) {
    it->second.marked = LogIndex(0);
  }
}

// ---- Loss (flush=async, all voters)

bool Invariants::IsKnownVictim(ReplicaId id) const {
  return !victims_.empty() && std::find(victims_.begin(), victims_.end(), id) != victims_.end();
}

// By what it knows to be committed: one digest stands for the whole prefix.
void Invariants::Judge(const Node& node) {
  const LogIndex commit = node.seen().commit;
  std::erase(victims_, node.id());
  if (IsLost(commit, node.chain().At(commit).digest)) victims_.push_back(node.id());
}

// And not committed anew since.
bool Invariants::IsLost(LogIndex index, uint64_t digest) const {
  return lost_.contains(digest) &&
         (index > committed_last() || committed_[static_cast<size_t>(index.value())].digest != digest);
}

// A message from before a loss makes one more victim of it.
bool Invariants::IsOfBeforeLoss(const Node& node, LogIndex index, uint64_t digest) const {
  return node.LearntIn(index) < lost_in_ && lost_.contains(digest);
}

bool Invariants::IsVictim(ReplicaId id) const {
  if (IsKnownVictim(id)) return true;
  const Node* node = lost_.empty() ? nullptr : world_.Alive(id);
  if (node == nullptr || !node->up()) return false;
  // What a busy driver has not taken out of the core yet. A core that stops for a contradiction takes it along: no Ready tells
  // what it had appended and learnt just before, so OnChange never sees it.
  const TermTable& terms = node->core().terms();
  const LogIndex last = std::min(node->core().commit_index(), LogIndex(static_cast<int64_t>(digests_.size()) - 1));
  for (LogIndex i = std::max(node->seen().commit + 1, terms.before_first()); i <= last; ++i) {
    for (const auto& [term, digest] : digests_[static_cast<size_t>(i.value())]) {
      if (terms.At(i) == term && IsOfBeforeLoss(*node, i, digest)) return true;
    }
  }
  return false;
}

// The new leader's log is the truth from here on.
void Invariants::OnPossibleLoss(Node& leader) {
  const bool async = world_.swarm.Has(Fault::kAsyncFlush);
  if (!async && !world_.swarm.Has(Fault::kDiskForgets))
    Fail(leader, "no loss", "nobody can abstain in a group that syncs");
  // One that learns so late that it leads loses nothing any more: a later leader has committed since.
  if (committed_.back().in_term >= leader.core().term()) return;
  const Chain& chain = leader.chain();
  LogIndex agreed = std::min(committed_last(), chain.last());
  while (agreed > chain.before() && chain.At(agreed).digest != committed_[static_cast<size_t>(agreed.value())].digest) {
    agreed = agreed - 1;
  }
  if (agreed == committed_last()) return;
  if (!async) return Fail(leader, "no loss", "in a group that syncs before it acks");
  world_.coverage.Saw(Rare::kCommittedLost);
  ++losses_;
  lost_in_ = leader.core().term();
  for (const auto& node : world_.nodes) CheckLoss(*node, leader, agreed + 1);
  // What is lost here may still come back from a log that was not committed there.
  for (LogIndex i = agreed + 1; i <= committed_last(); ++i) {
    const Commit& lost = committed_[static_cast<size_t>(i.value())];
    proposals_[lost.proposal] = ProposalState::kOpen;
    lost_.insert(lost.digest);
  }
  committed_.resize(static_cast<size_t>(agreed.value()) + 1);
}

void Invariants::CheckLoss(const Node& node, const Node& leader, LogIndex first_lost) {
  const Chain& chain = node.up() ? node.chain() : node.disk().acked().chain();
  const LogIndex commit = node.up() ? node.core().commit_index() : node.disk().acked().term_and_vote().commit_index;
  const uint64_t lost = committed_[static_cast<size_t>(first_lost.value())].digest;
  const bool holds = chain.before() >= first_lost || (chain.Has(first_lost) && chain.At(first_lost).digest == lost);
  if (!holds) return;
  if (leader.core().membership().IsVoter(node.id())) {
    Fail(leader, "no loss", absl::StrCat("broker ", node.broker(), " votes and still holds ", first_lost.value()));
  }
  if (commit >= first_lost) victims_.push_back(node.id());
}

// ---- Workload

uint64_t Invariants::NewProposal() {
  proposals_.push_back(ProposalState::kOpen);
  return proposals_.size() - 1;
}

void Invariants::OnRefused(uint64_t proposal) { proposals_[proposal] = ProposalState::kRefused; }

bool Invariants::Committed(uint64_t proposal) const { return proposals_[proposal] == ProposalState::kCommitted; }

void Invariants::OnReadIssued(uint64_t id) { At(reads_, static_cast<int64_t>(id)) = {committed_last(), losses_}; }

void Invariants::OnReadReady(Node& node, const ReadReady& read) {
  ++world_.coverage.reads_answered;
  auto [committed, losses] = reads_[read.id];
  if (losses == losses_ && read.index < committed) {
    Fail(node, "linearizable reads",
         absl::StrCat("index ", read.index.value(), " where ", committed.value(), " was committed before"));
  }
  if (node.applied() < read.index) Fail(node, "linearizable reads", "answered before it is applied");
}

}  // namespace millrace::raft::sim
