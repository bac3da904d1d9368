// Who takes part: Raft thesis, chapter 4. Changes go through joint consensus (4.3) when more than one voter changes.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "raft/core.h"

namespace millrace::raft {

absl::StatusOr<EntryId> Core::ProposeMembership(const std::vector<MembershipChange>& changes,
                                                const MembershipOptions& options) {
  auto* leader = std::get_if<Leader>(&role_);
  if (stopped_ || leader == nullptr) return absl::FailedPreconditionError("this replica does not lead the group");
  Wake();
  if (leader->transfer_to)
    return absl::UnavailableError("leadership is being handed over; try again at the new leader");
  // Ongaro's mend of single-server changes (raft-dev, July 2015); with joint ones it also keeps one change in flight.
  if (state_.commit_index < leader->first_of_term) {
    return absl::UnavailableError("the leader has not committed an entry of its term yet; try again");
  }
  if (memberships_.back().index > state_.commit_index) {
    return absl::FailedPreconditionError(
        absl::StrCat("another change of the membership is under way (entry ", memberships_.back().index.value(), ")"));
  }
  const Membership& now = membership();
  absl::StatusOr<Membership> changed;
  if (changes.empty()) {
    changed = LeaveJoint(now);
  } else {
    if (options.joint == MembershipOptions::Joint::kWhenNeeded) changed = ChangeSimply(now, changes);
    if (options.joint == MembershipOptions::Joint::kAlways || absl::IsFailedPrecondition(changed.status())) {
      changed = EnterJoint(now, changes, options.auto_leave);
    }
  }
  if (!changed.ok()) return changed.status();
  if (*changed == now) return absl::FailedPreconditionError("the membership is already so");
  if (options.catch_up_first) {
    if (absl::Status status = CheckCaughtUp(changes); !status.ok()) return status;
  }
  const EntryId id = AppendMembership(*std::move(changed));
  CheckInvariants();
  return id;
}

// A voter that has to copy the whole log first would be counted on and could not ack (thesis 4.2.1).
absl::Status Core::CheckCaughtUp(const std::vector<MembershipChange>& changes) {
  for (const MembershipChange& change : changes) {
    if (change.kind != MembershipChange::kAddVoter || membership().IsVoter(change.id)) continue;
    const Progress* p = Find(change.id);
    if (p == nullptr || !IsCaughtUp(*p)) {
      return absl::FailedPreconditionError(
          absl::StrCat("broker ", change.id.broker.value(),
                       " has not caught up with the log; add it as a learner (with promotion) first"));
    }
  }
  return absl::OkStatus();
}

// An entry of our own term shows that its log is ours: one that holds what all voters have lost agrees with us only before it.
bool Core::IsCaughtUp(const Progress& p) const {
  return p.state == Progress::State::kReplicate && p.recent_active &&
         p.match >= std::get<Leader>(role_).first_of_term && state_.commit_index - p.match <= config_.promotion_lag_max;
}

EntryId Core::AppendMembership(Membership membership) {
  Entry entry{.header = {.type = EntryType::kMembership}, .payload = absl::Cord(Encode(membership))};
  AppendOwn(std::move(entry));
  UpdateProgress();
  return {state_.term, last_index()};
}

// Older ones are not kept, and it is as good as the one at the member's place: the member cannot win an election before it has the
// entries up to this one, and then it comes again with its entry.
std::shared_ptr<const Membership> Core::CommittedMembership() const {
  return std::make_shared<Membership>(memberships_.front().membership);
}

void Core::TakeFirstMembership(const AppendEntries& request) {
  if (request.membership == nullptr || last_index() != LogIndex(0) || !membership().voters.empty()) return;
  memberships_ = {{LogIndex(0), *request.membership}};
  memberships_dirty_ = true;
}

// Whoever leaves is told until that is committed: it would not know otherwise that it is out, and campaign for ever.
ReplicaSet Core::RecipientsOfLog() const {
  ReplicaSet all = membership().Members();
  for (const MembershipAt& m : memberships_) {
    const ReplicaSet members = m.membership.Members();
    all.insert(all.end(), members.begin(), members.end());
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

// One Progress for each member; what is known of those that stay stays.
void Core::UpdateProgress() {
  auto& leader = std::get<Leader>(role_);
  std::vector<Progress> progress;
  const ReplicaSet recipients = RecipientsOfLog();
  progress.reserve(recipients.size());
  for (ReplicaId id : recipients) {
    if (Progress* known = Find(id)) {
      progress.push_back(std::move(*known));
    } else {
      progress.emplace_back(id, last_index() + 1);
      progress.back().recent_active = true;  // it had no chance to be heard of
      if (id == self_) progress.back().Acked(stable_);
    }
  }
  leader.progress = std::move(progress);
  leader.some_leave = leader.progress.size() > membership().Members().size();
  send_due_ = true;
}

void Core::TellCommit() {
  for (Progress& p : std::get<Leader>(role_).progress) p.nudge = p.nudge || p.commit_sent < state_.commit_index;
  send_due_ = true;
  ReplicateToAll();
}

// What follows from a membership that is committed.
void Core::AdvanceMembership() {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr || memberships_.back().index > state_.commit_index ||
      state_.commit_index < leader->first_of_term)
    return;
  const Membership& now = membership();
  if (leader->some_leave) {
    TellCommit();  // the last that they hear of
    UpdateProgress();
  }
  if (now.joint()) {
    // Whoever leads when it is committed leaves it, not only who entered it (raft-rs #101).
    if (now.auto_leave) AppendMembership(*LeaveJoint(now));
    return;
  }
  if (!now.IsVoter(self_)) {
    if (!config_.step_down_on_removal) return;
    TellCommit();  // thesis 4.2.2: the others learn of it before we fall silent
    BecomeFollower(state_.term, kNoReplica);
    return;
  }
  for (ReplicaId id : now.promote) {
    const Progress& p = *Find(id);
    if (!IsCaughtUp(p) || p.abstention != 0) continue;
    AppendMembership(*ChangeSimply(now, {{MembershipChange::kAddVoter, id}}));
    return;
  }
}

// All of the log's memberships may be undone but those that are committed: of these the last one is enough.
void Core::PruneMemberships() {
  const auto first_open = std::find_if(memberships_.begin() + 1, memberships_.end(),
                                       [&](const MembershipAt& m) { return m.index > state_.commit_index; });
  if (first_open - memberships_.begin() <= 1) return;
  memberships_.erase(memberships_.begin(), first_open - 1);
  memberships_dirty_ = true;
}

}  // namespace millrace::raft
