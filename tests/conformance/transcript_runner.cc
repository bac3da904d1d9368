#include "tests/conformance/transcript_runner.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "tests/conformance/node_arguments.h"
#include "tests/conformance/text.h"

namespace millrace::conformance {
namespace {

using raft::LogIndex;

absl::StatusOr<std::string> Ok() { return "ok\n"; }

// What a node refuses in etcd's words is output; whatever else goes wrong ends the transcript.
absl::StatusOr<std::string> OutputOf(const Directive& d, const absl::Status& status) {
  if (status.ok()) return Ok();
  if (absl::IsAborted(status) || absl::IsOutOfRange(status)) return Cat(status.message(), "\n");
  return ErrorAt(d, status);
}

}  // namespace

std::string TranscriptRunner::EntryText(const raft::Entry& entry) const {
  const raft::EntryHeader& h = entry.header;
  const auto label = labels_.find({h.term, h.index});
  const std::string what = label != labels_.end() ? label->second
                           : h.type == raft::EntryType::kMembership
                               ? "EntryConfChangeV2"
                               : "EntryNormal " + Quoted(std::string(entry.payload));
  return Cat(EtcdTerm(h.term), "/", h.index.value(), " ", what);
}

TranscriptRunner::TranscriptRunner(const std::vector<Directive>& directives) {
  for (const Directive& d : directives) {
    if (d.command != "set-randomized-election-timeout" || d.arguments.size() != 2 || d.arguments[1].values.size() != 1)
      continue;
    const std::optional<int64_t> node = Number(d.arguments[0].key), timeout = Number(d.arguments[1].values[0]);
    if (node && timeout) timeouts_[*node].push_back(static_cast<int>(*timeout));
  }
}

const std::map<std::string_view, TranscriptRunner::Handler>& TranscriptRunner::Handlers() {
  static const std::map<std::string_view, Handler> handlers = {
      {"_breakpoint", &TranscriptRunner::Breakpoint},
      {"_breakpoint:", &TranscriptRunner::Breakpoint},
      {"add-nodes", &TranscriptRunner::AddNodes},
      {"campaign", &TranscriptRunner::Campaign},
      {"compact", &TranscriptRunner::Compact},
      {"deliver-msgs", &TranscriptRunner::DeliverMessages},
      {"forget-leader", &TranscriptRunner::ForgetLeader},
      {"log-level", &TranscriptRunner::SetLogLevel},
      {"process-append-thread", &TranscriptRunner::ProcessAppendThread},
      {"process-apply-thread", &TranscriptRunner::ProcessApplyThread},
      {"process-ready", &TranscriptRunner::ProcessReady},
      {"propose", &TranscriptRunner::Propose},
      {"propose-conf-change", &TranscriptRunner::ProposeChange},
      {"raft-log", &TranscriptRunner::RaftLog},
      {"raft-state", &TranscriptRunner::RaftState},
      {"report-unreachable", &TranscriptRunner::ReportUnreachable},
      {"send-snapshot", &TranscriptRunner::SendSnapshot},
      {"set-randomized-election-timeout", &TranscriptRunner::SetTimeout},
      {"stabilize", &TranscriptRunner::Stabilize},
      {"status", &TranscriptRunner::Status},
      {"tick-election", &TranscriptRunner::TickElection},
      {"tick-heartbeat", &TranscriptRunner::TickHeartbeat},
      {"transfer-leadership", &TranscriptRunner::TransferLeadership},
  };
  return handlers;
}

absl::StatusOr<std::string> TranscriptRunner::Run(const Directive& d) {
  const auto handler = Handlers().find(d.command);
  if (handler == Handlers().end()) return ErrorAt(d, Cat("unknown command ", d.command));
  return (this->*handler->second)(d);
}

// ---- Arguments

absl::StatusOr<Node*> TranscriptRunner::NodeAt(const Directive& d, std::string_view number) {
  absl::StatusOr<int64_t> n = ToNumber(d, number);
  if (!n.ok()) return n.status();
  if (*n < 1 || *n > static_cast<int64_t>(nodes_.size())) return ErrorAt(d, Cat("there is no node ", *n));
  return nodes_[static_cast<size_t>(*n - 1)].get();
}

absl::StatusOr<std::vector<Node*>> TranscriptRunner::NodesOf(const Directive& d,
                                                             const std::vector<std::string_view>& keys) {
  std::vector<Node*> nodes;
  for (const Argument& argument : d.arguments) {
    if (!argument.values.empty()) {
      if (std::find(keys.begin(), keys.end(), argument.key) != keys.end()) continue;
      return ErrorAt(d, Cat("unknown argument ", argument.key));
    }
    absl::StatusOr<Node*> node = NodeAt(d, argument.key);
    if (!node.ok()) return node.status();
    nodes.push_back(*node);
  }
  return nodes;
}

absl::StatusOr<Node*> TranscriptRunner::NodeOf(const Directive& d) {
  absl::StatusOr<std::vector<Node*>> nodes = NodesOf(d);
  if (!nodes.ok()) return nodes.status();
  if (nodes->size() != 1) return ErrorAt(d, "one node was expected");
  return nodes->front();
}

// ---- Nodes and their setting

absl::StatusOr<std::string> TranscriptRunner::AddNodes(const Directive& d) {
  absl::StatusOr<NewNodes> added = ReadNewNodes(d);
  if (!added.ok()) return added.status();
  for (int64_t i = 0; i < added->count; ++i) {
    const int64_t number = static_cast<int64_t>(nodes_.size()) + 1;
    const int election_ticks = added->options.config.election_ticks;
    for (const int timeout : timeouts_[number]) {
      if (timeout < election_ticks || timeout >= 2 * election_ticks) {
        return ErrorAt(
            d, Cat("node ", number, " is set an election timeout of ", timeout, " ticks: not one it could draw"));
      }
    }
    nodes_.push_back(std::make_unique<Node>(number, added->options, added->start,
                                            ScriptedTimeouts(election_ticks, timeouts_[number]), labels_));
  }
  return Ok();
}

absl::StatusOr<std::string> TranscriptRunner::SetTimeout(const Directive& d) {
  if (d.arguments.size() != 2 || d.arguments[1].key != "timeout" || d.arguments[1].values.size() != 1) {
    return ErrorAt(d, "a node and timeout=ticks were expected");
  }
  absl::StatusOr<Node*> node = NodeAt(d, d.arguments[0].key);
  if (!node.ok()) return node.status();
  if (absl::StatusOr<int64_t> timeout = ToNumber(d, d.arguments[1].values[0]); !timeout.ok()) return timeout.status();
  if (!(*node)->ReachTimeout()) {
    return ErrorAt(d,
                   "the timer has been running since the last such command, and our core cannot set it while it runs");
  }
  return Ok();
}

absl::StatusOr<std::string> TranscriptRunner::SetLogLevel(const Directive& d) {
  if (d.arguments.size() != 1 || !IsLogLevel(d.arguments[0].key)) return ErrorAt(d, "a log level was expected");
  return Ok();
}

absl::StatusOr<std::string> TranscriptRunner::Breakpoint(const Directive& d) { return Ok(); }

// ---- Events

absl::StatusOr<std::string> TranscriptRunner::Campaign(const Directive& d) {
  absl::StatusOr<Node*> node = NodeOf(d);
  if (!node.ok()) return node.status();
  (*node)->Campaign();
  return Ok();
}

absl::StatusOr<std::string> TranscriptRunner::Compact(const Directive& d) {
  if (d.arguments.size() != 2) return ErrorAt(d, "a node and an index were expected");
  absl::StatusOr<Node*> node = NodeAt(d, d.arguments[0].key);
  if (!node.ok()) return node.status();
  absl::StatusOr<int64_t> index = ToNumber(d, d.arguments[1].key);
  if (!index.ok()) return index.status();
  if (absl::Status status = (*node)->Compact(LogIndex(*index)); !status.ok()) return OutputOf(d, status);
  return LogText(**node);
}

absl::StatusOr<std::string> TranscriptRunner::ForgetLeader(const Directive& d) {
  absl::StatusOr<Node*> node = NodeOf(d);
  if (!node.ok()) return node.status();
  (*node)->ForgetLeader();
  return Ok();
}

absl::StatusOr<std::string> TranscriptRunner::Propose(const Directive& d) {
  if (d.arguments.size() != 2 || !d.arguments[1].values.empty()) return ErrorAt(d, "a node and a word were expected");
  absl::StatusOr<Node*> node = NodeAt(d, d.arguments[0].key);
  if (!node.ok()) return node.status();
  return OutputOf(d, (*node)->Propose({.kind = Proposal::Kind::kData, .data = d.arguments[1].key}));
}

absl::StatusOr<std::string> TranscriptRunner::ProposeChange(const Directive& d) {
  if (d.arguments.empty()) return ErrorAt(d, "a node was expected");
  absl::StatusOr<Node*> node = NodeAt(d, d.arguments[0].key);
  if (!node.ok()) return node.status();
  absl::StatusOr<Proposal> proposal = ReadChangeProposal(d);
  if (!proposal.ok()) return proposal.status();
  return OutputOf(d, (*node)->Propose(*proposal));
}

absl::StatusOr<std::string> TranscriptRunner::ReportUnreachable(const Directive& d) {
  absl::StatusOr<std::vector<Node*>> nodes = NodesOf(d);
  if (!nodes.ok()) return nodes.status();
  if (nodes->size() != 2) return ErrorAt(d, "must specify exactly two nodes: who reports, and whom");
  (*nodes)[0]->ReportUnreachable((*nodes)[1]->number());
  return Ok();
}

absl::StatusOr<std::string> TranscriptRunner::SendSnapshot(const Directive& d) {
  absl::StatusOr<std::vector<Node*>> nodes = NodesOf(d);
  if (!nodes.ok()) return nodes.status();
  if (nodes->size() != 2) return ErrorAt(d, "a sender and a receiver were expected");
  const Node& from = *(*nodes)[0];
  const int64_t to = (*nodes)[1]->number();
  network_.push_back(
      {.from = from.number(),
       .to = to,
       .content = raft::Message{
           .from = NodeId(from.number()), .to = NodeId(to), .term = from.core().term(), .body = from.snapshot()}});
  return Ok();
}

absl::StatusOr<std::string> TranscriptRunner::TickElection(const Directive& d) {
  absl::StatusOr<Node*> node = NodeOf(d);
  if (!node.ok()) return node.status();
  (*node)->Tick((*node)->options().config.election_ticks);
  return Ok();
}

absl::StatusOr<std::string> TranscriptRunner::TickHeartbeat(const Directive& d) {
  absl::StatusOr<Node*> node = NodeOf(d);
  if (!node.ok()) return node.status();
  (*node)->Tick((*node)->options().config.heartbeat_ticks);
  return Ok();
}

absl::StatusOr<std::string> TranscriptRunner::TransferLeadership(const Directive& d) {
  std::map<std::string, Node*> ends;
  for (const Argument& argument : d.arguments) {
    if (argument.values.size() != 1 || (argument.key != "from" && argument.key != "to")) {
      return ErrorAt(d, Cat("unknown argument ", argument.key));
    }
    absl::StatusOr<Node*> node = NodeAt(d, argument.values[0]);
    if (!node.ok()) return node.status();
    ends[argument.key] = *node;
  }
  if (ends.size() != 2) return ErrorAt(d, "from= and to= were expected");
  ends["from"]->TransferLeadership(ends["to"]->number());
  return Ok();
}

// ---- Work

std::vector<Mail> TranscriptRunner::TakeMail(int64_t node, std::string_view type, bool local_too) {
  const auto rest = std::stable_partition(network_.begin(), network_.end(), [&](const Mail& mail) {
    return mail.to != node || (mail.Local() && !local_too) || (!type.empty() && EtcdType(mail) != type);
  });
  std::vector<Mail> taken(std::make_move_iterator(rest), std::make_move_iterator(network_.end()));
  network_.erase(rest, network_.end());
  return taken;
}

absl::Status TranscriptRunner::DeliverTo(const Directive& d, Node& node, std::string_view type, size_t* count) {
  for (const Mail& mail : TakeMail(node.number(), type, /*local_too=*/true)) {
    ++*count;
    if (absl::Status status = node.Deliver(mail); !status.ok()) {
      return ErrorAt(d, Cat(mail.from, "->", mail.to, " ", EtcdType(mail), ": ", status.message()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> TranscriptRunner::DeliverMessages(const Directive& d) {
  std::string type;
  std::vector<int64_t> drops;
  absl::StatusOr<std::vector<Node*>> nodes = NodesOf(d, {"drop", "type"});
  if (!nodes.ok()) return nodes.status();
  for (const Argument& argument : d.arguments) {
    for (const std::string& value : argument.values) {
      if (argument.key == "type") {
        if (!IsEtcdType(value)) return ErrorAt(d, Cat("unknown message type ", value));
        type = value;
        continue;
      }
      absl::StatusOr<int64_t> node = ToNumber(d, value);
      if (!node.ok()) return node.status();
      const auto delivered = [&](const Node* n) { return n->number() == *node; };
      if (std::any_of(nodes->begin(), nodes->end(), delivered))
        return ErrorAt(d, "can't both deliver and drop messages to a node");
      drops.push_back(*node);
    }
  }
  size_t count = 0;
  for (Node* node : *nodes) {
    if (absl::Status status = DeliverTo(d, *node, type, &count); !status.ok()) return status;
  }
  for (const int64_t node : drops) count += TakeMail(node, type, /*local_too=*/false).size();
  return count == 0 ? "no messages\n" : Ok();
}

absl::StatusOr<std::string> TranscriptRunner::ProcessReady(const Directive& d) {
  absl::StatusOr<std::vector<Node*>> nodes = NodesOf(d);
  if (!nodes.ok()) return nodes.status();
  for (Node* node : *nodes) {
    if (absl::Status status = node->ProcessReady(&network_); !status.ok()) return OutputOf(d, status);
  }
  return Ok();
}

absl::StatusOr<std::string> TranscriptRunner::ProcessAppendThread(const Directive& d) {
  absl::StatusOr<std::vector<Node*>> nodes = NodesOf(d);
  if (!nodes.ok()) return nodes.status();
  for (Node* node : *nodes) {
    if (node->HasAppendWork()) node->ProcessAppendThread(&network_);
  }
  return Ok();
}

absl::StatusOr<std::string> TranscriptRunner::ProcessApplyThread(const Directive& d) {
  absl::StatusOr<std::vector<Node*>> nodes = NodesOf(d);
  if (!nodes.ok()) return nodes.status();
  for (Node* node : *nodes) {
    if (node->HasApplyWork()) node->ProcessApplyThread(&network_);
  }
  return Ok();
}

// One round over the nodes, in etcd's order. False: there was nothing to do.
absl::StatusOr<bool> TranscriptRunner::StabilizeOnce(const Directive& d, const std::vector<Node*>& nodes) {
  size_t work = 0;
  for (Node* node : nodes) {
    if (!node->HasReady()) continue;
    ++work;
    if (absl::Status status = node->ProcessReady(&network_); !status.ok()) return ErrorAt(d, status);
  }
  for (Node* node : nodes) {
    if (absl::Status status = DeliverTo(d, *node, "", &work); !status.ok()) return status;
  }
  for (Node* node : nodes) {
    for (; node->HasAppendWork(); ++work) node->ProcessAppendThread(&network_);
  }
  for (Node* node : nodes) {
    for (; node->HasApplyWork(); ++work) node->ProcessApplyThread(&network_);
  }
  return work > 0;
}

absl::StatusOr<std::string> TranscriptRunner::Stabilize(const Directive& d) {
  absl::StatusOr<std::vector<Node*>> nodes = NodesOf(d, {"log-level"});
  if (!nodes.ok()) return nodes.status();
  for (const Argument& argument : d.arguments) {
    for (const std::string& level : argument.values) {
      if (!IsLogLevel(level)) return ErrorAt(d, Cat("unknown log level ", level));
    }
  }
  if (nodes->empty()) {
    for (const auto& node : nodes_) nodes->push_back(node.get());
  }
  static constexpr int kRoundsMax = 1000;  // far beyond what a handful of nodes can have to say
  for (int round = 0; round < kRoundsMax; ++round) {
    absl::StatusOr<bool> worked = StabilizeOnce(d, *nodes);
    if (!worked.ok()) return worked.status();
    if (!*worked) return Ok();
  }
  return ErrorAt(d, "the nodes never come to rest");
}

// ---- State

std::string TranscriptRunner::LogText(const Node& node) const {
  const raft::ReadyLog& log = node.disk();
  if (log.last_index() < log.first_index()) {
    return Cat("log is empty: first index=", log.first_index().value(), ", last index=", log.last_index().value(),
               "\n");
  }
  std::string text;
  for (const raft::Entry& entry : log.entries) CatTo(&text, EntryText(entry), "\n");
  return text;
}

absl::StatusOr<std::string> TranscriptRunner::RaftLog(const Directive& d) {
  absl::StatusOr<Node*> node = NodeOf(d);
  if (!node.ok()) return node.status();
  return LogText(**node);
}

absl::StatusOr<std::string> TranscriptRunner::RaftState(const Directive& d) {
  if (!d.arguments.empty()) return ErrorAt(d, "no arguments were expected");
  std::string text;
  for (const auto& node : nodes_) {
    const raft::Core& core = node->core();
    const bool voter = node->snapshot().membership.IsVoter(core.self());
    CatTo(&text, node->number(), ": ", ToEtcdText(core.role()), voter ? " (Voter)" : " (Non-Voter)",
          " Term:", EtcdTerm(core.term()), " Lead:", NodeNumber(core.leader()), "\n");
  }
  return text.empty() ? Ok() : text;
}

absl::StatusOr<std::string> TranscriptRunner::Status(const Directive& d) {
  absl::StatusOr<Node*> node = NodeOf(d);
  if (!node.ok()) return node.status();
  const raft::Core& core = (*node)->core();
  std::string text;
  for (const raft::Progress& p : core.progress()) {
    CatTo(&text, NodeNumber(p.id), ": ", p.id == core.self() ? "StateReplicate" : ToEtcdText(p.state),
          " match=", p.match.value(), core.membership().IsLearner(p.id) ? " learner" : "", "\n");
  }
  return text.empty() ? Ok() : text;
}

}  // namespace millrace::conformance
