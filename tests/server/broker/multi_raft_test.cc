// Goal: what the groups of a broker do together: who takes over from a broker that is lost, and that one that comes back is brought
// up to date over a slow link without reading much more than it lacks.
// Method: brokers of a cluster in memory; the time that messages travel makes the link slow.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <utility>

#include "millrace/v1/admin.pb.h"
#include "tests/server/broker/fixture.h"
#include "tests/support/sim_cluster.h"

namespace millrace {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::_;
using ::testing::Each;
using ::testing::Ge;
using ::testing::Pair;
using ::testing::SizeIs;

// The smallest election timeout is 600 ms.
constexpr milliseconds kBeforeElections{400};

class MultiRaftTest : public ::testing::Test {
 protected:
  void Begin(int brokers, int partitions, int replicas) {
    cluster_ = std::make_unique<SimCluster>(executor_, network_, SimCluster::Options{.brokers = brokers});
    while (!cluster_->ready()) executor_.Advance(milliseconds(50));
    CreateTopic("t", partitions, replicas);
  }
  void CreateTopic(const std::string& name, int partitions, int replicas) {
    v1::CreateTopicRequest request;
    request.set_name(name);
    request.set_partitions(partitions);
    request.set_replication_factor(replicas);
    Ask("CreateTopic", request);
    executor_.Advance(seconds(2));
  }
  template <typename Request>
  void Ask(const std::string& method, const Request& request) {
    bool done = false;
    network_.Call("broker-1:9470", "/millrace.v1.Admin/" + method, absl::Cord(request.SerializeAsString()), seconds(30),
                  [&](const CallReply& reply) { done = reply.end.status.ok(); });
    while (!done) executor_.Advance(milliseconds(50));
  }
  void Append(const std::string& topic, int p, const absl::Cord& bytes) {
    const raft::GroupId group = cluster_->image()->FindTopic(topic)->partitions[static_cast<size_t>(p)].group;
    ErrorFrame error;
    const auto partition = cluster_->broker(cluster_->LeaderOf(group)).broker().FindPartition(topic, p, 0, &error);
    server::ValidBatch batch;
    ASSERT_TRUE(server::ValidateBatch(bytes, *partition->config(), 1'700'000'000'000, &batch, &error)) << error.message;
    partition->Append(std::move(batch), {},
                      [](const server::AppendOutcome& outcome) { EXPECT_TRUE(outcome.error.ok()); });
  }

  // Groups by the broker that leads them; 0: nobody.
  std::map<int, int> Leads() {
    std::map<int, int> leads;
    const auto topic = cluster_->image()->FindTopic("t");
    for (const auto& partition : topic->partitions) ++leads[cluster_->LeaderOf(partition.group)];
    return leads;
  }

  SimExecutor executor_;
  SimNetwork network_{executor_};
  std::unique_ptr<SimCluster> cluster_;
};

TEST_F(MultiRaftTest, AllThatAreLeftTakeOverFromABrokerThatDies) {
  Begin(/*brokers=*/3, /*partitions=*/150, /*replicas=*/3);
  ASSERT_THAT(Leads(), Each(Pair(_, 50)));
  cluster_->broker(3).Crash(FakeLogStore::kKeepUnsynced);
  executor_.Advance(kBeforeElections);
  const std::map<int, int> leads = Leads();
  EXPECT_THAT(leads, SizeIs(2));
  EXPECT_THAT(leads, Each(Pair(Ge(1), Ge(65))));
}

TEST_F(MultiRaftTest, NoReplicaIsPassedOverEachTime) {
  Begin(/*brokers=*/3, /*partitions=*/6, /*replicas=*/3);
  const auto topic = cluster_->image()->FindTopic("t");
  std::set<std::pair<raft::GroupId, int>> led;
  for (int round = 0; round < 60; ++round) {
    const int victim = 1 + round % 3;
    cluster_->broker(victim).Crash(FakeLogStore::kKeepUnsynced);
    executor_.Advance(seconds(2));
    for (const auto& partition : topic->partitions) led.emplace(partition.group, cluster_->LeaderOf(partition.group));
    cluster_->broker(victim).Start();
    while (!cluster_->ready()) executor_.Advance(milliseconds(50));
    executor_.Advance(seconds(8));  // what it is to lead is given back
  }
  EXPECT_THAT(led, SizeIs(6 * 3));
}

TEST_F(MultiRaftTest, NobodyWaitsForASuccessorThatDiesToo) {
  Begin(/*brokers=*/5, /*partitions=*/100, /*replicas=*/5);
  ASSERT_THAT(Leads(), Each(Pair(_, 20)));
  cluster_->broker(4).Crash(FakeLogStore::kKeepUnsynced);
  cluster_->broker(5).Crash(FakeLogStore::kKeepUnsynced);
  executor_.Advance(kBeforeElections);
  const std::map<int, int> leads = Leads();
  EXPECT_THAT(leads, SizeIs(3));
  EXPECT_THAT(leads, Each(Pair(Ge(1), Ge(25))));
}

// A group goes quiet when all its members have everything, which one that is away keeps it from.
TEST_F(MultiRaftTest, GroupsThatLackAMemberAreIdleAtLittleCost) {
  Begin(/*brokers=*/3, /*partitions=*/300, /*replicas=*/3);
  const auto bytes_in = [&](seconds time) {
    const int64_t before = network_.bytes();
    executor_.Advance(time);
    return network_.bytes() - before;
  };
  (void)bytes_in(seconds(5));
  const int64_t quiet = bytes_in(seconds(3));
  cluster_->broker(3).Crash(FakeLogStore::kKeepUnsynced);
  (void)bytes_in(seconds(1));
  const int64_t at_first = bytes_in(seconds(1)) - quiet / 3;
  (void)bytes_in(seconds(3));
  const int64_t later = bytes_in(seconds(3)) - quiet;
  EXPECT_GT(at_first, 0);
  EXPECT_NEAR(static_cast<double>(later) / 3, static_cast<double>(at_first) / 3, static_cast<double>(at_first) / 20);
  // At full pace again the moment that something happens: the next to die has a successor as soon as ever.
  const std::map<int, int> leads = Leads();
  EXPECT_THAT(leads, SizeIs(2)) << "nobody campaigned";
  cluster_->broker(3).Start();
  while (!cluster_->ready()) executor_.Advance(milliseconds(50));
  executor_.Advance(seconds(1));
  cluster_->broker(2).Crash(FakeLogStore::kKeepUnsynced);
  executor_.Advance(kBeforeElections);
  EXPECT_EQ(Leads().count(0), 0u);
  EXPECT_EQ(Leads().count(2), 0u);
}

// A message costs as much processor time as some twenty records.
TEST_F(MultiRaftTest, ABatchTakesTwoMessagesForEachFollower) {
  Begin(/*brokers=*/3, /*partitions=*/1, /*replicas=*/3);
  const raft::GroupId group = cluster_->image()->FindTopic("t")->partitions[0].group;
  const auto commit_of = [&](int broker) { return cluster_->CoreOf(broker, group)->commit_index(); };
  const auto sent = [&] {
    int64_t messages = 0;
    for (int broker = 1; broker <= 3; ++broker) {
      for (const auto& shard : cluster_->broker(broker).broker().shards())
        messages += shard->peers.messages().sent.Value();
    }
    return messages;
  };
  Append("t", 0, BatchOf({"awake"}));
  executor_.Advance(milliseconds(10));
  const int64_t before = sent();
  Append("t", 0, BatchOf({"a"}));
  executor_.Advance(milliseconds(10));
  EXPECT_EQ(sent() - before, 4);
  const int leader = cluster_->LeaderOf(group);
  const int follower = 1 + leader % 3;
  EXPECT_LT(commit_of(follower), commit_of(leader));
  executor_.Advance(milliseconds(200));  // a heartbeat tells
  EXPECT_EQ(commit_of(follower), commit_of(leader));
}

// Broker 3 misses what is written while it is away, and all of that is on the disks of the others alone when it is back.
class CatchUp : public MultiRaftTest {
 protected:
  static constexpr int kPartitions = 48;
  static constexpr int kBatches = 5;
  static constexpr size_t kBatchBytes = 512 << 10;
  static constexpr size_t kMissing = kPartitions * kBatches * kBatchBytes;  // 120 MiB; the links hold 32

  void MissBatches(const std::vector<std::string>& topics) {
    cluster_->broker(3).Crash(FakeLogStore::kKeepUnsynced);
    executor_.Advance(seconds(1));
    for (int i = 0; i < kBatches; ++i) {
      for (const std::string& topic : topics) AppendToAll(topic);
    }
    for (int broker : {1, 2}) cluster_->disk(broker).DropCache();
    network_.SetTravelTime(
        [](const std::string&, const std::string& to) { return milliseconds(to == "broker-3" ? 50 : 0); });
    read_before_ = ReadBytes();
    cluster_->broker(3).Start();
  }
  void AppendToAll(const std::string& topic) {
    const absl::Cord batch = BatchOf({std::string(kBatchBytes, 'x')});
    for (int p = 0; p < kPartitions; ++p) Append(topic, p, batch);
    executor_.Advance(milliseconds(50));
  }

  uint64_t ReadBytes() { return cluster_->disk(1).read_bytes() + cluster_->disk(2).read_bytes(); }
  // Partitions of which broker 3 has everything.
  int CaughtUp(const std::string& topic) {
    int caught_up = 0;
    for (const auto& partition : cluster_->image()->FindTopic(topic)->partitions) {
      caught_up += cluster_->disk(3).WrittenEnd(partition.group) == raft::Offset(kBatches) ? 1 : 0;
    }
    return caught_up;
  }
  bool CatchesUp(const std::string& topic) {
    for (int turns = 0; turns < 2000 && CaughtUp(topic) < kPartitions; ++turns) executor_.Advance(milliseconds(20));
    return CaughtUp(topic) == kPartitions;
  }
  // Until it has come half of the way, and much waits for its links.
  void ComesHalfWay() {
    while (ReadBytes() - read_before_ < kMissing / 2) executor_.Advance(milliseconds(1));
  }

  uint64_t read_before_ = 0;
};

TEST_F(CatchUp, EntriesAreReadOnceForALinkThatIsSlow) {
  Begin(/*brokers=*/3, kPartitions, /*replicas=*/3);
  MissBatches({"t"});
  EXPECT_TRUE(CatchesUp("t"));
  EXPECT_LT(ReadBytes() - read_before_, kMissing * 11 / 10);
}

TEST_F(CatchUp, GoesOnAfterTheLinksBreak) {
  Begin(/*brokers=*/3, kPartitions, /*replicas=*/3);
  MissBatches({"t"});
  ComesHalfWay();
  for (const char* leader : {"broker-1", "broker-2"}) network_.BreakBetween(leader, "broker-3");
  EXPECT_TRUE(CatchesUp("t"));
}

TEST_F(CatchUp, GoesOnAfterTheMemberWasStartedAgain) {
  Begin(/*brokers=*/3, kPartitions, /*replicas=*/3);
  MissBatches({"t"});
  ComesHalfWay();
  cluster_->broker(3).Crash(FakeLogStore::kKeepUnsynced);
  executor_.Advance(seconds(1));
  cluster_->broker(3).Start();
  EXPECT_TRUE(CatchesUp("t"));
}

TEST_F(CatchUp, DoesNotWaitForATopicThatIsDeleted) {
  Begin(/*brokers=*/3, kPartitions, /*replicas=*/3);
  CreateTopic("deleted", kPartitions, 3);
  MissBatches({"deleted", "t"});
  ComesHalfWay();
  v1::DeleteTopicRequest request;
  request.set_name("deleted");
  Ask("DeleteTopic", request);
  EXPECT_TRUE(CatchesUp("t"));
}

}  // namespace
}  // namespace millrace
