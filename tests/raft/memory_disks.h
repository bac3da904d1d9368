// Stores in memory that outlive their broker's restarts.
//
//     MemoryDisks disks;
//     TestCluster cluster(3, {}, disks.Opener());
//     disks.store(2).Stall();
#pragma once

#include <map>
#include <memory>

#include "tests/support/fake_log_store.h"
#include "tests/support/test_cluster.h"

namespace millrace {

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
  FakeLogStore& store(int broker) const { return *stores_.at(broker); }

 private:
  std::map<int, std::shared_ptr<FakeLogStore>> stores_;
};

}  // namespace millrace
