#include "tests/raft_sim/workload.h"

#include <array>
#include <cstring>
#include <string_view>
#include <vector>

#include "tests/raft_sim/node.h"
#include "tests/raft_sim/survival.h"
#include "tests/raft_sim/world.h"

namespace millrace::raft::sim {
namespace {

ReplicaId PickFrom(Dice& dice, const ReplicaSet& set) { return set.empty() ? kNoReplica : dice.Pick(set); }

// Whether the change leads only to memberships that the group can live with.
bool IsSafe(const World& world, const Membership& now, const std::vector<MembershipChange>& changes) {
  absl::StatusOr<Membership> joint = now.joint() ? LeaveJoint(now) : EnterJoint(now, changes, true);
  if (!joint.ok() || joint->voters.empty() || joint->voters.size() > 5) return false;
  return Survives(world, *joint);
}

}  // namespace

void Workload::Act() {
  Dice& dice = world_.dice;
  int64_t later = dice.LongTail(world_.swarm.client_interval);
  world_.queue.Schedule(world_.now + later, {.kind = EventKind::kClient});
  const bool to_leader = !dice.OneIn(8);
  Node* node = SomeNode(to_leader);
  if (node == nullptr) return;
  const int act = dice.UpTo(100);
  if (act < 12 && world_.Has(Fault::kMembership)) {
    ChangeMembership(*node);
  } else if (act < 15 && world_.Has(Fault::kTransfer)) {
    ReplicaId to = PickFrom(dice, node->core().membership().voters);
    if (to) node->TransferLeadership(to).IgnoreError();
  } else if (act < 16 && world_.Has(Fault::kCampaign)) {
    node->Campaign();
  } else if (act < 35) {
    Read(*node);
  } else {
    const int count = dice.OneIn(10) ? 5 : 1;
    for (int i = 0; i < count && node->up(); ++i) Propose(*node);
  }
}

// Some node whose process runs; one that thinks that it leads, if that is wanted and there is one.
Node* Workload::SomeNode(bool leader) {
  const int first = world_.dice.UpTo(world_.swarm.brokers);
  Node* any = nullptr;
  for (int i = 0; i < world_.swarm.brokers; ++i) {
    Node* node = world_.nodes[static_cast<size_t>((first + i) % world_.swarm.brokers)].get();
    if (!node->up() || node->paused()) continue;
    if (any == nullptr) any = node;
    if (!leader) break;
    if (node->leads()) return node;
  }
  return any;
}

std::optional<uint64_t> Workload::Propose(Node& node) {
  const uint64_t number = world_.invariants.NewProposal();
  std::array<char, 15> bytes{};
  std::memcpy(bytes.data(), &number, sizeof number);
  const size_t size = 8 + static_cast<size_t>(world_.dice.UpTo(8));
  const int32_t records = 1 + world_.dice.UpTo(3);
  Entry entry{.header = {.type = EntryType::kRecords,
                         .record_count = records,
                         .append_time = world_.now + node.broker() * 5000,
                         .max_timestamp = world_.now,
                         .payload_crc = static_cast<uint32_t>(number)},
              .payload = absl::Cord(absl::string_view(bytes.data(), size))};
  if (node.Propose(std::move(entry)).ok()) return number;
  world_.invariants.OnRefused(number);
  return std::nullopt;
}

void Workload::Read(Node& node) {
  const uint64_t id = next_read_++;
  world_.invariants.OnReadIssued(id);
  const auto term = node.core().terms().At(node.core().commit_index());
  const bool early = term != node.core().term();
  if (node.ReadIndex(id).ok() && early) world_.coverage.Saw(Rare::kReadBeforeCommit);
}

// ---- Membership

void Workload::ChangeMembership(Node& node) {
  Dice& dice = world_.dice;
  const Membership now = node.core().membership();
  if (now.voters.empty()) return;
  std::vector<MembershipChange> changes;
  if (!now.joint() || dice.OneIn(4)) changes = DrawChanges(now);
  if (!IsSafe(world_, now, changes)) return;
  Core::MembershipOptions options;
  if (dice.OneIn(3)) options.joint = Core::MembershipOptions::Joint::kAlways;
  options.auto_leave = !dice.OneIn(4);
  options.catch_up_first = !dice.OneIn(4);
  node.ProposeMembership(changes, options).IgnoreError();
}

std::vector<MembershipChange> Workload::DrawChanges(const Membership& now) {
  Dice& dice = world_.dice;
  if (std::vector<MembershipChange> replace = Replace(now); !replace.empty() && dice.OneIn(2)) return replace;
  const ReplicaId member = PickFrom(dice, now.Members());
  const ReplicaId learner = PickFrom(dice, now.learners);
  const ReplicaId voter = PickFrom(dice, now.voters);
  const ReplicaId some = dice.Pick(world_.nodes)->id();
  const bool stranger = !Contains(now.Members(), some);
  const bool promote = !dice.OneIn(4);
  switch (dice.UpTo(8)) {
    case 0:
      return {{MembershipChange::kRemove, member}};
    case 1:
      return {{MembershipChange::kAddLearner, voter}};
    case 2:
      if (learner) return {{MembershipChange::kAddVoter, learner}};
      return {{MembershipChange::kAddLearner, voter}};
    case 3:
      if (stranger) return {{MembershipChange::kAddVoter, some}, {MembershipChange::kRemove, voter}};
      return {{MembershipChange::kRemove, voter}};
    case 4:
      return {{MembershipChange::kAddVoter, some}};
    default:
      if (stranger) return {{MembershipChange::kAddLearner, some, promote}};
      return {{MembershipChange::kAddVoter, some}};
  }
}

// Members whose disk is gone go; what their brokers came back as joins.
std::vector<MembershipChange> Workload::Replace(const Membership& now) {
  std::vector<MembershipChange> changes;
  for (ReplicaId id : now.Members()) {
    if (world_.Alive(id) != nullptr) continue;
    changes.push_back({MembershipChange::kRemove, id});
    const ReplicaId next = world_.node(id).id();
    if (!Contains(now.Members(), next)) changes.push_back({MembershipChange::kAddLearner, next, true});
  }
  return changes;
}

}  // namespace millrace::raft::sim
