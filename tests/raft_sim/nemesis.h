// Injects the faults that happen at a time and last for a while: every now and then one of those that this seed has drawn.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "tests/raft_sim/faults.h"

namespace millrace::raft::sim {

class Node;
struct World;

class Nemesis {
 public:
  explicit Nemesis(World& world);

  // One fault, and the next one is scheduled.
  void Act();
  void End(uint32_t slot);

 private:
  struct Lasting {
    std::vector<std::pair<int, int>> cuts;
    int paused = -1;  // broker
    int slowed = -1;  // broker
  };

  void Inject(Fault fault);
  void InjectNetwork(Fault fault, int64_t duration);
  void InjectNode(Fault fault, Node& node, int64_t duration);
  void Last(int64_t duration, Lasting lasting);
  Node& SomeNode();
  Node& SomeLeader();

  World& world_;
  std::vector<Fault> faults_;  // of this seed, those that happen at a time
  std::vector<Lasting> lasting_;
  bool forgot_ = false;
};

}  // namespace millrace::raft::sim
