#include "tests/raft_sim/survival.h"

#include <algorithm>

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

bool Survives(const World& world, const Membership& m, const Supposed& supposed) {
  bool all_exist = true;
  auto holds = [&](const ReplicaSet& voters) {
    size_t bad = 0;
    for (ReplicaId id : voters) {
      const Node* node = world.Alive(id);
      // A victim of a loss will stop for good as soon as a leader shows it another entry where it has a committed one.
      const bool lost = node == nullptr || world.invariants.IsVictim(id);
      const bool dead = lost || (id == supposed.id && supposed.dead);
      if (dead) all_exist = false;
      if (dead || node->abstaining() || (id == supposed.id && supposed.abstains)) ++bad;
    }
    return bad <= (voters.size() - 1) / 2;
  };
  // Learners that become voters by themselves count as if they had.
  ReplicaSet voters = m.voters;
  voters.insert(voters.end(), m.promote.begin(), m.promote.end());
  const bool majorities = holds(voters) & holds(m.voters) & (m.outgoing.empty() || holds(m.outgoing));
  return majorities || all_exist;
}

bool EachSurvives(const World& world, const Supposed& supposed) {
  return std::all_of(world.nodes.begin(), world.nodes.end(), [&](const auto& node) {
    const auto& memberships = node->up() ? node->core().memberships() : node->disk().acked().memberships();
    return std::all_of(memberships.begin(), memberships.end(), [&](const MembershipAt& m) {
      return m.membership.voters.empty() || Survives(world, m.membership, supposed);
    });
  });
}

}  // namespace

bool Survives(const World& world, const Membership& membership) { return Survives(world, membership, Supposed()); }

bool MayWipe(const World& world, const Node& victim) { return EachSurvives(world, {.id = victim.id(), .dead = true}); }

bool MayAbstain(const World& world, const Node& victim) {
  return EachSurvives(world, {.id = victim.id(), .abstains = true});
}

}  // namespace millrace::raft::sim
