// millrace cluster status
#include <millrace/admin.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "client/cli/arguments.h"
#include "client/cli/cluster_health.h"
#include "client/cli/interrupt.h"
#include "client/cli/output.h"

namespace millrace::cli {
namespace {

using Align = Table::Align;

using SteadyClock = std::chrono::steady_clock;

// Between two questions: nobody tells when the cluster has become healthy.
constexpr std::chrono::milliseconds kAskEvery{250};

struct StatusOptions {
  bool wait = false;
  bool check = false;
};

using Json = nlohmann::ordered_json;

std::string StatusJson(const ClusterDescription& cluster) {
  Json document = {{"cluster_id", cluster.cluster_id},
                   {"controller", cluster.controller},
                   {"brokers", Json::array()},
                   {"under_replicated", cluster.under_replicated},
                   {"leaderless", cluster.leaderless}};
  for (const BrokerStatus& b : cluster.brokers) {
    const auto told = [&b](Json value) { return HasTold(b) ? std::move(value) : Json(); };
    document["brokers"].push_back({{"broker_id", b.broker_id},
                                   {"address", b.address},
                                   {"rack", b.rack},
                                   {"alive", b.alive},
                                   {"version", b.version.empty() ? Json() : Json(b.version)},
                                   {"partitions", b.partitions},
                                   {"leaders", b.leaders},
                                   {"disk_free_bytes", told(b.disk_free_bytes)},
                                   {"disk_total_bytes", told(b.disk_total_bytes)},
                                   {"start_time", told(b.start_time)},
                                   {"disk_full", told(b.disk_full)}});
  }
  return document.dump() + "\n";
}

std::string DiskText(const BrokerStatus& broker) {
  if (!HasTold(broker)) return "-";
  return absl::StrCat(FormatBytes(static_cast<double>(broker.disk_free_bytes)), " of ",
                      FormatBytes(static_cast<double>(broker.disk_total_bytes)));
}

std::string StatusText(const ClusterDescription& cluster) {
  Table table({{"BROKER", Align::kRight},
               {"ADDRESS"},
               {"STATE"},
               {"VERSION"},
               {"PARTITIONS", Align::kRight},
               {"LEADS", Align::kRight},
               {"DISK-FREE", Align::kRight},
               {"SINCE"}});
  for (const BrokerStatus& b : cluster.brokers) {
    table.Add({std::to_string(b.broker_id) + (b.broker_id == cluster.controller ? "*" : ""), b.address,
               b.alive ? "up" : "down", b.version.empty() ? "-" : b.version, std::to_string(b.partitions),
               std::to_string(b.leaders), DiskText(b), HasTold(b) ? FormatTime(b.start_time) : "-"});
  }
  return absl::StrCat("cluster ", cluster.cluster_id, "  (* controller)\n\n", table.Text(), "\n", Findings(cluster));
}

// Asks until the cluster is healthy or the time is over, also while nobody answers.
int WaitHealthy(const Common& common, Admin& admin, absl::StatusOr<ClusterDescription>& cluster) {
  Progress progress(common.quiet);
  const auto end = common.timeout ? SteadyClock::now() + *common.timeout : SteadyClock::time_point::max();
  while (true) {
    const auto asked = SteadyClock::now();
    cluster = admin.DescribeCluster();
    if (cluster.ok() && HealthOf(*cluster) == Health::kHealthy) return kExitDone;
    if (!cluster.ok() && !ErrorFrom(cluster.status()).retriable) return kExitDone;  // told by the caller
    if (SteadyClock::now() >= end) {
      Remark(common, "the cluster did not become healthy within --timeout");
      return kExitFailed;
    }
    progress.Show([&] {
      return cluster.ok() ? "waiting: " + Findings(*cluster).substr(0, 100)
                          : std::string("waiting for a broker to answer");
    });
    WaitUntil(std::min(asked + kAskEvery, end));
  }
}

int Status(const Common& common, const StatusOptions& options) {
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  absl::StatusOr<ClusterDescription> cluster = absl::UnknownError("not asked yet");
  int waited = kExitDone;
  if (options.wait) {
    waited = WaitHealthy(common, **admin, cluster);
  } else {
    cluster = (*admin)->DescribeCluster();
  }
  if (!cluster.ok()) return Report(common, cluster.status());
  int printed = Print(common, common.json() ? StatusJson(*cluster) : StatusText(*cluster));
  if (printed != kExitDone) return printed;
  if (!options.check) return waited;
  switch (HealthOf(*cluster)) {
    case Health::kHealthy:
      return kExitDone;
    case Health::kDegraded:
      return kExitPartly;
    case Health::kUnavailable:
      return kExitFailed;
  }
  return kExitFailed;
}

}  // namespace

void AddClusterCommands(CLI::App& app, const Common& common, Run& run) {
  CLI::App& cluster = AddGroup(app, "cluster", "The state of the cluster", "Example: millrace cluster status");
  CLI::App& status = AddLeaf(
      cluster, "status", "Show brokers, and what is wrong with what mends it",
      "Examples:\n  millrace cluster status --wait healthy --timeout 60s\n  millrace cluster status --check --quiet   "
      "# exit code 0 healthy, 4 degraded, 1 unavailable, 3 not reached");
  StatusOptions& s = AddCommand(status, run, Status, common);
  AddChoice<bool>(status, "--wait", s.wait, {{"healthy", true}},
                  "Wait until the cluster is healthy, for --timeout at most if that is given");
  status.add_flag("--check", s.check, "Exit with 0 when healthy, 4 when degraded, 1 when unavailable");
}

}  // namespace millrace::cli
