// Goal: what people do with a cluster works as with one broker: a broker that leads dies, stands still or is stopped, one comes back,
// others join; nothing acked is lost or doubled, whichever broker is asked.
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/integration/cluster_processes.h"
#include "tests/integration/numbered_records.h"

namespace millrace {
namespace {

constexpr int32_t kPartitions = 4;

class ClusterTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(cluster_.Start());
    ASSERT_NO_FATAL_FAILURE(records_.Create(cluster_.addresses()));
    ASSERT_NO_FATAL_FAILURE(records_.Connect(cluster_.addresses()));
  }

  ClusterProcesses cluster_;
  NumberedRecords records_{kPartitions};
};

TEST_F(ClusterTest, EachBrokerDiesInTurnWhileRecordsComeIn) {
  for (int broker = 1; broker <= cluster_.size(); ++broker) {
    records_.Send(50);
    cluster_.Kill(broker);
    records_.Send(50);
    ASSERT_NO_FATAL_FAILURE(records_.Flush());
    ASSERT_NO_FATAL_FAILURE(cluster_.Start(broker));
  }
  for (int broker = 1; broker <= cluster_.size(); ++broker) records_.ExpectAll(cluster_.at(broker).address());
}

TEST_F(ClusterTest, ABrokerThatStandsStillHoldsNobodyUp) {
  records_.Send(10);
  ASSERT_NO_FATAL_FAILURE(records_.Flush());
  cluster_.Pause(2);
  records_.Send(10);
  ASSERT_NO_FATAL_FAILURE(records_.Flush());
  records_.ExpectAll(cluster_.at(1).address());
  cluster_.Resume(2);
  records_.Send(10);
  ASSERT_NO_FATAL_FAILURE(records_.Flush());
  records_.ExpectAll(cluster_.at(2).address());
}

TEST_F(ClusterTest, AllAreStoppedAndStartedAgain) {
  records_.Send(20);
  ASSERT_NO_FATAL_FAILURE(records_.Flush());
  for (int broker = 1; broker <= cluster_.size(); ++broker) EXPECT_EQ(cluster_.Stop(broker), 0);
  ASSERT_NO_FATAL_FAILURE(cluster_.Start());
  records_.Send(20);
  ASSERT_NO_FATAL_FAILURE(records_.Flush());
  for (int broker = 1; broker <= cluster_.size(); ++broker) records_.ExpectAll(cluster_.at(broker).address());
}

// What the brokers advertise leads nowhere.
TEST(Forwarding, AClientThatReachesOneBrokerProducesAndConsumes) {
  ClusterProcesses cluster({.arguments = {"--advertise", "127.0.0.1:1"}});
  ASSERT_NO_FATAL_FAILURE(cluster.Start());
  const std::string address = cluster.at(3).address();
  NumberedRecords records(kPartitions);
  ASSERT_NO_FATAL_FAILURE(records.Create(address));
  ASSERT_NO_FATAL_FAILURE(records.Connect(address));
  records.Send(20);
  ASSERT_NO_FATAL_FAILURE(records.Flush());
  records.ExpectAll(address);
}

TEST(Forwarding, ABrokerThatStandsStillHoldsUpNobodyWhoReachesAnother) {
  ClusterProcesses cluster({.arguments = {"--advertise", "127.0.0.1:1"}});
  ASSERT_NO_FATAL_FAILURE(cluster.Start());
  const std::string address = cluster.at(1).address();
  NumberedRecords records(kPartitions);
  ASSERT_NO_FATAL_FAILURE(records.Create(address));
  ASSERT_NO_FATAL_FAILURE(records.Connect(address));
  records.Send(20);
  ASSERT_NO_FATAL_FAILURE(records.Flush());
  const auto paused = std::chrono::steady_clock::now();
  const auto tell = [paused](const char* what) {
    const auto passed = std::chrono::steady_clock::now() - paused;
    std::cout << what << " after " << std::chrono::duration_cast<std::chrono::milliseconds>(passed).count() << " ms\n";
  };
  cluster.Pause(2);
  records.Send(20);
  ASSERT_NO_FATAL_FAILURE(records.Flush());
  tell("all was acked");
  records.ExpectAll(address);
  tell("all was read");
}

// One that is given no number gets the next, and keeps it; the first may go when three are there.
TEST(Join, ABrokerAloneBecomesACluster) {
  BrokerProcess first, second, third;
  const std::string secret = (first.directory() / "secret").string();
  std::ofstream(secret) << "a-secret-that-only-these-brokers-know\n";
  std::filesystem::permissions(secret, std::filesystem::perms::owner_read);
  for (BrokerProcess* each : {&first, &second, &third}) each->AddArguments({"--peer-secret-file", secret});
  ASSERT_NO_FATAL_FAILURE(first.Start());
  second.AddArguments({"--join", first.address()});
  ASSERT_NO_FATAL_FAILURE(second.Start());
  third.AddArguments({"--join", second.address()});
  ASSERT_NO_FATAL_FAILURE(third.Start());
  EXPECT_TRUE(second.ready_line().starts_with("ready broker=2 ")) << second.ready_line();
  EXPECT_TRUE(third.ready_line().starts_with("ready broker=3 ")) << third.ready_line();
  NumberedRecords records(kPartitions);
  ASSERT_NO_FATAL_FAILURE(records.Create(third.address()));
  ASSERT_NO_FATAL_FAILURE(records.Connect(absl::StrCat(second.address(), ",", third.address())));
  records.Send(20);
  ASSERT_NO_FATAL_FAILURE(records.Flush());
  first.Kill();
  records.Send(20);
  ASSERT_NO_FATAL_FAILURE(records.Flush());
  EXPECT_EQ(second.Stop(), 0);
  ASSERT_NO_FATAL_FAILURE(first.Start());
  ASSERT_NO_FATAL_FAILURE(second.Start());
  EXPECT_TRUE(second.ready_line().starts_with("ready broker=2 ")) << second.ready_line();
  records.ExpectAll(first.address());
}

}  // namespace
}  // namespace millrace
