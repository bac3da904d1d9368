#include "tests/server/broker/metadata_cluster.h"

#include <gtest/gtest.h>

#include "proto/wire/check.h"

namespace millrace::server {

MetadataCluster::MetadataCluster(int brokers, const Options& options) : options_(options) {
  raft::ReplicaSet members;
  for (int broker = 1; broker <= brokers; ++broker) {
    members.push_back({raft::BrokerId(broker), 100u + static_cast<uint64_t>(broker)});
  }
  for (raft::ReplicaId id : members) {
    Node& node = *nodes_.emplace_back(std::make_unique<Node>());
    node.id = id;
    MILLRACE_CHECK(MakeMetadataLog(node.disk, members).ok());
    Crash(node, FakeLogStore::kKeepUnsynced);
    const absl::Status status = Start(node);
    MILLRACE_CHECK(status.ok()) << status.ToString();
  }
}

absl::Status MetadataCluster::Start(Node& node) {
  MetadataLog::Options options;
  options.entries_per_snapshot = options_.entries_per_snapshot;
  options.on_image = [this, &node](const auto& image) { CheckImage(node, image); };
  options.on_controller = [&node](bool is_controller) { node.controller.push_back(is_controller); };
  options.on_fatal = [&node](const absl::Status& status) { node.fatal = status; };
  auto log = MetadataLog::Load(node.disk, executor_.clock(), std::move(options));
  if (!log.ok()) return log.status();
  node.disk.SetLimits(kMetadataGroup, {.bytes_max = options_.segment_bytes});
  node.random =
      std::make_unique<raft::SeededRandom>(options_.seed * 31 + static_cast<uint64_t>(node.id.broker.value()));
  node.next_round = node.disk.NewRound();
  (*log)->Attach(&node);
  node.seams.emplace(raft::GroupDriver::Seams{node.disk, node, node, *node.random});
  auto driver = raft::GroupDriver::Open(
      config_, {.group = kMetadataGroup, .self = node.id, .applied = (*log)->applied()}, **log, *node.seams);
  if (!driver.ok()) return driver.status();
  node.log = *std::move(log);
  node.driver = *std::move(driver);
  return absl::OkStatus();
}

void MetadataCluster::Crash(Node& node, size_t writes_kept) {
  node.driver.reset();
  node.log.reset();
  node.next_round.reset();
  node.sent.clear();
  node.reads.clear();
  node.synced.clear();
  node.sync_asked = node.written;
  node.disk.Crash(writes_kept);
  std::erase_if(under_way_, [&](const raft::Message& message) { return message.to == node.id; });
}

// The state machine is deterministic, and what is applied is committed: one image for each version, for ever.
void MetadataCluster::CheckImage(const Node& node, const std::shared_ptr<const MetadataImage>& image) {
  const auto [known, first] = images_.emplace(image->version(), image);
  EXPECT_TRUE(*known->second == *image) << node.id << " has another image of version " << image->version();
}

bool MetadataCluster::Turn(Node& node, bool completes) {
  bool happened = node.driver->Stage(*node.next_round);
  if (!node.next_round->empty()) {
    MILLRACE_CHECK(node.disk.Write(*node.next_round).ok());
    happened = true;
    node.driver->OnWritten(++node.written);
  }
  if (node.driver->AwaitsSync() && node.sync_asked != node.written) {
    node.sync_asked = node.written;
    node.disk.Sync([&node, seq = node.written](absl::Status status) { node.synced.emplace_back(seq, status); });
  }
  if (completes) node.disk.CompleteSyncs();
  for (const auto& [seq, status] : std::exchange(node.synced, {})) {
    node.driver->OnSynced(seq);
    happened = true;
  }
  for (const raft::EntryRead& read : std::exchange(node.reads, {})) {
    node.driver->OnRead(read.id, node.disk.ReadEntries(kMetadataGroup, read.first, read.last, read.bytes_max));
    happened = true;
  }
  for (raft::Message& message : std::exchange(node.sent, {})) {
    if (std::holds_alternative<raft::InstallSnapshot>(message.body) && !node.cut_off)
      ++nodes_[message.to.broker.value() - 1]->installs;
    under_way_.push_back(std::move(message));
  }
  return happened;
}

bool MetadataCluster::Pass(const std::function<bool(int broker)>& completes) {
  bool happened = false;
  for (int broker = 1; broker <= size(); ++broker) {
    if (node(broker).running()) happened |= Turn(node(broker), completes(broker));
  }
  return Deliver() || happened;
}

bool MetadataCluster::Deliver() {
  const std::vector<raft::Message> messages = std::exchange(under_way_, {});
  for (const raft::Message& message : messages) {
    const Node& from = node(static_cast<int>(message.from.broker.value()));
    Node& to = node(static_cast<int>(message.to.broker.value()));
    if (from.cut_off || to.cut_off || !to.running()) continue;
    const absl::Status status = to.driver->core().Step(message);
    EXPECT_TRUE(status.ok()) << status << raft::ToString(message);
  }
  return !messages.empty();
}

void MetadataCluster::Settle() {
  while (Pass([](int) { return true; })) {
  }
}

void MetadataCluster::Tick(int ticks) {
  for (; ticks > 0; --ticks) {
    for (const auto& node : nodes_) {
      if (node->running()) node->driver->core().Tick();
    }
    Settle();
  }
}

MetadataCluster::Node& MetadataCluster::AwaitController() {
  for (int ticks = 0; ticks < 1000; ++ticks) {
    for (const auto& node : nodes_) {
      if (node->running() && !node->cut_off && node->log->is_controller()) return *node;
    }
    Tick();
  }
  std::string dump;
  for (const auto& node : nodes_) {
    if (node->running()) dump += node->driver->core().Dump() + "\n" + node->log->status().ToString() + "\n";
  }
  MILLRACE_CHECK(false) << "nobody is elected\n" << dump;
  return node(1);
}

void MetadataCluster::ExpectEqualImages() {
  for (const auto& node : nodes_) {
    ASSERT_TRUE(node->running());
    EXPECT_EQ(node->image().version(), this->node(1).image().version()) << node->driver->core().Dump();
    EXPECT_TRUE(node->image() == this->node(1).image()) << node->id;
  }
}

}  // namespace millrace::server
