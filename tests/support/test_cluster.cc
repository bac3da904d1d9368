#include "tests/support/test_cluster.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "proto/wire/check.h"
#include "proto/wire/crc32c.h"

namespace millrace {

using raft::LogIndex;
using raft::Message;

TestCluster::TestCluster(int brokers, const Options& options, OpenDisk open_disk)
    : options_(options), open_disk_(std::move(open_disk)) {
  raft::Membership membership;
  for (int broker = 1; broker <= options_.voters; ++broker) membership.voters.push_back(Id(broker));
  for (int broker = 1; broker <= brokers; ++broker) {
    Node& node = nodes_.emplace_back(Node{.disk = open_disk_(broker)});
    MILLRACE_CHECK(
        TestReplica::Make(*node.disk.store, kGroup, broker <= options_.voters ? membership : raft::Membership()).ok());
    node.disk.store->Sync([](const absl::Status&) {});
    node.disk.complete_syncs();
    node.replica = std::make_unique<TestReplica>(OptionsOf(broker));
    node.loop = std::make_unique<TestBroker>(*node.disk.store);
    const absl::Status status = node.replica->Start(*node.disk.store);
    MILLRACE_CHECK(status.ok()) << status.ToString();
    node.loop->Add(node.replica.get());
  }
}

TestReplica::Options TestCluster::OptionsOf(int broker) const {
  TestReplica::Options options{.group = kGroup,
                               .self = Id(broker),
                               .flush = options_.flush,
                               .seed = 1000u * options_.seed + broker,
                               .config = options_.config};
  if (options_.on_applied) {
    options.on_applied = [this, broker](const raft::Entry& entry) { options_.on_applied(broker, entry); };
  }
  if (options_.on_sent) {
    options.on_sent = [this, broker](const Message& message) { options_.on_sent(broker, message); };
  }
  return options;
}

int TestCluster::BrokerOf(const TestReplica& replica) const {
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].replica.get() == &replica) return static_cast<int>(i) + 1;
  }
  return 0;
}

void TestCluster::Settle() {
  for (bool happened = true; happened;) {
    happened = Turn([](int) { return true; });
    for (Node& node : nodes_) happened |= node.replica->running() && node.replica->AnswerReads();
    happened |= Deliver();
  }
}

bool TestCluster::Turn(const std::function<bool(int broker)>& completes) {
  bool happened = false;
  for (int broker = 1; broker <= brokers(); ++broker) {
    Node& node = nodes_[broker - 1];
    if (!node.replica->running()) continue;
    happened |= node.loop->Turn();
    if (completes(broker)) node.disk.complete_syncs();
    happened |= node.loop->FinishSyncs();
    node.loop->RequestSync();  // under way while the next round is written
    for (Message& message : node.replica->TakeSent()) under_way_.push_back(std::move(message));
  }
  return happened;
}

bool TestCluster::Deliver() {
  const std::vector<Message> messages = std::exchange(under_way_, {});
  for (const Message& message : messages) {
    const auto from = static_cast<int>(message.from.broker.value());
    const auto to = static_cast<int>(message.to.broker.value());
    if (cut_off_.contains(from) || cut_off_.contains(to) || !replica(to).running()) continue;
    const absl::Status status = replica(to).core().Step(message);
    EXPECT_TRUE(status.ok()) << status << raft::ToString(message);
  }
  return !messages.empty();
}

void TestCluster::Tick(int ticks) {
  for (; ticks > 0; --ticks) {
    for (Node& node : nodes_) {
      if (node.replica->running()) node.replica->core().Tick();
    }
    Settle();
  }
}

TestReplica& TestCluster::AwaitLeader() {
  for (int ticks = 0; ticks < 1000; ++ticks) {
    for (int broker = 1; broker <= brokers(); ++broker) {
      if (!replica(broker).running() || cut_off_.contains(broker)) continue;
      raft::Core& core = replica(broker).core();
      if (core.role() == raft::Role::kLeader && core.terms().At(core.commit_index()) == core.term()) {
        return replica(broker);
      }
    }
    Tick();
  }
  MILLRACE_CHECK(false) << "nobody is elected";
  return replica(1);
}

void TestCluster::Propose(TestReplica& leader, const std::string& text, int count) {
  for (int i = 0; i < count; ++i) {
    raft::Entry entry;
    entry.header.record_count = 1;
    entry.payload = absl::Cord(text);
    entry.header.payload_crc = Crc32c(0, entry.payload);
    const auto id = leader.core().Propose(std::move(entry));
    MILLRACE_CHECK(id.ok()) << id.status().ToString();
  }
}

void TestCluster::Stop(int broker) {
  Node& node = nodes_[broker - 1];
  node.loop->StopAll();
  std::erase_if(under_way_, [&](const Message& message) { return message.to == Id(broker); });
}

void TestCluster::Restart(int broker, const std::function<void()>& crash, bool machine) {
  Stop(broker);
  if (crash) crash();
  Node& node = nodes_[broker - 1];
  node.disk = {};
  node.disk = open_disk_(broker);
  if (machine && node.replica->MayLackAcked(*node.disk.store)) {
    const absl::Status status = node.replica->Abstain(*node.disk.store);
    MILLRACE_CHECK(status.ok()) << "broker " << broker << ": " << status.ToString();
    node.disk.store->Sync([](const absl::Status&) {});
    node.disk.complete_syncs();
  }
  const absl::Status status = node.replica->Start(*node.disk.store);
  MILLRACE_CHECK(status.ok()) << "broker " << broker << ": " << status.ToString();
  node.loop = std::make_unique<TestBroker>(*node.disk.store);
  node.loop->Add(node.replica.get());
}

void TestCluster::ExpectEqual(const std::vector<int>& brokers) {
  LogIndex first(1);
  for (int broker : brokers) first = std::max(first, store(broker).State(kGroup).first_index);
  const raft::LogState expected = store(brokers.front()).State(kGroup);
  for (int broker : brokers) {
    const raft::LogState state = store(broker).State(kGroup);
    EXPECT_EQ(state.last_index, expected.last_index) << replica(brokers.front()).core().Dump() << "\n"
                                                     << replica(broker).core().Dump();
    EXPECT_EQ(state.log_end, expected.log_end) << "broker " << broker;
    EXPECT_EQ(state.chain, expected.chain) << "broker " << broker;
    EXPECT_EQ(replica(broker).sum(), replica(brokers.front()).sum()) << "broker " << broker;
    for (LogIndex index = first; index <= expected.last_index; ++index) {
      EXPECT_EQ(store(broker).HeaderAt(kGroup, index)->chain, store(brokers.front()).HeaderAt(kGroup, index)->chain)
          << "broker " << broker << " entry " << index;
    }
  }
}

}  // namespace millrace
