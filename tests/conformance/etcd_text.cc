#include "tests/conformance/etcd_text.h"

#include "absl/strings/str_join.h"
#include "tests/conformance/text.h"

namespace millrace::conformance {

raft::ReplicaId NodeId(int64_t node) {
  return node == 0 ? raft::kNoReplica : raft::ReplicaId{.broker = raft::BrokerId(node), .incarnation = 0};
}

int64_t NodeNumber(raft::ReplicaId id) { return id ? id.broker.value() : 0; }

std::string ToEtcdText(const raft::ReplicaSet& set) {
  std::string text = "(";
  for (const raft::ReplicaId id : set) CatTo(&text, text == "(" ? "" : " ", absl::Hex(NodeNumber(id)));
  return text + ")";
}

std::string ToEtcdText(const raft::Membership& m) {
  std::string text = Cat("voters=", ToEtcdText(m.voters));
  if (m.joint()) CatTo(&text, "&&", ToEtcdText(m.outgoing));
  if (!m.learners.empty()) CatTo(&text, " learners=", ToEtcdText(m.learners));
  if (!m.learners_next.empty()) CatTo(&text, " learners_next=", ToEtcdText(m.learners_next));
  if (m.auto_leave) CatTo(&text, " autoleave");
  return text;
}

const char* ToEtcdText(raft::Role role) {
  switch (role) {
    case raft::Role::kFollower:
      return "StateFollower";
    case raft::Role::kPreCandidate:
      return "StatePreCandidate";
    case raft::Role::kCandidate:
      return "StateCandidate";
    case raft::Role::kLeader:
      return "StateLeader";
  }
  return "?";
}

const char* ToEtcdText(raft::Progress::State state) {
  switch (state) {
    case raft::Progress::State::kProbe:
      return "StateProbe";
    case raft::Progress::State::kReplicate:
      return "StateReplicate";
    case raft::Progress::State::kSnapshot:
      return "StateSnapshot";
  }
  return "?";
}

std::string Quoted(std::string_view data) {
  std::string text = "\"";
  for (const char c : data) {
    if (c == '"' || c == '\\') text.push_back('\\');
    text.push_back(c);
  }
  text.push_back('"');
  return text;
}

absl::StatusOr<std::vector<EtcdChange>> ParseEtcdChanges(std::string_view text) {
  std::vector<EtcdChange> changes;
  for (std::string_view word : Words(text)) {
    EtcdChange change{.kind = word[0]};
    if (word.size() < 2) return absl::InvalidArgumentError(Cat("unknown token ", word));
    if (std::string_view("vlru").find(change.kind) == std::string_view::npos) {
      return absl::InvalidArgumentError(Cat("unknown input: ", word));
    }
    const std::optional<int64_t> node = Number(word.substr(1));
    if (!node) return absl::InvalidArgumentError(Cat("not a node: ", word));
    change.node = *node;
    changes.push_back(change);
  }
  return changes;
}

std::vector<raft::MembershipChange> ToMembershipChanges(const std::vector<EtcdChange>& changes) {
  using Kind = raft::MembershipChange::Kind;
  std::vector<raft::MembershipChange> ours;
  for (const EtcdChange& change : changes) {
    if (change.kind == 'u' || change.node == 0) continue;
    const Kind kind = change.kind == 'v' ? Kind::kAddVoter : change.kind == 'l' ? Kind::kAddLearner : Kind::kRemove;
    ours.push_back({.kind = kind, .id = NodeId(change.node)});
  }
  return ours;
}

}  // namespace millrace::conformance
