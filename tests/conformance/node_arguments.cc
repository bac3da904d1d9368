#include "tests/conformance/node_arguments.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "tests/conformance/text.h"

namespace millrace::conformance {
namespace {

// etcd's test nodes: no limits but those that a transcript sets; nothing goes quiet, and no disk counts as stalled.
raft::Config EtcdConfig() {
  raft::Config config;
  config.election_ticks = 3;
  config.heartbeat_ticks = 1;
  config.quiesce_ticks = 0;
  config.stall_ticks = 0;
  config.pre_vote = false;
  config.check_quorum = false;
  config.step_down_on_removal = false;
  return config;
}

template <typename T, typename U>
absl::Status Assign(absl::StatusOr<T> value, U* target) {
  if (value.ok()) *target = static_cast<U>(*value);
  return value.status();
}

absl::Status TakeMembers(const Directive& d, const Argument& argument, raft::ReplicaSet* members) {
  for (const std::string& value : argument.values) {
    absl::StatusOr<int64_t> node = ToNumber(d, value);
    if (!node.ok()) return node.status();
    members->push_back(NodeId(*node));
  }
  std::sort(members->begin(), members->end());
  return absl::OkStatus();
}

absl::Status TakeReadOnly(const Directive& d, const std::string& value, bool* lease_based) {
  if (value != "safe" && value != "lease-based") return ErrorAt(d, Cat("invalid read-only option ", value));
  *lease_based = value == "lease-based";
  return absl::OkStatus();
}

absl::Status TakeOption(const Directive& d, const std::string& key, const std::string& value, NewNodes* nodes) {
  NodeOptions& options = nodes->options;
  bool ignored = false;
  if (key == "async-storage-writes") return Assign(ToBool(d, value), &options.async_storage_writes);
  if (key == "checkquorum") return Assign(ToBool(d, value), &options.config.check_quorum);
  if (key == "content") return Assign(absl::StatusOr<std::string>(value), &nodes->start.content);
  if (key == "disable-conf-change-validation") {
    absl::Status status = Assign(ToBool(d, value), &ignored);
    options.validate_changes = !ignored;
    return status;
  }
  if (key == "index") {
    int64_t index = 0;
    absl::Status status = Assign(ToNumber(d, value), &index);
    nodes->start.last = {raft::Term(kTermsAhead), raft::LogIndex(index)};
    return status;
  }
  if (key == "inflight") return Assign(ToNumber(d, value), &options.config.inflight_messages_max);
  if (key == "inflight-bytes") return Assign(ToNumber(d, value), &options.config.inflight_bytes_max);
  if (key == "max-committed-size-per-ready") return Assign(ToNumber(d, value), &options.committed_bytes_max);
  if (key == "prevote") return Assign(ToBool(d, value), &options.config.pre_vote);
  if (key == "read-only") return TakeReadOnly(d, value, &options.lease_based_reads);
  if (key == "step-down-on-removal") return Assign(ToBool(d, value), &options.config.step_down_on_removal);
  return ErrorAt(d, Cat("unknown argument ", key));
}

}  // namespace

absl::StatusOr<NewNodes> ReadNewNodes(const Directive& d) {
  NewNodes nodes;
  nodes.options.config = EtcdConfig();
  if (d.arguments.empty() || !d.arguments[0].values.empty()) return ErrorAt(d, "the number of nodes was expected");
  absl::Status status = Assign(ToNumber(d, d.arguments[0].key), &nodes.count);
  for (size_t i = 1; i < d.arguments.size() && status.ok(); ++i) {
    const Argument& argument = d.arguments[i];
    if (argument.key == "voters") {
      status = TakeMembers(d, argument, &nodes.start.membership.voters);
    } else if (argument.key == "learners") {
      status = TakeMembers(d, argument, &nodes.start.membership.learners);
    } else if (argument.values.size() != 1) {
      status = ErrorAt(d, Cat("one value was expected: ", argument.key));
    } else {
      status = TakeOption(d, argument.key, argument.values[0], &nodes);
    }
  }
  if (!status.ok()) return status;
  const bool bootstrap = nodes.start.membership != raft::Membership() || !nodes.start.content.empty();
  if (bootstrap && nodes.start.last.index <= raft::LogIndex(1)) {
    return ErrorAt(d, "index must be specified as > 1 due to bootstrap");
  }
  return nodes;
}

absl::StatusOr<Proposal> ReadChangeProposal(const Directive& d) {
  using Transition = Proposal::Transition;
  Proposal proposal{.kind = Proposal::Kind::kChange};
  for (size_t i = 1; i < d.arguments.size(); ++i) {
    const Argument& argument = d.arguments[i];
    const std::string value = argument.values.size() == 1 ? argument.values[0] : "";
    if (argument.key == "v1") {
      if (absl::Status status = Assign(ToBool(d, value), &proposal.v1); !status.ok()) return status;
    } else if (argument.key == "transition" && (value == "auto" || value == "implicit" || value == "explicit")) {
      proposal.transition = value == "auto"       ? Transition::kAuto
                            : value == "implicit" ? Transition::kImplicit
                                                  : Transition::kExplicit;
    } else {
      return ErrorAt(d, Cat("unknown argument ", argument.key, "=", value));
    }
  }
  absl::StatusOr<std::vector<EtcdChange>> changes = ParseEtcdChanges(d.input);
  if (!changes.ok()) return ErrorAt(d, changes.status());
  proposal.changes = *std::move(changes);
  if (proposal.v1 && (proposal.changes.size() != 1 || proposal.transition != Transition::kAuto)) {
    return ErrorAt(d, "v1 conf change can only have one operation and no transition");
  }
  return proposal;
}

bool IsLogLevel(std::string_view name) {
  static constexpr std::array<std::string_view, 6> kLevels = {"debug", "info", "warn", "error", "fatal", "none"};
  return std::any_of(kLevels.begin(), kLevels.end(), [&](std::string_view level) { return level == Lower(name); });
}

}  // namespace millrace::conformance
