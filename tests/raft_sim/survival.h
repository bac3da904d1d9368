// Which losses a group can be expected to come back from. The faults stay within it, so that a group that does not come back in
// the quiet phase at a run's end has a defect.
#pragma once

#include "raft/membership.h"

namespace millrace::raft::sim {

class Node;
struct World;

// Whether the voters of `membership` can still elect and commit once everybody that exists is up: of each half, a majority exists
// and does not abstain; or all exist, abstaining or not (ARCHITECTURE D9).
bool Survives(const World& world, const Membership& membership);

// Whether each membership that any log holds, may hold again after a crash, or is on its way to would survive if this node's disk
// were lost.
bool MayWipe(const World& world, const Node& victim);
// The same if it came back abstaining.
bool MayAbstain(const World& world, const Node& victim);
// Whether its disk may forget the end of its log, unnoticed: each other voter of any membership holds
// all that it has, and that is committed. Nobody can then win an election with what is left of it.
bool MayForget(const World& world, const Node& victim);

}  // namespace millrace::raft::sim
