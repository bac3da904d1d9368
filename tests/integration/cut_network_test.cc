// Goal: whatever part of the network is gone, a partition goes on with those of its replicas that reach each other, nothing acked
// is lost or doubled, and a client needs no more than one address that leads to a broker.
//
// Each broker has a host of its own, and so has the client. How long acks were missing is printed, not judged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <millrace/admin.h>

#include <chrono>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/cluster_processes.h"
#include "tests/integration/numbered_records.h"
#include "tests/integration/test_network.h"

namespace millrace {
namespace {

constexpr int kClient = 0;
constexpr int kBrokers = 3;
constexpr int32_t kPartitions = 6;

// One for the process: threads of the client library stay where they were begun.
TestNetwork& Network() {
  static TestNetwork network(kBrokers);
  return network;
}

class CutNetwork : public testing::Test {
 protected:
  void SetUp() override {
    if (!Network().made()) GTEST_SKIP() << "needs " << Network().missing();
  }
  void TearDown() override {
    if (Network().made()) Network().Heal();
  }

  void StartCluster(const std::vector<std::string>& arguments = {}) {
    cluster_ = std::make_unique<ClusterProcesses>(
        ClusterProcesses::Options{.brokers = kBrokers, .arguments = arguments, .network = &Network()});
    cluster_->Start();
  }

  // At these addresses, for all that follows.
  void Connect(const std::string& addresses) {
    ASSERT_NO_FATAL_FAILURE(records_.Create(addresses));
    ASSERT_NO_FATAL_FAILURE(records_.Connect(addresses));
  }

  // A record to each partition, all acked when this returns.
  void Send() {
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_NO_FATAL_FAILURE(records_.Send(1));
    ASSERT_NO_FATAL_FAILURE(records_.Flush());
    last_ = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
  }
  void Send(int times) {
    for (int i = 0; i < times; ++i) ASSERT_NO_FATAL_FAILURE(Send());
  }

  // The leader of each partition and its term, as this broker knows them.
  std::vector<std::pair<int32_t, int32_t>> Leaders(int broker) {
    ClientOptions options;
    options.bootstrap_servers = cluster_->at(broker).address();
    auto admin = Admin::Create(options);
    EXPECT_TRUE(admin.ok()) << admin.status();
    const auto topic = (*admin)->DescribeTopic(NumberedRecords::kTopic);
    EXPECT_TRUE(topic.ok()) << topic.status();
    std::vector<std::pair<int32_t, int32_t>> leaders;
    if (topic.ok()) {
      for (const PartitionDescription& p : topic->partitions) leaders.emplace_back(p.leader, p.leader_epoch);
    }
    return leaders;
  }

  void ExpectAll(const std::string& addresses) { records_.ExpectAll(addresses); }

  std::unique_ptr<ClusterProcesses> cluster_;
  NumberedRecords records_{kPartitions};
  std::chrono::milliseconds last_{};  // that the last Send() took
};

enum class Way { kFrom, kTo, kBoth };

struct CutOff {
  const char* name;
  Way way;
  bool from_client;  // as well as from the other brokers
};

class LeaderCutOff : public CutNetwork, public testing::WithParamInterface<CutOff> {};

TEST_P(LeaderCutOff, TheOthersGoOn) {
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  ASSERT_NO_FATAL_FAILURE(Connect(cluster_->addresses()));
  ASSERT_NO_FATAL_FAILURE(Send(20));
  const int cut_off = Leaders(1).front().first;
  for (int host = 0; host <= kBrokers; ++host) {
    if (host == cut_off || (host == kClient && !GetParam().from_client)) continue;
    if (GetParam().way != Way::kTo) Network().Cut(cut_off, host);
    if (GetParam().way != Way::kFrom) Network().Cut(host, cut_off);
  }
  ASSERT_NO_FATAL_FAILURE(Send());
  std::cout << "the next acks of all partitions after " << last_.count() << " ms\n";
  ASSERT_NO_FATAL_FAILURE(Send(20));
  Network().Heal();
  ASSERT_NO_FATAL_FAILURE(Send(20));
  for (int broker = 1; broker <= kBrokers; ++broker) ExpectAll(cluster_->at(broker).address());
}

INSTANTIATE_TEST_SUITE_P(Ways, LeaderCutOff,
                         testing::Values(CutOff{"BothWays", Way::kBoth, true}, CutOff{"IsNotHeard", Way::kFrom, true},
                                         CutOff{"HearsNobody", Way::kTo, true},
                                         CutOff{"BothWaysFromBrokers", Way::kBoth, false},
                                         CutOff{"IsNotHeardByBrokers", Way::kFrom, false},
                                         CutOff{"HearsNoBroker", Way::kTo, false}),
                         [](const auto& param_info) { return param_info.param.name; });

// The third keeps both: no partition changes its leader, in whichever of the two directions packets are lost.
TEST_F(CutNetwork, TwoThatDoNotReachEachOtherKeepWhatTheyLead) {
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  ASSERT_NO_FATAL_FAILURE(Connect(cluster_->addresses()));
  ASSERT_NO_FATAL_FAILURE(Send(20));
  const auto leaders = Leaders(3);
  Network().CutBothWays(1, 2);
  ASSERT_NO_FATAL_FAILURE(Send());
  std::cout << "the next acks of all partitions after " << last_.count() << " ms\n";
  // Long enough for every election timeout to have passed.
  const auto begin = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - begin < std::chrono::seconds(4)) ASSERT_NO_FATAL_FAILURE(Send());
  EXPECT_EQ(Leaders(3), leaders);
  Network().Heal();
  ASSERT_NO_FATAL_FAILURE(Send(20));
  for (int broker = 1; broker <= kBrokers; ++broker) ExpectAll(cluster_->at(broker).address());
}

// As through the mapped port of a container: another address than the broker's own, and no name resolves.
TEST_F(CutNetwork, AClientThatReachesOneBrokerThroughAMappedPort) {
  ASSERT_NO_FATAL_FAILURE(StartCluster({"--advertise", "nobody.test:19092"}));
  for (int broker = 1; broker <= kBrokers; ++broker) Network().CutBothWays(kClient, broker);
  const std::string door = Network().MapPort(31092, 3, 19092);
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_NO_FATAL_FAILURE(Connect(door));
  ASSERT_NO_FATAL_FAILURE(Send());
  const auto after = std::chrono::steady_clock::now() - begin;
  std::cout << "a topic made and the first ack of each partition within "
            << std::chrono::duration_cast<std::chrono::milliseconds>(after).count() << " ms\n";
  ASSERT_NO_FATAL_FAILURE(Send(20));
  ExpectAll(door);
}

// A container that is started anew, and a producer and peers that knew it before.
TEST_F(CutNetwork, ABrokerComesBackUnderItsNameWithAnotherAddress) {
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  ASSERT_NO_FATAL_FAILURE(Connect(cluster_->addresses()));
  ASSERT_NO_FATAL_FAILURE(Send(20));
  for (int broker = 1; broker <= kBrokers; ++broker) {
    cluster_->Kill(broker);
    ASSERT_NO_FATAL_FAILURE(Send());
    Network().Renumber(broker);
    ASSERT_NO_FATAL_FAILURE(cluster_->Start(broker));
    ASSERT_NO_FATAL_FAILURE(Send(20));
  }
  for (int broker = 1; broker <= kBrokers; ++broker) ExpectAll(cluster_->at(broker).address());
}

}  // namespace
}  // namespace millrace
