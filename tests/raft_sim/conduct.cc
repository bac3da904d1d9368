#include "tests/raft_sim/conduct.h"

#include "absl/strings/str_cat.h"
#include "raft/quorum.h"
#include "tests/raft_sim/node.h"
#include "tests/raft_sim/world.h"

namespace millrace::raft::sim {
namespace {

// Places in Message's variant.
constexpr uint8_t kAppend = 0, kHeartbeat = 2, kVoteRequest = 4, kSnapshot = 6;
constexpr uint8_t kPreVote = 1, kTransfer = 2;

}  // namespace

Conduct& Conduct::operator=(const Conduct& other) {
  since_leader_ = other.since_leader_;
  round_ticks_ = other.round_ticks_;
  ticks_ = other.ticks_;
  led_ = other.led_;
  heard_ = other.heard_;
  return *this;
}

void Conduct::Fail(const Core& core, const char* what) {
  world_.Fail(absl::StrCat("conduct: broker ", core.self().broker.value(), ": ", what));
}

void Conduct::BeforeStep(const Core& core, const Brief& m) {
  term_before_ = core.term();
  const bool follows =
      core.role() == Role::kFollower && core.leader() && since_leader_ < world_.swarm.config.election_ticks - 1;
  protected_ = m.kind == kVoteRequest && !(m.flags & kTransfer) && (follows || core.role() == Role::kLeader);
}

void Conduct::AfterStep(const Core& core, const Brief& m) {
  if (m.to != core.self()) return;  // for its lost disk
  heard_[static_cast<size_t>(m.from.broker.value())] = ticks_;
  if (m.kind == kVoteRequest && core.term() != term_before_) {
    if (m.flags & kPreVote) Fail(core, "a pre-vote changes its term");
    if (protected_) Fail(core, "a vote request disturbs a live leader");
  }
  if (core.role() == Role::kLeader && core.quiet()) OnQuietLeader(core);
  const bool from_leader = m.kind == kAppend || m.kind == kHeartbeat || m.kind == kSnapshot;
  if (from_leader && m.term == core.term() && core.leader() == m.from) since_leader_ = 0;
}

// Who stands still with its leader has what the leader has: nothing would ever tell it of more.
void Conduct::OnQuietLeader(const Core& leader) {
  const ReplicaSet members = leader.membership().Members();
  for (const auto& node : world_.nodes) {
    if (!Contains(members, node->id())) continue;
    if (!node->up() || !node->core().quiet() || node->core().leader() != leader.self()) continue;
    const Core& member = node->core();
    if (member.term() == leader.term() && member.commit_index() != leader.last_index()) {
      Fail(member, "is quiet and lacks what its quiet leader has");
    }
  }
}

void Conduct::AfterTick(const Core& core) {
  ++ticks_;
  if (since_leader_ < kLong) ++since_leader_;
  if (round_ticks_ >= 0) ++round_ticks_;
  if (core.role() != Role::kLeader) return;
  const Config& config = world_.swarm.config;
  if (led_ != core.term()) {
    led_ = core.term();
    heard_.fill(ticks_);
  }
  if (!HearsQuorum(core)) Fail(core, "leads without hearing a quorum");
  const bool alone = !core.membership().joint() && core.membership().voters.size() == 1;
  if (!alone && round_ticks_ > config.stall_ticks + 2) Fail(core, "leads although its disk stands still");
}

bool Conduct::HearsQuorum(const Core& core) const {
  // A quorum is looked for once in an election timeout, and a member that has just been added counts as heard of the first time.
  const int patience = 3 * world_.swarm.config.election_ticks + 2;
  auto heard = [&](ReplicaId id) -> std::optional<bool> {
    return id == core.self() || ticks_ - heard_[static_cast<size_t>(id.broker.value())] <= patience;
  };
  // A membership may have changed since the quorum was last looked at.
  for (const MembershipAt& m : core.memberships()) {
    if (Tally(m.membership, heard) == VoteResult::kWon) return true;
  }
  return false;
}

void Conduct::OnLeaderAppends(const Core& core, const Entry& entry) {
  if (entry.header.type != EntryType::kMembership || entry.header.term != core.term()) return;
  if (core.terms().At(core.commit_index()) != core.term()) Fail(core, "changes the membership before its first commit");
}

}  // namespace millrace::raft::sim
