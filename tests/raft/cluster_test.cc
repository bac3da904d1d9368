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

// Of stores that outlive their broker's restarts.
class MemoryDisks {
 public:
  TestCluster::OpenDisk Opener() {
    return [this](int broker) {
      auto& store = stores_[broker];
      if (store == nullptr) store = std::make_shared<FakeLogStore>();
      store->Crash(FakeLogStore::kKeepUnsynced);  // nothing is open in it
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

}  // namespace
}  // namespace millrace
