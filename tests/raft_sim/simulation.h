// One run from one seed: a group under faults for a number of events, then quiet, in which it must come back.
//
//     Coverage coverage;
//     Result result = Simulate({.seed = 7, .events = 10'000}, coverage);
//     if (!result.violation.empty()) std::cerr << result.violation << result.report;
#pragma once

#include <cstdint>
#include <string>

#include "tests/raft_sim/coverage.h"
#include "tests/raft_sim/faults.h"

namespace millrace::raft::sim {

struct Plan {
  uint64_t seed = 1;
  uint64_t events = 10'000;  // until the faults end
  FaultSet without;          // kinds that are left out
  bool trace = false;        // print each event as it happens
};

struct Result {
  uint64_t hash = 0;  // of all events; equal plans give equal ones in every build
  uint64_t events = 0;
  std::string violation;  // empty: none
  std::string report;     // with a violation: the last events and all nodes
};

Result Simulate(const Plan& plan, Coverage& coverage);

// The command that repeats a run.
std::string Command(const Plan& plan);

}  // namespace millrace::raft::sim
