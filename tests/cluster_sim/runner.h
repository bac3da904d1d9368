// Many seeds on several cores: one process each, which take the next seed from a common counter.
//
//     RunResult result = RunSeeds({.seeds = 2'000, .first_seed = 1, .jobs = 2});
#pragma once

#include <cstdint>
#include <vector>

#include "tests/cluster_sim/coverage.h"
#include "tests/cluster_sim/simulation.h"

namespace millrace::sim {

struct RunOptions {
  std::vector<uint64_t> regressions;  // run first
  uint64_t seeds = 2000;
  int seconds = 0;  // no new seed is begun after them; 0: no limit
  uint64_t first_seed = 1;
  FaultSet without;
  bool keep_going = false;  // after a failure
  int jobs = 2;
};

struct RunResult {
  Coverage coverage;
  uint64_t hash = 0;  // of all seeds' hashes
  std::vector<uint64_t> failed;
};

// Prints each failure with the command that repeats it. One seed in a hundred runs twice and must give the same hash.
RunResult RunSeeds(const RunOptions& options);

}  // namespace millrace::sim
