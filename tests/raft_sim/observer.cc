#include "tests/raft_sim/observer.h"

#include <algorithm>

#include "tests/raft_sim/node.h"
#include "tests/raft_sim/world.h"

namespace millrace::raft::sim {
namespace {

bool IsReply(uint8_t kind) { return kind == kAppendReply || kind == kHeartbeatReply || kind == kVoteReply; }
bool IsFromLeader(uint8_t kind) { return kind == kAppend || kind == kHeartbeat || kind == kSnapshot; }
bool IsPreVote(const Brief& m) { return m.flags & 1; }   // of a vote request
bool IsTransfer(const Brief& m) { return m.flags & 2; }  // of a vote request
bool IsAccepted(const Brief& m) { return m.flags & 1; }  // of an append's reply

const Progress* ProgressOf(const Node& leader, ReplicaId id) {
  for (const Progress& p : leader.core().progress()) {
    if (p.id == id) return &p;
  }
  return nullptr;
}

}  // namespace

void Observer::Saw(Rare which) { world_.coverage.Saw(which); }

void Observer::Begin(EventKind kind, const Brief* message) {
  cause_ = kind;
  cause_is_silence_ = false;
  granted_ = candidate_fits_ = disk_stalled_ = false;
  if (message != nullptr) message_ = *message;
}

// ---- In

void Observer::OnMessage(const Node& node, const Brief& m) {
  ++world_.coverage.messages;
  if (m.to != node.id()) return Saw(Rare::kForeignIncarnation);
  const Core& core = node.core();
  if (m.term < core.term()) {
    if (IsReply(m.kind)) Saw(Rare::kStaleReply);
    return;
  }
  switch (m.kind) {
    case kAppend:
      if (LogIndex(m.a) < core.commit_index()) Saw(Rare::kAppendBelowCommit);
      break;
    case kAppendReply: {
      const Progress* p = IsAccepted(m) ? nullptr : ProgressOf(node, m.from);
      if (p != nullptr && p->state == Progress::State::kSnapshot) Saw(Rare::kRefusedDuringSnapshot);
      break;
    }
    case kVoteRequest:
      OnVoteRequest(node, m);
      break;
    case kSnapshot:
      if (LogIndex(m.b) <= core.commit_index()) Saw(Rare::kSnapshotStale);
      break;
    case kTimeoutNow:
      told_to_campaign_ = true;
      break;
    default:
      break;
  }
}

void Observer::OnVoteRequest(const Node& node, const Brief& m) {
  const Core& core = node.core();
  const EntryId last{core.terms().last_term(), core.last_index()};
  candidate_fits_ = EntryId{Term(m.a), LogIndex(m.b)} >= last;
  if (!candidate_fits_) Saw(Rare::kVoteRefusedShortLog);
  const auto members = node.seen().membership->membership.Members();
  if (!members.empty() && !Contains(members, m.from)) Saw(Rare::kStrangerCampaigns);
}

void Observer::OnVoteRequestHandled(const Glance& before, const Glance& after) {
  const Brief& m = message_;
  if (!candidate_fits_ || m.term < before.term) return;
  const bool knew_leader = static_cast<bool>(before.leader);
  if (granted_) {
    if (IsTransfer(m) && knew_leader && m.term > before.term) Saw(Rare::kTransferOverridesSticky);
  } else if (knew_leader && before.leader != m.from && before.leader == after.leader) {
    if (IsPreVote(m)) Saw(Rare::kPreVoteRefusedBySticky);
    if (!IsPreVote(m) && m.term > after.term) Saw(Rare::kVoteRefusedBySticky);
  } else if (!IsPreVote(m) && m.term == after.term && voted_in_ == m.term && voted_for_ != m.from) {
    Saw(Rare::kVoteRefusedGiven);
  }
}

// ---- Out

void Observer::OnReady(const Node& node, const Ready& ready) {
  if (ready.truncate_from) {
    Saw(Rare::kTruncated);
    for (LogIndex i = *ready.truncate_from; i <= node.chain().last(); ++i) {
      if (node.chain().At(i).proposal != 0) Saw(Rare::kOverwritten);
    }
    for (const Batch& batch : node.disk().queue()) {
      const bool cut = !batch.append.empty() && batch.append.back().header.index >= *ready.truncate_from;
      if (cut) Saw(Rare::kLateAckOfTruncated);
    }
  }
  if (ready.install) Saw(Rare::kSnapshotInstalled);
  if (!ready.reads_ready.empty()) Saw(Rare::kReadReleased);
  if (!ready.reads_failed.empty()) Saw(Rare::kReadFailed);
  if (!ready.entry_requests.empty()) Saw(Rare::kEntriesFromStore);
  if (!ready.snapshot_requests.empty()) Saw(Rare::kSnapshotRequested);
  for (const Message& m : ready.send_after_persist) {
    const auto* vote = std::get_if<VoteReply>(&m.body);
    if (vote == nullptr || !vote->granted) continue;
    granted_ = true;
    if (vote->abstaining) Saw(Rare::kVoteMarked);
    if (!node.seen().membership->membership.IsVoter(node.id())) Saw(Rare::kLearnerVotes);
    if (vote->pre_vote) continue;
    if (voted_in_ == m.term && voted_for_ == m.to) Saw(Rare::kVoteGrantedAgain);
    voted_in_ = m.term;
    voted_for_ = m.to;
  }
}

void Observer::OnSend(const Node& node, const Message& message) {
  if (const auto* append = std::get_if<AppendEntries>(&message.body)) return OnAppendSent(node, message, *append);
  const auto* reply = std::get_if<AppendReply>(&message.body);
  if (reply == nullptr || cause_ != EventKind::kDeliver) return;
  if (IsFromLeader(message_.kind) && message_.from == message.to && message_.term < message.term) {
    Saw(Rare::kOlderLeaderAnswered);
  } else if (!reply->accepted) {
    Saw(Rare::kAppendRefused);
    if (reply->hint.index + 1 < reply->rejected) Saw(Rare::kAppendRefusedByTerm);
  }
}

void Observer::OnAppendSent(const Node& node, const Message& message, const AppendEntries& append) {
  const Progress* p = ProgressOf(node, message.to);
  if (p == nullptr || p->state != Progress::State::kProbe) return;
  const EntryId place{message.term, append.prev.index};
  EntryId& last = probed_[static_cast<size_t>(message.to.broker.value())];
  if (last == place) Saw(Rare::kProbeRepeated);
  last = place;
}

void Observer::OnNotice(const Notice& notice) {
  switch (notice.kind) {
    case Notice::kLostDurability:
      return Saw(Rare::kLostDurability);
    case Notice::kPossibleLoss:
      return Saw(Rare::kLeaderOfAllVotes);
    case Notice::kAbstainingEnded:
      return Saw(Rare::kAbstainingEnded);
    case Notice::kDiskStalled:
      disk_stalled_ = true;
      return Saw(Rare::kStalledLeader);
    case Notice::kTransferAborted:
      return Saw(Rare::kTransferAborted);
    case Notice::kDamagedEntry:
      return;  // a driver's
  }
}

// ---- Before and after

void Observer::OnChange(const Node& node, const Glance& before, const Glance& after) {
  if (before.role != after.role || before.term != after.term) OnRoleChange(node, before, after);
  if (before.membership != after.membership) OnMembershipChange(node, before, after);
  if (before.quiet != after.quiet) OnQuietChange(before, after);
  if (cause_ == EventKind::kDeliver && message_.kind == kVoteRequest && message_.to == node.id()) {
    OnVoteRequestHandled(before, after);
  }
  if (after.role == Role::kLeader) OnLeading(node, before, after);
}

void Observer::OnRoleChange(const Node& node, const Glance& before, const Glance& after) {
  if (after.role == Role::kLeader) {
    Saw(Rare::kLeaderElected);
    if (told_to_campaign_) Saw(Rare::kTransferDone);
    const bool other = std::any_of(world_.nodes.begin(), world_.nodes.end(),
                                   [&](const auto& n) { return n.get() != &node && n->leads(); });
    if (other) Saw(Rare::kTwoLeadersAtOnce);
  } else if (before.role == Role::kCandidate) {
    if (after.role == Role::kCandidate || (after.role == Role::kPreCandidate)) Saw(Rare::kSplitVote);
    if (after.role == Role::kFollower && after.leader && after.term == before.term) Saw(Rare::kCandidateLost);
  } else if (before.role == Role::kPreCandidate && after.role == Role::kFollower) {
    Saw(Rare::kPreCandidateLost);
  } else if (before.role == Role::kLeader && before.term == after.term) {
    const bool member = after.membership->membership.IsVoter(node.id());
    if (!member) Saw(Rare::kLeaderRemoved);
    if (member && cause_ == EventKind::kTick && !disk_stalled_) Saw(Rare::kLostQuorum);
  }
  if (after.role != Role::kCandidate) told_to_campaign_ = false;
}

void Observer::OnMembershipChange(const Node& node, const Glance& before, const Glance& after) {
  const Membership& was = before.membership->membership;
  const Membership& now = after.membership->membership;
  if (after.membership->index < before.membership->index) Saw(Rare::kMembershipReverted);
  if (now.joint() && !was.joint()) Saw(Rare::kJointEntered);
  if (!was.joint() && now.IsLearner(node.id()) && was.Members().empty()) Saw(Rare::kStrangerWaits);
  if (after.role != Role::kLeader || cause_ == EventKind::kClient) return;
  if (was.joint() && !now.joint()) {
    Saw(Rare::kJointLeft);
    auto entered = node.core().terms().At(before.membership->index);
    if (entered && *entered < after.term) Saw(Rare::kJointLeftByLater);
  }
  for (ReplicaId id : was.promote) {
    if (!was.joint() && Contains(now.voters, id)) Saw(Rare::kPromoted);
  }
}

void Observer::OnQuietChange(const Glance& before, const Glance& after) {
  if (after.quiet) return Saw(Rare::kQuietEntered);
  if (cause_is_silence_) return Saw(Rare::kQuietWokenByUnreachable);
  if (cause_ == EventKind::kClient && before.role == Role::kLeader) Saw(Rare::kQuietWokenByProposal);
  if (cause_ == EventKind::kDeliver) Saw(Rare::kQuietWokenByMessage);
}

void Observer::OnLeading(const Node& node, const Glance& before, const Glance& after) {
  if (after.commit > before.commit) {
    if (after.commit > after.stable) Saw(Rare::kCommitWithoutOwnDisk);
    auto first = node.core().terms().At(before.commit + 1);
    if (first && *first < after.term) Saw(Rare::kCommitOfOlderTerm);
  }
  const Membership& membership = after.membership->membership;
  if (membership.joint() && !Contains(membership.voters, node.id())) Saw(Rare::kLeaderOutgoing);
  const Config& config = world_.swarm.config;
  for (const Progress& p : node.core().progress()) {
    if (p.state == Progress::State::kReplicate && p.inflights.count() > 0) {
      if (p.inflights.count() >= config.inflight_messages_max) Saw(Rare::kWindowFullByCount);
      if (p.inflights.bytes() >= config.inflight_bytes_max) Saw(Rare::kWindowFullByBytes);
    }
  }
}

// ---- The workload

void Observer::OnPropose(const absl::Status& status) {
  if (absl::IsResourceExhausted(status)) Saw(Rare::kUncommittedLimit);
  if (absl::IsUnavailable(status)) Saw(Rare::kRefusedInTransfer);
}

void Observer::OnProposeMembership(const absl::Status& status) {
  if (!absl::IsFailedPrecondition(status)) return;
  auto says = [&](std::string_view what) {
    return std::string_view(status.message().data(), status.message().size()).find(what) != std::string_view::npos;
  };
  if (says("under way")) Saw(Rare::kChangeInFlight);
  if (says("caught up")) Saw(Rare::kChangeBehind);
}

}  // namespace millrace::raft::sim
