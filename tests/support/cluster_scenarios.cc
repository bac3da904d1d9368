#include "tests/support/cluster_scenarios.h"

#include <gtest/gtest.h>

#include <string>

namespace millrace {
namespace {

using raft::LogIndex;
using raft::Offset;

constexpr raft::GroupId kGroup = TestCluster::kGroup;

// The others of three.
std::vector<int> Others(int broker) {
  std::vector<int> others;
  for (int other = 1; other <= 3; ++other) {
    if (other != broker) others.push_back(other);
  }
  return others;
}

// Everything applied goes, so the log begins behind its last segment but the active one, or behind all.
void DropEverythingApplied(TestCluster& cluster, int broker) {
  cluster.replica(broker).driver().SetLogStart(cluster.store(broker).State(kGroup).log_end);
  cluster.Settle();
}

}  // namespace

void ElectsReplicatesAndRestarts(const TestCluster::OpenDisk& open_disk) {
  TestCluster cluster(3, {}, open_disk);
  cluster.Propose(cluster.AwaitLeader(), std::string(500, 'a'), 50);
  cluster.Settle();
  cluster.Tick();
  cluster.ExpectEqual({1, 2, 3});
  EXPECT_EQ(cluster.store(1).State(kGroup).log_end, Offset(50));
  const TestReplica::Sum sum = cluster.replica(1).sum();
  for (int broker = 1; broker <= 3; ++broker) cluster.Restart(broker);
  cluster.Propose(cluster.AwaitLeader(), "b", 3);
  cluster.Settle();
  cluster.Tick();
  cluster.ExpectEqual({1, 2, 3});
  EXPECT_EQ(cluster.store(1).State(kGroup).log_end, Offset(53));
  EXPECT_NE(cluster.replica(1).sum().sum, sum.sum);
}

void TruncatesAConflictingSuffix(const TestCluster::OpenDisk& open_disk) {
  TestCluster cluster(3, {}, open_disk);
  TestReplica& old_leader = cluster.AwaitLeader();
  const int cut_off = cluster.BrokerOf(old_leader);
  cluster.Propose(old_leader, "committed", 4);
  cluster.Settle();
  const LogIndex kept = old_leader.core().last_index();
  cluster.CutOff(cut_off);
  cluster.Propose(old_leader, std::string(2000, 'l'), 9);
  cluster.Settle();
  EXPECT_EQ(old_leader.core().last_index(), kept + 9);
  cluster.Restart(cut_off);  // the tail comes back from the store, and is not committed
  EXPECT_EQ(cluster.replica(cut_off).core().last_index(), kept + 9);

  cluster.Propose(cluster.AwaitLeader(), "instead", 3);
  cluster.Settle();
  cluster.Heal();
  cluster.Tick(30);
  EXPECT_EQ(cluster.replica(cut_off).truncations(), std::vector<LogIndex>{kept + 1});
  cluster.ExpectEqual({1, 2, 3});
  EXPECT_EQ(cluster.store(cut_off).State(kGroup).log_end, Offset(7));
}

void InstallsASnapshotBehindTheLogStart(const TestCluster::OpenDisk& open_disk) {
  TestCluster cluster(3, {}, open_disk);
  const int leader = cluster.BrokerOf(cluster.AwaitLeader());
  const int behind = Others(leader).front();
  cluster.Propose(cluster.replica(leader), "early", 5);
  cluster.Settle();
  cluster.CutOff(behind);
  cluster.Propose(cluster.replica(leader), std::string(1500, 'm'), 20);
  cluster.Settle();
  cluster.Tick();
  for (int broker : Others(behind)) DropEverythingApplied(cluster, broker);
  ASSERT_GT(cluster.store(leader).State(kGroup).begin.before.index, cluster.store(behind).State(kGroup).last_index);
  cluster.Heal();
  cluster.Tick(40);
  EXPECT_EQ(cluster.replica(behind).installs(), 1);
  const int new_leader = cluster.BrokerOf(cluster.AwaitLeader());
  EXPECT_EQ(cluster.store(behind).State(kGroup).begin, cluster.store(leader).State(kGroup).begin);
  cluster.ExpectEqual({1, 2, 3});

  cluster.Restart(behind);
  cluster.Propose(cluster.replica(new_leader), "late", 5);
  cluster.Settle();
  cluster.Tick(30);
  EXPECT_EQ(cluster.replica(behind).core().last_index(), cluster.replica(new_leader).core().last_index());
  cluster.ExpectEqual({1, 2, 3});
}

void AddsAMemberAndRemovesAnother(const TestCluster::OpenDisk& open_disk) {
  TestCluster cluster(4, {}, open_disk);
  TestReplica& leader = cluster.AwaitLeader();
  const int removed = Others(cluster.BrokerOf(leader)).back();
  cluster.Propose(leader, "early", 10);
  cluster.Settle();
  using raft::MembershipChange;
  const auto added = leader.core().ProposeMembership(
      {{.kind = MembershipChange::kAddLearner, .id = TestCluster::Id(4), .promote = true}});
  ASSERT_TRUE(added.ok()) << added.status();
  cluster.Tick(5);
  EXPECT_TRUE(leader.core().membership().IsVoter(TestCluster::Id(4)));
  cluster.Restart(4);
  EXPECT_TRUE(cluster.replica(4).core().membership().IsVoter(TestCluster::Id(4)));

  const auto gone = cluster.AwaitLeader().core().ProposeMembership(
      {{.kind = MembershipChange::kRemove, .id = TestCluster::Id(removed)}});
  ASSERT_TRUE(gone.ok()) << gone.status();
  cluster.Settle();
  cluster.Stop(removed);
  cluster.Propose(cluster.AwaitLeader(), "late", 10);
  cluster.Tick(5);
  cluster.ExpectEqual({cluster.BrokerOf(leader), 4});
  cluster.Restart(4);
  EXPECT_EQ(cluster.replica(4).core().membership(), leader.core().membership());
  EXPECT_FALSE(leader.core().membership().IsVoter(TestCluster::Id(removed)));
}

}  // namespace millrace
