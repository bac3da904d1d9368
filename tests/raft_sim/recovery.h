// The end of a run: faults stop, the network heals, every process starts again. Then, within a bounded time, the group must have a
// leader, commit a fresh proposal, have answered all reads, and bring all its members to the same log: otherwise it was not the faults that held it up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tests/raft_sim/faults.h"

namespace millrace::raft::sim {

class Node;
class Workload;
struct World;

class Recovery {
 public:
  Recovery(World& world, Workload& workload) : world_(world), workload_(workload) {}

  void Begin();
  // Asked before each event. Ends the run with a violation when the time is over.
  bool Done();

 private:
  Node* Leader();
  void Propose(Node& leader);
  // Empty when all is well; otherwise what is missing.
  std::string Missing();

  World& world_;
  Workload& workload_;
  int64_t deadline_ = 0;
  int64_t next_look_ = 0;
  int64_t propose_again_ = 0;
  std::optional<uint64_t> proposal_;
  bool read_asked_ = false;
};

}  // namespace millrace::raft::sim
