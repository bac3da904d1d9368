// Makes a failing plan smaller: fewer events, then one kind of fault less at a time, as long as it still fails.
//
//     Plan smaller = Shorten(plan);
//
// Each candidate runs in a process of its own, since a failure may be a CHECK in the core.
#pragma once

#include "tests/raft_sim/simulation.h"

namespace millrace::raft::sim {

bool FailsAlone(const Plan& plan);
Plan Shorten(Plan plan);

}  // namespace millrace::raft::sim
