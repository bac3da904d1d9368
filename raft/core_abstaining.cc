// Replicas that may have lost what they acked (ARCHITECTURE D9).
//
// One that wrote without syncing before its machine went down starts with TermAndVote::abstaining; one whose disk lied is noticed
// by the leader and told. It takes part, but its vote and its log count for nobody (core_election.cc: RecordVote, QuorumIsActive;
// core_replication.cc: AckedByMajority, ReleaseReads), so that what the others acked with its help is decided by those who still
// hold it. When the leader confirms an index without counting it, and it holds the log up to there on its disk, it counts again.
// Each time of abstaining has a number of its own: what was said of one ends no other.
//
// Its vote is given with a mark: if *all* voters grant, marked votes count too. That is the only way on when too many abstain: the
// longest log wins, and Notice::kPossibleLoss says so.
#include <algorithm>
#include <utility>

#include "raft/core.h"

namespace millrace::raft {

// ---- The replica

void Core::SetAbstaining(bool abstaining) {
  state_.abstaining = abstaining;
  abstention_ = abstaining ? random_.Next() | 1 : 0;
  confirmed_ = LogIndex(0);
  term_and_vote_dirty_ = true;
  if (!abstaining) Notify(Notice::kAbstainingEnded, self_, state_.commit_index);
}

// By a leader that has seen this life of it without what it had acked.
void Core::BeToldToAbstain() {
  if (!std::exchange(told_to_abstain_, true) && !state_.abstaining) SetAbstaining(true);
}

// `agreed`: up to where our log is known to be the leader's.
void Core::NoteConfirmed(const Confirmed& confirmed, LogIndex agreed) {
  if (confirmed.abstention != abstention_ || confirmed.index == LogIndex(0) || confirmed.index > agreed) return;
  confirmed_ = confirmed.index;
  MaybeEndAbstaining();
}

void Core::MaybeEndAbstaining() {
  if (!state_.abstaining) return;
  // The Ready that stores this is synced, and with it all that was written before.
  if (confirmed_ > LogIndex(0) && stable_ >= confirmed_) SetAbstaining(false);
}

// ---- The leader

void Core::NoteAbstaining(Progress& p, uint64_t abstention, LogIndex last) {
  if (abstention != 0) p.lost_in_life = 0;
  if (p.lost_in_life != 0 || p.abstention == abstention) return;
  p.abstention = abstention;
  if (abstention != 0) ForgetAcks(p, last);
  AdvanceCommit();
}

// What `p` had acked may be gone: begin anew behind its `last` index.
void Core::ForgetAcks(Progress& p, LogIndex last) {
  auto& leader = std::get<Leader>(role_);
  p.BecomeProbe();
  p.next = std::min({p.match, last, last_index()}) + 1;
  p.match = p.synced = LogIndex(0);
  p.first_request = p.match_known_since = leader.next_request;
  leader.confirmed = LogIndex(0);  // its acks may have been counted for it
}

void Core::OnLostDurability(Progress& p, const AppendReply& reply) {
  Notify(Notice::kLostDurability, p.id, reply.last_index);
  p.lost_in_life = reply.life;
  p.abstention = kUnnamedAbstention;
  ForgetAcks(p, reply.last_index);
  send_due_ = true;
}

}  // namespace millrace::raft
