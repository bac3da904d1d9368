// Roles, votes, time: Raft thesis 3.4 (election), 3.10 (transfer), 4.2.3 (live leaders are not disturbed), 6.2 (check-quorum),
// 9.6 (pre-vote).
#include <algorithm>
#include <utility>

#include "proto/wire/check.h"
#include "raft/core.h"
#include "raft/quorum.h"

namespace millrace::raft {

// ---- Roles

void Core::SetTerm(Term term) {
  MILLRACE_CHECK(term > state_.term) << term << "; " << Dump();
  state_.term = term;
  state_.voted_for = kNoReplica;
  term_and_vote_dirty_ = true;
  confirmed_ = LogIndex(0);
  // An ack that has not left yet belongs to the old term's log, which the new one may replace before it is durable.
  if (next_ == nullptr) return;
  std::erase_if(next_->send_after_persist, [](const Message& m) {
    const auto* reply = std::get_if<AppendReply>(&m.body);
    return reply != nullptr && reply->accepted;
  });
}

void Core::ResetElectionTimer() {
  election_elapsed_ = 0;
  election_timeout_ = config_.election_ticks + random_.UpTo(config_.election_ticks);
}

void Core::BecomeFollower(Term term, ReplicaId leader) {
  if (term > state_.term) SetTerm(term);
  if (std::holds_alternative<Leader>(role_)) FailReads();
  send_due_ = false;
  // A refused candidate of a higher term is no reason to wait longer for a leader: the clock goes on (thesis 3.4).
  const int elapsed = std::holds_alternative<Follower>(role_) && !leader ? election_elapsed_ : 0;
  role_ = Follower{leader};
  ResetElectionTimer();
  election_elapsed_ = elapsed;
  role_dirty_ = true;
}

void Core::BecomeCandidate(bool pre_vote, bool transfer) {
  MILLRACE_CHECK(!std::holds_alternative<Leader>(role_)) << Dump();
  Wake();
  if (!pre_vote) {
    SetTerm(state_.term + 1);
    state_.voted_for = self_;
  }
  role_ = Candidate{.pre_vote = pre_vote};
  ResetElectionTimer();
  role_dirty_ = true;

  const VoteRequest request{.last = {terms_.last_term(), last_index()}, .pre_vote = pre_vote, .transfer = transfer};
  for (ReplicaId id : membership().Members()) {
    if (id == self_ || !membership().IsVoter(id)) continue;
    // A real request asks for a term in which we must have voted for ourselves, with a log that we must not lose.
    (pre_vote ? Next().send_now : Next().send_after_persist).push_back(To(id, request));
  }
  // In a real election our own vote follows when it is durable (OnPersisted).
  if (pre_vote) {
    RecordVote(self_, {.granted = true, .pre_vote = true, .abstaining = state_.abstaining, .asked = state_.term});
  }
}

void Core::BecomeLeader(bool unanimous) {
  MILLRACE_CHECK(std::holds_alternative<Candidate>(role_)) << Dump();
  if (unanimous) {
    // All voters have shown their logs and ours is the longest: what it lacks is lost, and what it has is the truth from here on.
    Notify(Notice::kPossibleLoss, self_, last_index());
    if (state_.abstaining) SetAbstaining(false);
  }
  role_ = Leader{.first_of_term = last_index() + 1, .unanimous = unanimous};
  election_elapsed_ = 0;
  role_dirty_ = true;
  UpdateProgress();
  // Earlier terms' entries commit only through one of ours (thesis 3.6.2), and reads wait for it (6.4).
  AppendOwn({.header = {.type = EntryType::kNoop}});
}

// ---- Votes

bool Core::LeaderIsAlive() const {
  return config_.check_quorum && leader() && (leader() == self_ || election_elapsed_ < config_.election_ticks);
}

// A membership without us that is not committed may never be, and then nobody can win without us: our log, which has its entry, is
// longer than the others' (thesis 4.2.2).
bool Core::CanCampaign() const {
  const bool votes = std::any_of(memberships_.begin(), memberships_.end(),
                                 [&](const MembershipAt& m) { return m.membership.IsVoter(self_); });
  return (votes || needed_as_candidate_) && !DiskIsStalled();
}

void Core::Campaign() {
  if (stopped_ || std::holds_alternative<Leader>(role_) || !CanCampaign()) return;
  BecomeCandidate(config_.pre_vote, /*transfer=*/false);
  CheckInvariants();
}

void Core::Handle(const Message& m, const VoteRequest& body) {
  VoteReply reply{.pre_vote = body.pre_vote, .abstaining = state_.abstaining, .asked = m.term};
  const bool free = body.pre_vote || state_.voted_for == m.from || (!state_.voted_for && !leader());
  // Terms first, then lengths (Raft paper, 5.4.1). The answer leaves after everything that our log is compared by is durable.
  const bool behind = body.last < EntryId{terms_.last_term(), last_index()};
  reply.granted = free && !behind;
  // Asked, we are a voter by the candidate's membership, and it may not win without us. If we are none by our own and have the
  // longer log, nobody else may be able to win at all.
  if (behind) needed_as_candidate_ = true;
  if (reply.granted && !body.pre_vote) {
    if (state_.voted_for != m.from) term_and_vote_dirty_ = true;
    state_.voted_for = m.from;
    election_elapsed_ = 0;
  }
  Next().send_after_persist.push_back(To(m.from, reply));
}

void Core::Handle(const Message& m, const VoteReply& body) {
  const auto* candidate = std::get_if<Candidate>(&role_);
  if (candidate == nullptr || candidate->pre_vote != body.pre_vote || body.asked != state_.term) return;
  RecordVote(m.from, body);
}

bool Core::AllVotersGrant(const Candidate& candidate) const {
  const auto grants = [&](ReplicaId id) {
    const auto vote = candidate.votes.find(id);
    return vote != candidate.votes.end() && vote->second.granted;
  };
  return std::all_of(membership().voters.begin(), membership().voters.end(), grants) &&
         std::all_of(membership().outgoing.begin(), membership().outgoing.end(), grants);
}

void Core::RecordVote(ReplicaId voter, const VoteReply& vote) {
  if (!membership().IsVoter(voter)) return;
  auto& candidate = std::get<Candidate>(role_);
  candidate.votes.emplace(voter, vote);
  const VoteResult result = Tally(membership(), [&](ReplicaId id) -> std::optional<bool> {
    const auto cast = candidate.votes.find(id);
    // A yes with a mark is neither yes nor no, unless all say yes.
    if (cast == candidate.votes.end() || (cast->second.granted && cast->second.abstaining)) return std::nullopt;
    return cast->second.granted;
  });
  const bool unanimous = result != VoteResult::kWon && AllVotersGrant(candidate);
  if (result == VoteResult::kLost) {
    BecomeFollower(state_.term, kNoReplica);
  } else if (result == VoteResult::kWon || unanimous) {
    if (candidate.pre_vote) {
      BecomeCandidate(/*pre_vote=*/false, /*transfer=*/false);
    } else {
      BecomeLeader(unanimous);
    }
  }
}

// ---- Leadership by request

void Core::ForgetLeader() {
  auto* follower = std::get_if<Follower>(&role_);
  if (stopped_ || follower == nullptr || !follower->leader) return;
  Wake();
  follower->leader = kNoReplica;
  role_dirty_ = true;
}

absl::Status Core::TransferLeadership(ReplicaId to) {
  auto* leader = std::get_if<Leader>(&role_);
  if (stopped_ || leader == nullptr) return absl::FailedPreconditionError("this replica does not lead the group");
  if (to == self_) return absl::FailedPreconditionError("this replica leads the group already");
  if (!membership().IsVoter(to)) return absl::FailedPreconditionError("leadership can only go to a voter");
  leader->transfer_to = to;
  leader->transfer_elapsed = leader->idle_ticks = 0;
  Wake();
  const Progress* p = Find(to);
  if (p->match == last_index()) SendTimeoutNow(to);
  send_due_ = true;
  return absl::OkStatus();
}

void Core::SendTimeoutNow(ReplicaId to) { Next().send_now.push_back(To(to, TimeoutNow())); }

void Core::Handle(const Message& m, const TimeoutNow&) {
  if (leader() != m.from || !CanCampaign()) return;
  BecomeCandidate(/*pre_vote=*/false, /*transfer=*/true);
}

// ---- Time

void Core::TickElection() {
  if (election_elapsed_ < election_timeout_) ++election_elapsed_;
  if (election_elapsed_ < election_timeout_ || !CanCampaign()) return;
  BecomeCandidate(config_.pre_vote, /*transfer=*/false);
}

void Core::TickLeader() {
  auto& leader = std::get<Leader>(role_);
  if (DiskIsStalled()) {
    // Others' disks may be well: a leader that cannot store must not hold them up (hashicorp/raft #503).
    Notify(Notice::kDiskStalled);
    return BecomeFollower(state_.term, kNoReplica);
  }
  ++leader.idle_ticks;
  if (leader.transfer_to && ++leader.transfer_elapsed >= config_.election_ticks) {
    Notify(Notice::kTransferAborted, leader.transfer_to);
    leader.transfer_to = kNoReplica;
  }
  if (++election_elapsed_ >= config_.election_ticks) {
    election_elapsed_ = 0;
    if (config_.check_quorum && !QuorumIsActive()) return BecomeFollower(state_.term, kNoReplica);
  }
  if (++leader.heartbeat_elapsed >= config_.heartbeat_ticks) SendHeartbeats();
}

bool Core::QuorumIsActive() {
  auto& leader = std::get<Leader>(role_);
  // A quorum that cannot commit is none: when too many have begun to abstain, only an election by all voters goes on (D9). Those
  // who abstain when such an election is won are on their way back.
  const auto counts = [&](bool abstaining) { return leader.unanimous || !abstaining; };
  const VoteResult result = Tally(membership(), [&](ReplicaId id) -> std::optional<bool> {
    if (id == self_) return counts(state_.abstaining);
    const Progress* p = Find(id);
    return p->recent_active && counts(p->abstention != 0);
  });
  for (Progress& p : leader.progress) p.recent_active = false;
  return result == VoteResult::kWon;
}

}  // namespace millrace::raft
