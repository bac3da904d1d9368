// Goal: what a broker's metrics tell of the cluster is so. Method: three brokers in memory whose clocks differ.
#include "server/cluster_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/server/broker/fixture.h"
#include "tests/support/sim_cluster.h"

namespace millrace {
namespace {

TEST(ClusterMetrics, TellHowFarTheClockIsFromTheControllers) {
  SimExecutor executor;
  SimNetwork network(executor);
  SimCluster cluster(executor, network, {.brokers = 3});
  for (int broker : {1, 2, 3}) cluster.broker(broker).process().SetWall(1'000 * broker);
  while (!cluster.ready()) executor.Advance(std::chrono::milliseconds(50));
  executor.Advance(std::chrono::seconds(1));
  const auto controller = cluster.broker(1).broker().view().LeaderOf(server::kMetadataGroup);
  ASSERT_TRUE(controller);
  for (int64_t broker : {1, 2, 3}) {
    server::Metrics metrics({.data_dir = "/"});
    server::AddClusterMetrics(cluster.broker(static_cast<int>(broker)).broker(), metrics);
    const int64_t ahead = broker - controller->broker.value();
    const std::string line = absl::StrCat("\nmillrace_clock_offset_seconds ", ahead, "\n");
    EXPECT_NE(metrics.Text().find(line), std::string::npos) << line;
  }
  executor.Advance(std::chrono::seconds(1));
}

}  // namespace
}  // namespace millrace
