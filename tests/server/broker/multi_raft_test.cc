// Goal: the groups of a broker stand together: who takes over from a broker that is lost, and that all of its groups do not go to
// one of the others.
// Method: brokers of a cluster in memory; nothing waits for an election timeout where the test looks before there can be one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "millrace/v1/admin.pb.h"
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
    v1::CreateTopicRequest request;
    request.set_name("t");
    request.set_partitions(partitions);
    request.set_replication_factor(replicas);
    bool created = false;
    network_.Call("broker-1:9470", "/millrace.v1.Admin/CreateTopic", absl::Cord(request.SerializeAsString()),
                  seconds(30), [&](const CallReply& reply) { created = reply.end.status.ok(); });
    while (!created) executor_.Advance(milliseconds(50));
    executor_.Advance(seconds(2));
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

}  // namespace
}  // namespace millrace
