#include "tests/conformance/confchange_vectors.h"

#include <algorithm>

#include "tests/conformance/text.h"

namespace millrace::conformance {

using raft::Membership;

namespace {

absl::StatusOr<bool> ReadAutoLeave(const Directive& d) {
  if (d.arguments.empty()) return false;
  const Argument& argument = d.arguments[0];
  if (d.command != "enter-joint" || argument.key != "autoleave" || argument.values.size() != 1 ||
      d.arguments.size() > 1) {
    return ErrorAt(d, Cat("unknown argument ", argument.key));
  }
  return ToBool(d, argument.values[0]);
}

}  // namespace

absl::StatusOr<std::string> ConfChangeVectors::Answer(const Directive& d) {
  if (d.command != "simple" && d.command != "enter-joint" && d.command != "leave-joint") {
    return ErrorAt(d, Cat("unknown command ", d.command));
  }
  absl::StatusOr<std::vector<EtcdChange>> changes = ParseEtcdChanges(d.input);
  ++last_index_;
  if (!changes.ok()) return Cat(changes.status().message(), "\n");
  if (d.command == "leave-joint" && !changes->empty()) return "this command takes no input\n";
  const absl::StatusOr<bool> auto_leave = ReadAutoLeave(d);
  if (!auto_leave.ok()) return auto_leave.status();
  absl::StatusOr<Membership> after = Change(d.command, *changes, *auto_leave);
  if (!after.ok()) return Refusal(d.command, after.status());
  FollowProgress(*changes, *after);
  membership_ = *std::move(after);
  return Describe();
}

absl::StatusOr<Membership> ConfChangeVectors::Change(const std::string& command, const std::vector<EtcdChange>& changes,
                                                     bool auto_leave) const {
  if (command == "leave-joint") return raft::LeaveJoint(membership_);
  const std::vector<raft::MembershipChange> ours = ToMembershipChanges(changes);
  return command == "simple" ? raft::ChangeSimply(membership_, ours) : raft::EnterJoint(membership_, ours, auto_leave);
}

// Our statuses and what they are called in the files. The code must be the one that membership.h promises.
std::string ConfChangeVectors::Refusal(const std::string& command, const absl::Status& status) const {
  const bool precondition = absl::IsFailedPrecondition(status);
  const bool argument = absl::IsInvalidArgument(status);
  const bool joint = membership_.joint();
  if (command == "leave-joint" && precondition) return "can't leave a non-joint config\n";
  if (command == "enter-joint" && precondition && joint) return "config is already joint\n";
  if (command == "enter-joint" && argument && membership_.voters.empty())
    return "can't make a zero-voter config joint\n";
  if (command == "simple" && precondition && joint) return "can't apply simple config change in joint config\n";
  if (command == "simple" && precondition) return "more than one voter changed without entering joint config\n";
  if (argument) return "removed all voters\n";
  return Cat("unexpected: ", status.ToString(), "\n");
}

// Goes through the changes one by one, since a member that is removed and added again in one command begins anew.
void ConfChangeVectors::FollowProgress(const std::vector<EtcdChange>& changes, const Membership& after) {
  for (const EtcdChange& change : changes) {
    const raft::ReplicaId id = NodeId(change.node);
    if (change.kind == 'u' || change.node == 0) continue;
    if (change.kind == 'r') {
      if (!Contains(after.outgoing, id)) next_.erase(id);
    } else {
      next_.try_emplace(id, std::max<int64_t>(last_index_ - 1, 1));
    }
  }
  const raft::ReplicaSet members = after.Members();
  std::erase_if(next_, [&](const auto& entry) { return !raft::Contains(members, entry.first); });
}

std::string ConfChangeVectors::Describe() const {
  std::string text = Cat(ToEtcdText(membership_), "\n");
  for (const raft::ReplicaId id : membership_.Members()) {
    const auto next = next_.find(id);
    CatTo(&text, NodeNumber(id), ": StateProbe match=0 next=", next == next_.end() ? "?" : Cat(next->second),
          membership_.IsLearner(id) ? " learner" : "", "\n");
  }
  return text;
}

}  // namespace millrace::conformance
