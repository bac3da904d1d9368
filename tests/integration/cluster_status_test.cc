// What a cluster tells of itself while its brokers die and come back, whichever of them is asked.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <millrace/admin.h>
#include <millrace/producer.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/integration/cluster_processes.h"
#include "tests/support/http_get.h"

namespace millrace {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::EndsWith;
using testing::Field;
using testing::HasSubstr;
using testing::SizeIs;
using testing::UnorderedElementsAre;

constexpr int32_t kPartitions = 6;

// What `millrace` printed to standard output, and its exit code.
Exit RunMillrace(const std::string& arguments) {
  FILE* const pipe = popen((std::string(MILLRACE_BINARY) + " " + arguments).c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  Exit result;
  std::array<char, 4096> buffer{};
  while (const size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) result.output.append(buffer.data(), n);
  result.code = WEXITSTATUS(pclose(pipe));
  return result;
}

class ClusterStatusTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(cluster_.Start());
    auto created = AdminOf(1)->CreateTopic({.name = "t", .partitions = kPartitions, .replication_factor = 3});
    ASSERT_TRUE(created.ok()) << created.status();
    ASSERT_NO_FATAL_FAILURE(AwaitHealthy());
  }

  // Asks this broker alone.
  std::unique_ptr<Admin> AdminOf(int broker) {
    ClientOptions client;
    client.bootstrap_servers = cluster_.at(broker).address();
    return Admin::Create(client).value();
  }

  // Until `holds` is true of what this broker tells; the last of it.
  ClusterDescription Await(int broker, const std::function<bool(const ClusterDescription&)>& holds) {
    const auto admin = AdminOf(broker);
    while (true) {
      auto told = admin->DescribeCluster();
      EXPECT_TRUE(told.ok()) << told.status();
      if (!told.ok() || holds(*told)) return told.value_or(ClusterDescription());
    }
  }

  // As this broker tells it once the slower of two followers has everything, too.
  TopicDescription AwaitNoLag(int broker) {
    const auto lags = [](const PartitionDescription& p) {
      return std::ranges::any_of(p.replica_lag, [](const auto& replica) { return replica.lag_records != 0; });
    };
    const auto admin = AdminOf(broker);
    while (true) {
      auto topic = admin->DescribeTopic("t");
      EXPECT_TRUE(topic.ok()) << topic.status();
      if (!topic.ok()) return {};
      if (std::ranges::none_of(topic->partitions, lags)) return *std::move(topic);
    }
  }

  void AwaitHealthy() { EXPECT_EQ(Millrace("cluster status --quiet --wait healthy --timeout 60s").code, 0); }

  Exit Millrace(const std::string& arguments) { return RunMillrace(arguments + " --address " + cluster_.addresses()); }

  void Produce(int records_each) {
    ClientOptions client;
    client.bootstrap_servers = cluster_.addresses();
    auto producer = Producer::Create({.client = client}).value();
    for (int32_t p = 0; p < kPartitions; ++p) {
      for (int i = 0; i < records_each; ++i) {
        ASSERT_TRUE(producer->Send({.topic = "t", .partition = p, .value = "value"}).ok());
      }
    }
    const absl::Status stored = producer->Close();
    ASSERT_TRUE(stored.ok()) << stored;
  }

  // Of a metric without labels; -1: it is not there.
  double MetricOf(int broker, const std::string& name) {
    const std::string text = HttpGet(cluster_.at(broker).http_address(), "/metrics");
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
  }
  void AwaitMetric(const std::function<double()>& value, double wanted) {
    while (value() != wanted) {
    }
  }

  ClusterProcesses cluster_;
};

TEST_F(ClusterStatusTest, EveryBrokerTellsTheSameOfAllOfThem) {
  ASSERT_NO_FATAL_FAILURE(Produce(10));
  for (int asked = 1; asked <= 3; ++asked) {
    const ClusterDescription cluster =
        Await(asked, [](const auto& told) { return told.under_replicated == 0 && told.leaderless == 0; });
    ASSERT_THAT(cluster.brokers, SizeIs(3));
    int32_t leaders = 0;
    for (const BrokerStatus& broker : cluster.brokers) {
      EXPECT_TRUE(broker.alive);
      EXPECT_EQ(broker.partitions, kPartitions);
      EXPECT_GT(broker.disk_free_bytes, 0);
      EXPECT_GT(broker.disk_total_bytes, broker.disk_free_bytes);
      EXPECT_GT(broker.start_time, 0);
      leaders += broker.leaders;
    }
    EXPECT_EQ(leaders, kPartitions);

    const TopicDescription topic = AwaitNoLag(asked);
    ASSERT_THAT(topic.partitions, SizeIs(kPartitions));
    for (const PartitionDescription& p : topic.partitions) {
      EXPECT_THAT(p.replicas, UnorderedElementsAre(1, 2, 3));
      EXPECT_THAT(p.in_sync, UnorderedElementsAre(1, 2, 3));
      EXPECT_THAT(p.replicas, Contains(p.leader));
      EXPECT_GT(p.leader_epoch, 0);
      EXPECT_EQ(p.high_watermark, 10);
      EXPECT_EQ(p.log_end_offset, 10);
      EXPECT_GT(p.bytes, 0);
      EXPECT_THAT(p.replica_lag, AllOf(SizeIs(3), Each(Field(&ReplicaDescription::in_sync, true)),
                                       Each(Field(&ReplicaDescription::lag_ms, 0))));
    }
  }
  const Exit status = Millrace("cluster status --check");
  EXPECT_EQ(status.code, 0);
  EXPECT_THAT(status.output, EndsWith("\nhealthy\n"));
}

TEST_F(ClusterStatusTest, ADeadBrokerIsSeenByTheOthers) {
  ASSERT_NO_FATAL_FAILURE(Produce(10));
  cluster_.Kill(2);
  for (int asked : {1, 3}) {
    const ClusterDescription cluster = Await(asked, [](const auto& told) {
      return told.under_replicated == kPartitions && told.leaderless == 0 && told.controller > 0;
    });
    EXPECT_FALSE(cluster.brokers.at(1).alive);
    EXPECT_EQ(cluster.brokers.at(1).partitions, kPartitions);
    EXPECT_EQ(cluster.brokers.at(1).leaders, 0);
    EXPECT_EQ(cluster.brokers.at(0).leaders + cluster.brokers.at(2).leaders, kPartitions);
    AwaitMetric([&] { return MetricOf(asked, "millrace_peers_up"); }, 1);
    AwaitMetric([&] { return MetricOf(asked, "millrace_leaderless_partitions"); }, 0);
  }
  const auto under_replicated = [&](int broker) { return MetricOf(broker, "millrace_under_replicated_partitions"); };
  AwaitMetric([&] { return under_replicated(1) + under_replicated(3); }, kPartitions);

  ASSERT_NO_FATAL_FAILURE(Produce(5));
  const Exit described = Millrace("topic describe t --output json");
  for (const auto& p : nlohmann::json::parse(described.output)["partitions"]) {
    EXPECT_THAT(p["in_sync"].get<std::vector<int>>(), UnorderedElementsAre(1, 3));
    ASSERT_EQ(p["replica_lag"].size(), 3u);
    for (const auto& replica : p["replica_lag"]) {
      const bool dead = replica["broker"] == 2;
      EXPECT_EQ(replica["in_sync"], !dead);
      // A leader elected since has not heard of the dead one.
      const int64_t lag = replica["lag_records"];
      EXPECT_TRUE(dead ? lag == 5 || lag == -1 : lag == 0) << lag;
    }
  }
  const auto brokers = nlohmann::json::parse(Millrace("cluster status --output json").output)["brokers"];
  for (const char* const unknown : {"disk_free_bytes", "disk_total_bytes", "start_time", "disk_full"}) {
    EXPECT_TRUE(brokers[1][unknown].is_null()) << unknown;
    EXPECT_FALSE(brokers[0][unknown].is_null()) << unknown;
  }
  const Exit status = Millrace("cluster status --check");
  EXPECT_EQ(status.code, 4);
  EXPECT_THAT(status.output, HasSubstr("broker 2 (" + cluster_.at(2).address() + ") does not answer: start millraced"));

  ASSERT_NO_FATAL_FAILURE(cluster_.Start(2));
  ASSERT_NO_FATAL_FAILURE(AwaitHealthy());
  AwaitMetric([&] { return under_replicated(1) + under_replicated(2) + under_replicated(3); }, 0);
}

TEST_F(ClusterStatusTest, WithoutAMajorityItSaysSoAndFailsNoCall) {
  cluster_.Kill(2);
  cluster_.Kill(3);
  const ClusterDescription cluster =
      Await(1, [](const auto& told) { return told.leaderless == kPartitions && told.controller < 0; });
  EXPECT_THAT(cluster.brokers, SizeIs(3));
  const auto topic = AdminOf(1)->DescribeTopic("t");
  ASSERT_TRUE(topic.ok()) << topic.status();
  EXPECT_THAT(topic->partitions, AllOf(SizeIs(kPartitions), Each(Field(&PartitionDescription::leader, -1)),
                                       Each(Field(&PartitionDescription::replicas, SizeIs(3)))));
  AwaitMetric([&] { return MetricOf(1, "millrace_leaderless_partitions"); }, kPartitions);
  EXPECT_THAT(Millrace("topic describe t").output, HasSubstr("t: 6 partitions, records unknown for 6 partitions\n"));
  const Exit status = Millrace("cluster status --check");
  EXPECT_EQ(status.code, 1);
  EXPECT_THAT(status.output, HasSubstr("no controller"));

  ASSERT_NO_FATAL_FAILURE(cluster_.Start(3));
  ASSERT_NO_FATAL_FAILURE(cluster_.Start(2));
  ASSERT_NO_FATAL_FAILURE(AwaitHealthy());
}

TEST_F(ClusterStatusTest, AFrozenBrokerHoldsUpNobody) {
  cluster_.Pause(2);
  // At first it is alive and does not answer; what is asked of it is given up, not waited for.
  const auto topic = AdminOf(1)->DescribeTopic("t");
  EXPECT_TRUE(topic.ok()) << topic.status();
  const ClusterDescription cluster = Await(1, [](const auto& told) {
    return !told.brokers.at(1).alive && told.under_replicated == kPartitions && told.leaderless == 0;
  });
  EXPECT_EQ(cluster.brokers.at(1).disk_total_bytes, 0);
  cluster_.Resume(2);
  ASSERT_NO_FATAL_FAILURE(AwaitHealthy());
}

}  // namespace
}  // namespace millrace
