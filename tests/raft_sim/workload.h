// Who uses the group: clients that propose and read, and an operator who changes the membership, hands leadership over, and starts
// elections. Each act goes to one broker, which may not lead.
#pragma once

#include <cstdint>
#include <optional>

#include "raft/membership.h"

namespace millrace::raft::sim {

class Node;
struct World;

class Workload {
 public:
  explicit Workload(World& world) : world_(world) {}

  // One act, and the next one is scheduled.
  void Act();
  // The number of the proposal, if it was appended.
  std::optional<uint64_t> Propose(Node& node);
  void Read(Node& node);

 private:
  Node* SomeNode(bool leader);
  void ChangeMembership(Node& node);
  std::vector<MembershipChange> DrawChanges(const Membership& now);
  std::vector<MembershipChange> Replace(const Membership& now);

  World& world_;
  uint64_t next_read_ = 0;
};

}  // namespace millrace::raft::sim
