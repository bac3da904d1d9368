// Goal: groups of drivers on stores that forget what was not synced. The scenarios of all stores, and random lives.
//
//     raft_driver_test                  // MILLRACE_SEED=7 for another random life
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/cluster_scenarios.h"
#include "tests/support/fake_log_store.h"

namespace millrace {
namespace {

constexpr uint64_t kLives = 150;

// Of stores that outlive their broker's restarts.
class MemoryDisks {
 public:
  TestCluster::OpenDisk Opener() {
    return [this](int broker) {
      auto& store = stores_[broker];
      if (store == nullptr) store = std::make_shared<FakeLogStore>();
      if (!store->List()->empty()) store->Crash(FakeLogStore::kKeepUnsynced);  // nothing is open in it
      return TestCluster::Disk{store, [store = store.get()] { store->CompleteSyncs(); }};
    };
  }
  FakeLogStore& store(int broker) { return *stores_.at(broker); }

 private:
  std::map<int, std::shared_ptr<FakeLogStore>> stores_;
};

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

// A cluster whose disks are late, stall, and forget; whose brokers are cut off, die and drop what was applied long ago.
class RandomLife {
 public:
  RandomLife(uint64_t seed, raft::Flush flush) : random_(seed), flush_(flush) {}

  void Run() {
    for (int step = 0; step < 400 && !testing::Test::HasFailure(); ++step) {
      SCOPED_TRACE(absl::StrCat("step ", step));
      Disturb();
      for (int passes = UpTo(4); passes > 0; --passes) cluster_.Pass([this](int) { return OneIn(3); });
      CheckApplied();
    }
    for (int broker = 1; broker <= 3; ++broker) disks_.store(broker).EndStall();
    cluster_.Heal();
    cluster_.Propose(cluster_.AwaitLeader(), "last");
    cluster_.Tick(60);
    CheckApplied();
    cluster_.ExpectEqual({1, 2, 3});
  }

  int restarts = 0;
  int lossy_restarts = 0;
  int installs = 0;

 private:
  int UpTo(int n) { return std::uniform_int_distribution<int>(0, n)(random_); }
  bool OneIn(int n) { return UpTo(n - 1) == 0; }

  void Disturb() {
    const int broker = 1 + UpTo(2);
    switch (UpTo(9)) {
      case 0:
        return OneIn(4) ? Restart(broker) : void();
      case 1:
        return OneIn(3) ? cluster_.CutOff(broker) : cluster_.Heal();
      case 2:
        return OneIn(3) ? disks_.store(broker).Stall() : disks_.store(broker).EndStall();
      case 3:
        return OneIn(4) ? DropApplied(broker) : void();
      case 4:
        return disks_.store(broker).DropCache();
      case 5:
      case 6:
        return Propose(broker);
      default:
        for (int other = 1; other <= 3; ++other) cluster_.replica(other).core().Tick();
    }
  }

  void Propose(int broker) {
    if (cluster_.replica(broker).core().role() != raft::Role::kLeader) return;
    cluster_.Propose(cluster_.replica(broker), std::string(UpTo(1500), 'x'), 1 + UpTo(4));
  }

  // With flush=async what is written has to survive, so only the process dies.
  void Restart(int broker) {
    FakeLogStore& store = disks_.store(broker);
    ++restarts;
    installs += cluster_.replica(broker).installs();
    cluster_.Restart(broker, [&] {
      const auto unsynced = static_cast<int>(store.unsynced_writes());
      const int kept = flush_ == raft::Flush::kCommit ? UpTo(unsynced) : unsynced;
      lossy_restarts += kept < unsynced;
      store.Crash(static_cast<size_t>(kept));
    });
  }

  void DropApplied(int broker) {
    const auto header =
        cluster_.store(broker).HeaderAt(TestCluster::kGroup, cluster_.replica(broker).driver().applied_index());
    if (header.ok()) cluster_.replica(broker).driver().SetLogStart(header->base_offset);
  }

  // Everybody applies the same, and nobody has stopped.
  void CheckApplied() {
    for (int broker = 1; broker <= 3; ++broker) {
      ASSERT_FALSE(cluster_.replica(broker).driver().fatal()) << cluster_.replica(broker).driver().fatal()->text;
      for (const raft::EntryId& id : cluster_.replica(broker).applied()) {
        const auto [first, is_new] = applied_.emplace(id.index, id.term);
        ASSERT_EQ(first->second, id.term) << "entry " << id.index << " at broker " << broker;
      }
    }
  }

  std::mt19937_64 random_;
  const raft::Flush flush_;
  MemoryDisks disks_;
  TestCluster cluster_{3, {.flush = flush_}, disks_.Opener()};
  std::map<raft::LogIndex, raft::Term> applied_;
};

TEST(DriverCluster, RandomLivesRestartAsWhatWasMadeDurable) {
  const char* text = std::getenv("MILLRACE_SEED");
  const uint64_t first = text != nullptr ? std::strtoull(text, nullptr, 10) : 1;
  int restarts = 0;
  int lossy = 0;
  int installs = 0;
  for (uint64_t seed = first; seed < first + (text != nullptr ? 1 : kLives); ++seed) {
    SCOPED_TRACE(absl::StrCat("MILLRACE_SEED=", seed));
    RandomLife life(seed, seed % 2 == 0 ? raft::Flush::kCommit : raft::Flush::kAsync);
    life.Run();
    restarts += life.restarts;
    lossy += life.lossy_restarts;
    installs += life.installs;
    if (HasFailure()) return;
  }
  std::cout << restarts << " restarts, " << lossy << " with losses, " << installs << " snapshots\n";
  if (text != nullptr) return;
  EXPECT_GT(lossy, 0);
  EXPECT_GT(installs, 0);
}

}  // namespace
}  // namespace millrace
