// Goal: groups of drivers on stores that forget what was not synced. The scenarios of all stores, and random lives.
//
//     raft_driver_test                  // MILLRACE_SEED=7 for that random life, MILLRACE_SEEDS=10000 for so many
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "tests/raft/memory_disks.h"
#include "tests/raft/random_life.h"
#include "tests/support/cluster_scenarios.h"

namespace millrace {
namespace {

constexpr uint64_t kLives = 400;

TEST(DriverCluster, ElectsReplicatesAndRestarts) {
  MemoryDisks disks;
  ElectsReplicatesAndRestarts(disks.Opener());
}

TEST(DriverCluster, TruncatesAConflictingSuffix) {
  MemoryDisks disks;
  TruncatesAConflictingSuffix(disks.Opener());
}

TEST(DriverCluster, InstallsASnapshotBehindTheLogStart) {
  MemoryDisks disks;
  InstallsASnapshotBehindTheLogStart(disks.Opener());
}

TEST(DriverCluster, AddsAMemberAndRemovesAnother) {
  MemoryDisks disks;
  AddsAMemberAndRemovesAnother(disks.Opener());
}

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

TEST(DriverCluster, RandomLives) {
  const uint64_t first = FromEnvironment("MILLRACE_SEED", 1);
  const uint64_t lives = FromEnvironment("MILLRACE_SEEDS", std::getenv("MILLRACE_SEED") != nullptr ? 1 : kLives);
  RandomLife::Counts total;
  for (uint64_t seed = first; seed < first + lives; ++seed) {
    std::cout << "MILLRACE_SEED=" << seed << std::endl;  // now: a failed CHECK ends the process
    RandomLife life({.seed = seed, .machines_go_down = seed % 2 == 1});
    life.Run();
    if (HasFailure()) return;
    for (const auto& [what, count] : life.counts()) total[what] += count;
  }
  for (const auto& [what, count] : total) std::cout << count << " " << what << "\n";
  if (lives < kLives) return;
  for (const char* what :
       {"restarts", "lossy restarts", "abstentions", "abstentions ended", "installs", "transfers", "joint memberships",
        "promotions", "returns", "failed reads", "answers", "doubled", "delayed", "unsynced acks", "synced commits"}) {
    EXPECT_GT(total[what], 0) << what;
  }
}

}  // namespace
}  // namespace millrace
