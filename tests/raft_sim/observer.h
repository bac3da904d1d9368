// Counts the rare states of one node by what goes in and comes out: messages, Readies, and what is seen of the core before and
// after. Nothing here changes anything, and the core knows nothing of it.
#pragma once

#include <array>

#include "absl/status/status.h"
#include "raft/core.h"
#include "tests/raft_sim/coverage.h"
#include "tests/raft_sim/event_queue.h"
#include "tests/raft_sim/invariants.h"
#include "tests/raft_sim/network.h"
#include "tests/raft_sim/trace.h"

namespace millrace::raft::sim {

class Disk;
class Node;
struct World;

class Observer {
 public:
  explicit Observer(World& world) : world_(world) {}

  // An event begins; `message` only with kDeliver.
  void Begin(EventKind kind, const Brief* message);
  void OnMessage(const Node& node, const Brief& message);
  void OnReady(const Node& node, const Ready& ready);
  void OnSend(const Node& node, const Message& message);
  void OnNotice(const Notice& notice);
  void OnChange(const Node& node, const Glance& before, const Glance& after);
  void OnUnreachable() { cause_is_silence_ = true; }
  // Of the workload.
  void OnPropose(const absl::Status& status);
  void OnProposeMembership(const absl::Status& status);

 private:
  void Saw(Rare which);
  void OnAppendSent(const Node& node, const Message& message, const AppendEntries& append);
  void OnVoteRequest(const Node& node, const Brief& m);
  void OnVoteRequestHandled(const Glance& before, const Glance& after);
  void OnRoleChange(const Node& node, const Glance& before, const Glance& after);
  void OnMembershipChange(const Node& node, const Glance& before, const Glance& after);
  void OnQuietChange(const Glance& before, const Glance& after);
  void OnLeading(const Node& node, const Glance& before, const Glance& after);

  World& world_;
  EventKind cause_ = EventKind::kTick;
  bool cause_is_silence_ = false;
  Brief message_;
  // Of the event.
  bool granted_ = false;         // a vote, or pre-vote
  bool candidate_fits_ = false;  // its log is not behind
  bool disk_stalled_ = false;
  // Of the node.
  bool told_to_campaign_ = false;  // by TimeoutNow
  ReplicaId voted_for_;            // the last vote that was sent
  Term voted_in_;
  std::array<EntryId, kBrokersMax> probed_{};  // by broker: where it was asked last, in which term
};

}  // namespace millrace::raft::sim
