#include "tests/support/sim_cluster.h"

#include <algorithm>
#include <utility>

namespace millrace {

SimCluster::SimCluster(SimExecutor& executor, SimNetwork& network, Options options) {
  server::Broker::Options common;
  common.founders.clear();
  for (int id = 1; id <= options.brokers; ++id) {
    common.founders.push_back({raft::BrokerId(id), 100 + static_cast<uint64_t>(id)});
    common.listed.push_back({raft::BrokerId(id), "broker-" + std::to_string(id) + ":9470"});
  }
  for (int id = 1; id <= options.brokers; ++id) {
    server::Broker::Options own = common;
    own.self = common.founders[static_cast<size_t>(id) - 1];
    own.address = common.listed[static_cast<size_t>(id) - 1].address;
    own.start_time = executor.clock().Wall();
    Node& node = nodes_.emplace_back();
    node.disk = std::make_unique<FakeLogStore>([&executor, sync_time = options.sync_time, id](FakeLogStore::Task task) {
      executor.After(sync_time == nullptr ? std::chrono::milliseconds(1) : sync_time(id), std::move(task));
    });
    node.broker = std::make_unique<SimBroker>(executor, network, *node.disk, std::move(own),
                                              options.seed * 1000 + static_cast<uint64_t>(id));
  }
}

std::vector<std::string> SimCluster::addresses() {
  std::vector<std::string> addresses;
  for (int id = 1; id <= size(); ++id) addresses.push_back(broker(id).address());
  return addresses;
}

bool SimCluster::ready() {
  return std::all_of(nodes_.begin(), nodes_.end(), [](const Node& node) {
    return node.broker->running() && node.broker->loaded().has_value() && node.broker->loaded()->ok();
  });
}

std::shared_ptr<const server::MetadataImage> SimCluster::image() {
  std::shared_ptr<const server::MetadataImage> newest;
  for (const Node& node : nodes_) {
    if (!node.broker->running()) continue;
    const auto image = node.broker->broker().image();
    if (image != nullptr && (newest == nullptr || image->version() > newest->version())) newest = image;
  }
  return newest;
}

const raft::Core* SimCluster::CoreOf(int id, raft::GroupId group) {
  if (!broker(id).running()) return nullptr;
  const server::MultiRaft::Group* const found = broker(id).broker().ShardOf(group).groups.Find(group);
  return found == nullptr ? nullptr : &found->core();
}

int SimCluster::LeaderOf(raft::GroupId group) {
  int leader = 0;
  raft::Term term;
  for (int id = 1; id <= size(); ++id) {
    const raft::Core* const core = CoreOf(id, group);
    if (core == nullptr || core->role() != raft::Role::kLeader || core->term() < term) continue;
    leader = id;
    term = core->term();
  }
  return leader;
}

}  // namespace millrace
