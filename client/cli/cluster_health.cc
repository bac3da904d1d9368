#include "client/cli/cluster_health.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/cli/units.h"

namespace millrace::cli {

bool HasTold(const BrokerStatus& broker) { return broker.alive && broker.start_time > 0; }

Health HealthOf(const ClusterDescription& cluster) {
  if (cluster.leaderless > 0 || cluster.controller < 0) return Health::kUnavailable;
  bool all_well = std::all_of(cluster.brokers.begin(), cluster.brokers.end(),
                              [](const auto& b) { return HasTold(b) && !b.disk_full; });
  return all_well && cluster.under_replicated == 0 ? Health::kHealthy : Health::kDegraded;
}

std::string Findings(const ClusterDescription& cluster) {
  std::string text;
  for (const BrokerStatus& broker : cluster.brokers) {
    if (broker.disk_full) {
      absl::StrAppend(&text, "broker ", broker.broker_id, " (", broker.address, ") has ",
                      FormatBytes(static_cast<double>(broker.disk_free_bytes)),
                      " free, less than its disk.free.floor, and refuses records: make room with: "
                      "millrace topic trim NAME --partition P --before OFFSET, millrace topic delete NAME\n");
    }
    if (HasTold(broker)) continue;
    if (broker.alive) {
      absl::StrAppend(&text, "broker ", broker.broker_id, " (", broker.address,
                      ") did not say in time how its replicas are: ask again; if it stays so, see its log and load\n");
      continue;
    }
    absl::StrAppend(&text, "broker ", broker.broker_id, " (", broker.address,
                    ") does not answer: start millraced there on its data directory; its log says what stopped it\n");
  }
  if (cluster.controller < 0)
    absl::StrAppend(&text, "no controller: a majority of the brokers must run before topics can change\n");
  if (cluster.leaderless > 0) {
    absl::StrAppend(&text, FormatCountOf(cluster.leaderless, "partition"),
                    " without a leader: no writes there until the brokers that hold the replicas run; see which with: "
                    "millrace topic describe NAME\n");
  }
  if (cluster.under_replicated > 0) {
    absl::StrAppend(&text, FormatCountOf(cluster.under_replicated, "partition"),
                    " with a replica that is behind: it catches up by itself once its broker runs; watch with: "
                    "millrace cluster status --wait healthy\n");
  }
  return text.empty() ? "healthy\n" : text;
}

}  // namespace millrace::cli
