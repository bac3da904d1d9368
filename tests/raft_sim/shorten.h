// Makes a failing plan smaller: fewer events, then one kind of fault less at a time, as long as it breaks the same.
//
//     std::optional<Plan> smaller = Shorten(plan);
//
// Each candidate runs in a process of its own, since a failure may be a CHECK in the core.
#pragma once

#include <optional>
#include <string>

#include "tests/raft_sim/simulation.h"

namespace millrace::raft::sim {

// What the plan's run breaks, by name; "death" when its process dies; empty: nothing.
std::string FailureOf(const Plan& plan);
// Nothing: it does not fail.
std::optional<Plan> Shorten(Plan plan);

}  // namespace millrace::raft::sim
