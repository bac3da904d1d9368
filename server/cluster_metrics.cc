#include "server/cluster_metrics.h"

#include <cmath>

#include "server/shares.h"

namespace millrace::server {
namespace {

void EmitPlace(const Broker& broker, const Metrics::Emit& emit) {
  const ClusterView& view = broker.view();
  Shares shares = SharesIn(view);
  const Share own = shares.of[view.self().broker];
  emit({.name = "millrace_partitions",
        .help = "Partitions of which this broker has a replica.",
        .value = static_cast<double>(own.replicas)});
  emit({.name = "millrace_partitions_led",
        .help = "Partitions that this broker leads.",
        .value = static_cast<double>(own.leads)});
  emit({.name = "millrace_leaderless_partitions",
        .help = "Partitions of which this broker has a replica and that nobody leads, as far as it knows.",
        .value = static_cast<double>(own.leaderless)});
  emit({.name = "millrace_peers_up",
        .help = "Other brokers that this one reaches.",
        .value = static_cast<double>(view.Reachable().size() - 1)});
  const auto controller = view.LeaderOf(kMetadataGroup);
  const bool is_controller = controller && controller->broker == view.self().broker;
  const auto ahead = controller && !is_controller ? broker.presence().ClockOffsetOf(controller->broker) : std::nullopt;
  emit({.name = "millrace_clock_offset_seconds",
        .help = "By how much this broker's clock is ahead of the controller's; messages' travel time counts as ahead. "
                "NaN: it "
                "hears of no controller.",
        .value = is_controller ? 0
                 : ahead       ? static_cast<double>(-*ahead) / 1000
                               : std::nan("")});
}

void EmitLags(const Broker& broker, const Metrics::Emit& emit) {
  for (const auto& [group, topics] : broker.group_lags().All()) {
    for (const auto& [topic, lag] : topics) {
      emit({.name = "millrace_group_lag_records",
            .help = "Records that a group has not committed yet, of the groups that this broker coordinates.",
            .value = static_cast<double>(lag.records),
            .labels = {{"group", group}, {"topic", topic}}});
      emit({.name = "millrace_group_lag_seconds",
            .help = "How long ago the first record was appended that a group has not committed yet, of its partition "
                    "furthest behind.",
            .value = static_cast<double>(lag.ms) / 1000,
            .labels = {{"group", group}, {"topic", topic}}});
    }
  }
}

void EmitTraffic(const Broker& broker, const Metrics::Emit& emit) {
  double started = 0, won = 0, sent = 0, dropped = 0, handed_on = 0;
  for (const auto& shard : broker.shards()) {
    started += static_cast<double>(shard->peers.elections().started.Value());
    won += static_cast<double>(shard->peers.elections().won.Value());
    sent += static_cast<double>(shard->peers.messages().sent.Value());
    dropped += static_cast<double>(shard->peers.messages().dropped.Value());
    handed_on += static_cast<double>(shard->forward.handed_on());
  }
  const auto counter = [&emit](const char* name, const char* help, double value) {
    emit({.name = name, .help = help, .value = value, .is_counter = true});
  };
  counter("millrace_elections_started_total", "Elections that this broker started.", started);
  counter("millrace_elections_won_total", "Leaderships that this broker took over.", won);
  counter("millrace_peer_messages_sent_total", "Raft messages handed to connections to other brokers.", sent);
  counter("millrace_peer_messages_dropped_total",
          "Raft messages to brokers that were not connected or took less than was sent.", dropped);
  counter("millrace_forwarded_calls_total", "Batches and calls of clients that were handed on to another broker.",
          handed_on);
}

}  // namespace

void AddClusterMetrics(const Broker& broker, Metrics& metrics) {
  metrics.AddSource([&broker](const Metrics::Emit& emit) {
    EmitPlace(broker, emit);
    EmitTraffic(broker, emit);
    EmitLags(broker, emit);
  });
}

}  // namespace millrace::server
