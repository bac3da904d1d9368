#include "tests/raft_sim/survival.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <string>
#include <variant>
#include <vector>

#include "tests/raft_sim/node.h"
#include "tests/raft_sim/world.h"

namespace millrace::raft::sim {
namespace {

// What is supposed about one replica.
struct Supposed {
  ReplicaId id;
  bool dead = false;
  bool abstains = false;
};

// One that has committed what all voters lost will stop for good as soon as a leader shows it another entry there. That it is
// committed may still be on its way to it.
bool IsOrMayBecomeVictim(const World& world, ReplicaId id) {
  const auto& messages = world.network.messages();
  return world.invariants.IsVictim(id) || std::any_of(messages.begin(), messages.end(), [&](const Message& m) {
           return m.to == id && world.invariants.IsOfBeforeLoss(m);
         });
}

bool Survives(const World& world, const Membership& m, const Supposed& supposed) {
  const auto is_dead = [&](ReplicaId id) {
    return world.Alive(id) == nullptr || IsOrMayBecomeVictim(world, id) || (id == supposed.id && supposed.dead);
  };
  const auto does_not_count = [&](ReplicaId id) {
    if (is_dead(id) || (id == supposed.id && supposed.abstains)) return true;
    const Node* node = world.Alive(id);
    return node->abstaining() || node->forgetful();
  };
  // Learners become voters by themselves and one by one, dead ones too if their last answers are still on the way: the worst is
  // that they come first.
  ReplicaSet voters = m.voters;
  std::copy_if(m.promote.begin(), m.promote.end(), std::back_inserter(voters), does_not_count);
  const auto most_count = [&](const ReplicaSet& half) {
    return 2 * std::count_if(half.begin(), half.end(), does_not_count) < static_cast<ptrdiff_t>(half.size());
  };
  if (most_count(voters) && (m.outgoing.empty() || most_count(m.outgoing))) return true;
  return std::none_of(voters.begin(), voters.end(), is_dead) &&
         std::none_of(m.outgoing.begin(), m.outgoing.end(), is_dead);
}

using Holds = std::function<bool(const Membership&)>;

bool HoldsOfAll(const std::vector<MembershipAt>& memberships, const Holds& holds) {
  return std::all_of(memberships.begin(), memberships.end(),
                     [&](const MembershipAt& m) { return holds(m.membership); });
}

// Of those that its next start may find: a crash undoes what is not on the disk, also the cut that took a membership away.
bool HoldsOfAllIn(const Node& node, const Holds& holds) {
  const Disk& disk = node.disk();
  return (!node.up() || HoldsOfAll(node.core().memberships(), holds)) &&
         HoldsOfAll(disk.acked().memberships(), holds) && HoldsOfAll(disk.synced().memberships(), holds) &&
         std::all_of(disk.queue().begin(), disk.queue().end(),
                     [&](const Batch& batch) { return !batch.memberships || HoldsOfAll(*batch.memberships, holds); });
}

bool HoldsOfAllIn(const Message& message, const Holds& holds) {
  const auto* append = std::get_if<AppendEntries>(&message.body);
  if (append == nullptr) return true;
  return std::all_of(append->entries.begin(), append->entries.end(), [&](const Entry& entry) {
    if (entry.header.type != EntryType::kMembership) return true;
    const absl::StatusOr<Membership> membership = DecodeMembership(std::string(entry.payload));
    return !membership.ok() || holds(*membership);
  });
}

// Of every membership that may come into force: those of all logs, and those that are under way to one.
bool HoldsOfAllIn(const World& world, const Holds& holds) {
  const auto in_node = [&](const auto& node) { return HoldsOfAllIn(*node, holds); };
  const auto& messages = world.network.messages();
  return std::all_of(world.nodes.begin(), world.nodes.end(), in_node) &&
         std::all_of(messages.begin(), messages.end(), [&](const Message& m) { return HoldsOfAllIn(m, holds); });
}

bool EachSurvives(const World& world, const Supposed& supposed) {
  return HoldsOfAllIn(world, [&](const Membership& m) { return m.voters.empty() || Survives(world, m, supposed); });
}

}  // namespace

bool Survives(const World& world, const Membership& membership) { return Survives(world, membership, Supposed()); }

bool MayWipe(const World& world, const Node& victim) { return EachSurvives(world, {.id = victim.id(), .dead = true}); }

bool MayAbstain(const World& world, const Node& victim) {
  return EachSurvives(world, {.id = victim.id(), .abstains = true});
}

bool MayForget(const World& world, const Node& victim) {
  if (world.swarm.Has(Fault::kAsyncFlush) || !MayAbstain(world, victim)) return false;
  const Chain& chain = victim.disk().acked().chain();
  if (chain.last() > world.invariants.committed_last()) return false;
  const EntryId last{chain.back().term, chain.last()};
  return HoldsOfAllIn(world, [&](const Membership& m) {
    const ReplicaSet alone = {victim.id()};
    if (m.voters == alone || m.outgoing == alone) return false;
    const ReplicaSet members = m.Members();
    return std::all_of(members.begin(), members.end(), [&](ReplicaId id) {
      const Node* other = world.Alive(id);
      return other != nullptr && !other->abstaining() && other->disk().acked().chain().Holds(last);
    });
  });
}

}  // namespace millrace::raft::sim
