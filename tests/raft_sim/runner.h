// Many seeds on several cores: one process each, which take the next seed from a common counter.
//
//     RunResult result = RunSeeds({.seeds = 10'000, .first_seed = 1, .jobs = 2});
#pragma once

#include <cstdint>
#include <vector>

#include "tests/raft_sim/simulation.h"

namespace millrace::raft::sim {

struct RunOptions {
  std::vector<uint64_t> regressions;  // run first
  uint64_t seeds = 1000;
  int seconds = 0;  // no new seed is begun after them; 0: no limit
  uint64_t first_seed = 1;
  uint64_t events = 10'000;
  FaultSet without;
  int jobs = 2;
};

struct RunResult {
  Coverage coverage;
  uint64_t hash = 0;  // of all seeds' hashes
  std::vector<uint64_t> failed;
};

// Prints each failure with the command that repeats it. One seed in a hundred runs twice and must give the same hash. Ends at the
// first failure of each process.
RunResult RunSeeds(const RunOptions& options);

}  // namespace millrace::raft::sim
