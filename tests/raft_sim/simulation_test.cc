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
  for (const Pinned& pinned : {Pinned{7, 0xb8ad4d4dc41a44ed}, Pinned{42, 0xfc4afd6c82ffb5d0},
                               Pinned{346, 0xb79d252dd4f5f3b}, Pinned{1300082074, 0xd90095daeb511fa6}}) {
    Coverage coverage;
    const Result result = Simulate({.seed = pinned.seed}, coverage);
    EXPECT_EQ(result.violation, "");
    EXPECT_EQ(result.hash, pinned.hash) << "seed " << pinned.seed;
  }
}

}  // namespace
}  // namespace millrace::raft::sim
