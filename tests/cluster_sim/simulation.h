// One run: a cluster and its clients from a seed, a time with faults, and then everything has to come to an end.
//
//     Result result = Simulate({.seed = 42}, coverage);
#pragma once

#include <cstdint>
#include <string>

#include "tests/cluster_sim/coverage.h"
#include "tests/cluster_sim/swarm.h"

namespace millrace::sim {

struct Plan {
  uint64_t seed = 1;
  int steps = 0;     // of the time with faults; 0: as many as the seed draws
  FaultSet without;  // leaves these out
  bool trace = false;
};

struct Result {
  std::string violation;  // empty: all promises were kept
  std::string report;     // what there was at the end, of a run that failed
  uint64_t hash = 0;      // of all messages and when they came
};

Result Simulate(const Plan& plan, Coverage& coverage);

// The command line that runs it.
std::string Command(const Plan& plan);

}  // namespace millrace::sim
