#include "client/cli/cluster_health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace::cli {
namespace {

using testing::HasSubstr;

ClusterDescription Healthy() {
  ClusterDescription cluster;
  cluster.controller = 1;
  for (int32_t id : {1, 2, 3}) {
    cluster.brokers.push_back(
        {.broker_id = id, .address = "10.0.0.1:9470", .alive = true, .start_time = 1'700'000'000'000});
  }
  return cluster;
}

TEST(ClusterHealth, NothingWrongIsHealthy) {
  EXPECT_EQ(HealthOf(Healthy()), Health::kHealthy);
  EXPECT_EQ(Findings(Healthy()), "healthy\n");
}

TEST(ClusterHealth, ADeadBrokerOrALaggingReplicaDegrades) {
  ClusterDescription dead = Healthy();
  dead.brokers[1].alive = false;
  EXPECT_EQ(HealthOf(dead), Health::kDegraded);
  EXPECT_THAT(Findings(dead), HasSubstr("broker 2 (10.0.0.1:9470) does not answer: start millraced there"));

  ClusterDescription behind = Healthy();
  behind.under_replicated = 1;
  EXPECT_EQ(HealthOf(behind), Health::kDegraded);
  EXPECT_THAT(Findings(behind), HasSubstr("1 partition with a replica that is behind"));
}

// What it leads is in no count.
TEST(ClusterHealth, ABrokerThatDoesNotSayHowItIsDegrades) {
  ClusterDescription silent = Healthy();
  silent.brokers[1].start_time = 0;
  EXPECT_EQ(HealthOf(silent), Health::kDegraded);
  EXPECT_THAT(Findings(silent), HasSubstr("broker 2 (10.0.0.1:9470) did not say in time how its replicas are"));
}

TEST(ClusterHealth, AFullDiskDegrades) {
  ClusterDescription full = Healthy();
  full.brokers[1].disk_full = true;
  EXPECT_EQ(HealthOf(full), Health::kDegraded);
  EXPECT_THAT(Findings(full), HasSubstr("broker 2 (10.0.0.1:9470) has 0 B free, less than its disk.free.floor"));
  EXPECT_THAT(Findings(full), HasSubstr("millrace topic trim NAME"));
}

TEST(ClusterHealth, WithoutLeadersOrControllerItIsUnavailable) {
  ClusterDescription leaderless = Healthy();
  leaderless.leaderless = 2;
  EXPECT_EQ(HealthOf(leaderless), Health::kUnavailable);
  EXPECT_THAT(Findings(leaderless), HasSubstr("2 partitions without a leader"));

  ClusterDescription headless = Healthy();
  headless.controller = -1;
  EXPECT_EQ(HealthOf(headless), Health::kUnavailable);
  EXPECT_THAT(Findings(headless), HasSubstr("no controller"));
}

TEST(ClusterHealth, EveryFindingHasItsLine) {
  ClusterDescription cluster = Healthy();
  cluster.controller = -1;
  cluster.brokers[0].alive = false;
  cluster.leaderless = cluster.under_replicated = 5;
  const std::string text = Findings(cluster);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4) << text;
}

}  // namespace
}  // namespace millrace::cli
