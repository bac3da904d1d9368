#include "server/replica_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fake_log_store.h"
#include "tests/support/test_cluster.h"

namespace millrace {
namespace {

using server::AllInSync;
using server::ReplicaReport;
using testing::Each;
using testing::Field;

class ReplicaReportTest : public testing::Test {
 protected:
  ReplicaReportTest() {
    leader_ = &cluster_.AwaitLeader();
    follower_ = cluster_.BrokerOf(*leader_) % 3 + 1;
  }

  ReplicaReport ReportOf(int broker, const std::set<raft::ReplicaId>& reachable) {
    const auto reports = server::ReportReplicas(leader_->core(), reachable);
    EXPECT_EQ(reports.size(), 3u);
    return reports.at(static_cast<size_t>(broker - 1));
  }
  std::set<raft::ReplicaId> All() const { return {cluster_.Id(1), cluster_.Id(2), cluster_.Id(3)}; }
  void ProposeAndSettle(const std::string& text) {
    cluster_.Propose(*leader_, text);
    cluster_.Settle();
  }

  TestCluster cluster_{3, {}, [](int) {
                         auto disk = std::make_shared<FakeLogStore>();
                         return TestCluster::Disk{disk, [disk] { disk->CompleteSyncs(); }};
                       }};
  TestReplica* leader_ = nullptr;
  int follower_ = 0;
};

TEST_F(ReplicaReportTest, AllAreInSyncWhenAllHaveEverything) {
  ProposeAndSettle("a");
  const auto reports = server::ReportReplicas(leader_->core(), All());
  EXPECT_THAT(reports, Each(Field(&ReplicaReport::in_sync, true)));
  EXPECT_THAT(reports, Each(Field(&ReplicaReport::missing_from, leader_->core().last_index() + 1)));
  EXPECT_TRUE(AllInSync(leader_->core(), All()));
}

TEST_F(ReplicaReportTest, AQuietGroupTellsTheSame) {
  ProposeAndSettle("a");
  for (int ticks = 0; ticks < 200 && !leader_->core().quiet(); ++ticks) cluster_.Tick();
  ASSERT_TRUE(leader_->core().quiet());
  const auto reports = server::ReportReplicas(leader_->core(), All());
  EXPECT_EQ(reports.size(), 3u);
  EXPECT_THAT(reports, Each(Field(&ReplicaReport::in_sync, true)));
  EXPECT_THAT(reports, Each(Field(&ReplicaReport::missing_from, leader_->core().last_index() + 1)));
}

TEST_F(ReplicaReportTest, OneThatCannotBeReachedIsNotInSyncThoughItHasEverything) {
  ProposeAndSettle("a");
  std::set<raft::ReplicaId> others = All();
  others.erase(cluster_.Id(follower_));
  EXPECT_FALSE(ReportOf(follower_, others).in_sync);
  EXPECT_FALSE(AllInSync(leader_->core(), others));
}

TEST_F(ReplicaReportTest, OneThatDoesNotAnswerIsBehindByWhatItLacks) {
  ProposeAndSettle("a");
  const raft::LogIndex has = leader_->core().last_index();
  cluster_.CutOff(follower_);
  ProposeAndSettle("b");
  ProposeAndSettle("c");
  cluster_.Tick(100);
  cluster_.Settle();
  EXPECT_FALSE(ReportOf(follower_, All()).in_sync);
  EXPECT_EQ(ReportOf(follower_, All()).missing_from, has + 1);
  EXPECT_FALSE(AllInSync(leader_->core(), All()));

  cluster_.Heal();
  cluster_.Tick(10);
  cluster_.Settle();
  EXPECT_TRUE(ReportOf(follower_, All()).in_sync);
  EXPECT_TRUE(AllInSync(leader_->core(), All()));
}

TEST_F(ReplicaReportTest, ANewLeaderKnowsNothingOfOneThatItHasNotHeardOf) {
  ProposeAndSettle("a");
  cluster_.CutOff(cluster_.BrokerOf(*leader_));
  const int lost = cluster_.BrokerOf(*leader_);
  leader_ = &cluster_.AwaitLeader();
  ASSERT_NE(cluster_.BrokerOf(*leader_), lost);
  EXPECT_FALSE(ReportOf(lost, All()).heard);
  EXPECT_FALSE(ReportOf(lost, All()).in_sync);
  EXPECT_TRUE(ReportOf(cluster_.BrokerOf(*leader_), All()).heard);
}

}  // namespace
}  // namespace millrace
