#include "tests/raft_sim/simulation.h"

#include <gtest/gtest.h>

namespace millrace::raft::sim {
namespace {

// Debug or release, sanitized or not: a seed stands for one run. What changes the core's behaviour or a draw changes these.
TEST(Simulation, ASeedHasTheSameEventsInEveryBuild) {
  struct Pinned {
    uint64_t seed;
    uint64_t hash;
  };
  for (const Pinned& pinned : {Pinned{7, 0xce960a626a8eee40}, Pinned{42, 0xee343d83561bd0bc},
                               Pinned{346, 0x4b5cc01c5f17f4d2}, Pinned{1300082074, 0xa0e42d1d70d4e1be}}) {
    Coverage coverage;
    const Result result = Simulate({.seed = pinned.seed}, coverage);
    EXPECT_EQ(result.violation, "");
    EXPECT_EQ(result.hash, pinned.hash) << "seed " << pinned.seed;
  }
}

}  // namespace
}  // namespace millrace::raft::sim
