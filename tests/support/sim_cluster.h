// Brokers of one founders' list in one thread: "broker-1:9470" and so on, each with a disk of its own.
//
//     SimCluster cluster(executor, network, {.brokers = 3, .seed = 1});
//     executor.Advance(…);                                     // until they are ready
//     cluster.broker(1).Crash(FakeLogStore::kKeepUnsynced); … cluster.broker(1).Start();
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/sim_broker.h"

namespace millrace {

class SimCluster {
 public:
  struct Options {
    int brokers = 3;
    uint64_t seed = 1;
    std::function<std::chrono::nanoseconds(int broker)> sync_time;  // unset: 1 ms
  };

  SimCluster(SimExecutor& executor, SimNetwork& network, Options options);

  // Numbered from 1, as their ids are.
  int size() const { return static_cast<int>(nodes_.size()); }
  SimBroker& broker(int id) { return *nodes_[static_cast<size_t>(id) - 1].broker; }
  FakeLogStore& disk(int id) { return *nodes_[static_cast<size_t>(id) - 1].disk; }
  std::vector<std::string> addresses();
  bool ready();
  // The newest that any of them has; null before the first.
  std::shared_ptr<const server::MetadataImage> image();
  // Who leads as far as its own core knows, in the newest term; 0: nobody.
  int LeaderOf(raft::GroupId group);
  // Its replica, while the broker runs and has one.
  const raft::Core* CoreOf(int id, raft::GroupId group);

 private:
  struct Node {
    std::unique_ptr<FakeLogStore> disk;
    std::unique_ptr<SimBroker> broker;
  };

  std::vector<Node> nodes_;
};

}  // namespace millrace
