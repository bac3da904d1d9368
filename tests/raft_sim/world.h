// Everything that one run consists of. The parts know each other through it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/raft_sim/coverage.h"
#include "tests/raft_sim/dice.h"
#include "tests/raft_sim/event_queue.h"
#include "tests/raft_sim/faults.h"
#include "tests/raft_sim/invariants.h"
#include "tests/raft_sim/network.h"
#include "tests/raft_sim/trace.h"

namespace millrace::raft::sim {

class Node;

struct World {
  World(uint64_t seed, const FaultSet& without, Coverage& coverage);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  const uint64_t seed;
  const Swarm swarm;
  Coverage& coverage;
  Dice dice;
  EventQueue queue;
  Network network;
  Trace trace;
  Invariants invariants;
  std::vector<std::unique_ptr<Node>> nodes;  // by broker

  int64_t now = 0;
  uint64_t events = 0;
  bool calm = false;      // the faults are over
  std::string violation;  // the first one; the run ends

  Node& node(ReplicaId id) { return *nodes[static_cast<size_t>(id.broker.value())]; }
  const Node& node(ReplicaId id) const { return *nodes[static_cast<size_t>(id.broker.value())]; }
  // The node that is this very incarnation, or nullptr: its disk is gone.
  Node* Alive(ReplicaId id);
  const Node* Alive(ReplicaId id) const;
  bool Has(Fault fault) const { return !calm && swarm.Has(fault); }
  void Fail(std::string what) {
    if (violation.empty()) violation = std::move(what);
  }
};

}  // namespace millrace::raft::sim
