// Carries out the commands of etcd's interaction transcripts on nodes that are our cores. What each command means is told in
// etcd's rafttest/interaction_env_handler.go; how ours differ, in differences.md.
//
//     TranscriptRunner runner(directives);
//     for (const Directive& d : directives) output = runner.Run(d);
//
// A command or argument that is not known, or that our core cannot do, is an error and never passed over.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/conformance/datadriven.h"
#include "tests/conformance/mail.h"
#include "tests/conformance/node.h"

namespace millrace::conformance {

class TranscriptRunner {
 public:
  // The whole transcript, since what it will set of election timeouts is needed before (scripted_timeouts.h).
  explicit TranscriptRunner(const std::vector<Directive>& directives);

  // What the command prints: of raft-log, raft-state and status as etcd does (of status the state and match of each member), of
  // others "ok" or etcd's words for an error. What it traces of messages and Readys is not made.
  // kInvalidArgument, with file and line: the command cannot be carried out.
  absl::StatusOr<std::string> Run(const Directive& d);

  // Node n at n - 1.
  const std::vector<std::unique_ptr<Node>>& nodes() const { return nodes_; }
  // The one that the command names.
  absl::StatusOr<Node*> NodeOf(const Directive& d);
  // As etcd prints it: 1/12 EntryNormal "data"; one that stands for a proposed change with the change.
  std::string EntryText(const raft::Entry& entry) const;

 private:
  using Handler = absl::StatusOr<std::string> (TranscriptRunner::*)(const Directive&);
  static const std::map<std::string_view, Handler>& Handlers();

  // Nodes and their setting.
  absl::StatusOr<std::string> AddNodes(const Directive& d);
  absl::StatusOr<std::string> SetTimeout(const Directive& d);
  absl::StatusOr<std::string> SetLogLevel(const Directive& d);
  absl::StatusOr<std::string> Breakpoint(const Directive& d);
  // Events.
  absl::StatusOr<std::string> Campaign(const Directive& d);
  absl::StatusOr<std::string> Compact(const Directive& d);
  absl::StatusOr<std::string> ForgetLeader(const Directive& d);
  absl::StatusOr<std::string> Propose(const Directive& d);
  absl::StatusOr<std::string> ProposeChange(const Directive& d);
  absl::StatusOr<std::string> ReportUnreachable(const Directive& d);
  absl::StatusOr<std::string> SendSnapshot(const Directive& d);
  absl::StatusOr<std::string> TickElection(const Directive& d);
  absl::StatusOr<std::string> TickHeartbeat(const Directive& d);
  absl::StatusOr<std::string> TransferLeadership(const Directive& d);
  // Work.
  absl::StatusOr<std::string> DeliverMessages(const Directive& d);
  absl::StatusOr<std::string> ProcessReady(const Directive& d);
  absl::StatusOr<std::string> ProcessAppendThread(const Directive& d);
  absl::StatusOr<std::string> ProcessApplyThread(const Directive& d);
  absl::StatusOr<std::string> Stabilize(const Directive& d);
  // State.
  absl::StatusOr<std::string> RaftLog(const Directive& d);
  absl::StatusOr<std::string> RaftState(const Directive& d);
  absl::StatusOr<std::string> Status(const Directive& d);

  absl::StatusOr<Node*> NodeAt(const Directive& d, std::string_view number);
  // The words without a value, as nodes; other arguments only if their key is in `keys`.
  absl::StatusOr<std::vector<Node*>> NodesOf(const Directive& d, const std::vector<std::string_view>& keys = {});

  // Mail to `node` of that type ("" for all), out of the network.
  std::vector<Mail> TakeMail(int64_t node, std::string_view type, bool local_too);
  absl::Status DeliverTo(const Directive& d, Node& node, std::string_view type, size_t* count);
  absl::StatusOr<bool> StabilizeOnce(const Directive& d, const std::vector<Node*>& nodes);
  std::string LogText(const Node& node) const;

  std::map<int64_t, std::deque<int>> timeouts_;  // of each node, what the transcript will set
  EntryLabels labels_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<Mail> network_;
};

}  // namespace millrace::conformance
