#include "tests/raft_sim/faults.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "tests/raft_sim/dice.h"

namespace millrace::raft::sim {
namespace {

constexpr std::array<std::string_view, kFaultCount> kNames = {
    "drop",          "duplicate",  "reorder",        "slow_network", "stale_replay",  "cut_one_way",
    "cut_both_ways", "isolate",    "isolate_leader", "split",        "bridge",        "clog",
    "process_crash", "os_crash",   "crash_at_step",  "all_crash",    "clean_restart", "pause",
    "wipe",          "disk_stall", "disk_slow",      "disk_fail",    "disk_forgets",  "read_trouble",
    "clock_drift",   "clock_jump", "slow_apply",     "busy_driver",  "retention",     "membership",
    "transfer",      "campaign",   "quiescence",     "async_flush",  "tiny_limits"};

// A seed has all faults, a handful, or each with one chance in two; and sometimes none at all.
FaultSet DrawFaults(Dice& dice) {
  FaultSet faults;
  int mix = dice.UpTo(16);
  if (mix == 0) return faults;
  int per_mille = mix == 1 ? 1000 : mix < 8 ? 200 : 500;
  for (int i = 0; i < kFaultCount; ++i) faults[static_cast<size_t>(i)] = dice.UpTo(1000) < per_mille;
  return faults;
}

void DrawSize(Swarm& swarm, Dice& dice) {
  static constexpr std::array<int, 10> kVoters = {1, 2, 3, 3, 3, 3, 3, 4, 5, 5};
  swarm.voters = dice.Pick(kVoters);
  swarm.brokers = swarm.voters;
  if (swarm.Has(Fault::kMembership)) swarm.brokers += static_cast<int>(dice.Between(1, 3));
  if (swarm.brokers > 7) swarm.brokers = 7;
}

void DrawConfig(Swarm& swarm, Dice& dice) {
  static constexpr std::array<int, 4> kElectionTicks = {4, 6, 10, 10};
  Config& config = swarm.config;
  config.election_ticks = dice.Pick(kElectionTicks);
  config.heartbeat_ticks = static_cast<int>(dice.Between(1, 2));
  int64_t quiesce_ticks = dice.Between(3, 20);
  config.quiesce_ticks = swarm.Has(Fault::kQuiescence) ? static_cast<int>(quiesce_ticks) : 0;
  config.promotion_lag_max = dice.Between(0, 20);
  config.commit_at_once = dice.OneIn(2);
  // Drawn whether used or not, so that a run without tiny limits is otherwise the same.
  int64_t append_bytes = dice.Between(1, 60);
  int64_t inflight_messages = dice.Between(1, 4);
  int64_t inflight_bytes = dice.Between(1, 200);
  int64_t uncommitted_bytes = dice.Between(20, 400);
  int which = dice.UpTo(16);
  if (!swarm.Has(Fault::kTinyLimits)) return;
  if (which & 1) config.append_bytes_max = static_cast<size_t>(append_bytes);
  if (which & 2) config.inflight_messages_max = static_cast<size_t>(inflight_messages);
  if (which & 4) config.inflight_bytes_max = static_cast<size_t>(inflight_bytes);
  if (which & 8) config.uncommitted_bytes_max = static_cast<size_t>(uncommitted_bytes);
}

void DrawRates(Swarm& swarm, Dice& dice) {
  static constexpr std::array<int, 5> kPerMillion = {1'000, 10'000, 50'000, 150'000, 300'000};
  static constexpr std::array<int64_t, 4> kDelay = {30, 100, 200, 600};
  static constexpr std::array<int64_t, 4> kDiskDelay = {20, 100, 300, 1500};
  static constexpr std::array<int64_t, 4> kClientInterval = {150, 400, 1000, 4000};
  int drop = dice.Pick(kPerMillion);
  int duplicate = dice.Pick(kPerMillion);
  if (swarm.Has(Fault::kDrop)) swarm.drop_per_million = drop;
  if (swarm.Has(Fault::kDuplicate)) swarm.duplicate_per_million = duplicate;
  if (swarm.Has(Fault::kStaleReplay)) swarm.replay_per_million = 5'000;
  swarm.delay = dice.Pick(kDelay);
  swarm.disk_delay = dice.Pick(kDiskDelay);
  swarm.client_interval = dice.Pick(kClientInterval);
  swarm.fault_interval = dice.Between(2, 25) * kTick;
  int64_t retention = dice.Between(1, 60);
  if (swarm.Has(Fault::kRetention)) swarm.retention_entries = retention;
  bool heartbeats = dice.OneIn(2);
  swarm.broker_heartbeats = heartbeats || swarm.Has(Fault::kQuiescence);
  int busy = dice.Pick(kPerMillion);
  if (swarm.Has(Fault::kBusyDriver)) swarm.busy_per_million = busy;
}

}  // namespace

std::string_view Name(Fault fault) { return kNames[static_cast<size_t>(fault)]; }

std::optional<Fault> FaultNamed(std::string_view name) {
  for (int i = 0; i < kFaultCount; ++i) {
    if (kNames[static_cast<size_t>(i)] == name) return static_cast<Fault>(i);
  }
  return std::nullopt;
}

Swarm DrawSwarm(uint64_t seed, const FaultSet& without) {
  Dice dice(seed ^ 0x5eed'5eed'5eed'5eed);
  Swarm swarm;
  swarm.faults = DrawFaults(dice) & ~without;
  DrawSize(swarm, dice);
  DrawConfig(swarm, dice);
  DrawRates(swarm, dice);
  return swarm;
}

std::string ToString(const Swarm& swarm) {
  const Config& config = swarm.config;
  std::string text = absl::StrCat(
      "brokers=", swarm.brokers, " voters=", swarm.voters, " election_ticks=", config.election_ticks,
      " heartbeat_ticks=", config.heartbeat_ticks, " quiesce_ticks=", config.quiesce_ticks,
      " commit_at_once=", config.commit_at_once, " append_bytes_max=", config.append_bytes_max,
      " inflight_messages_max=", config.inflight_messages_max, " inflight_bytes_max=", config.inflight_bytes_max,
      " uncommitted_bytes_max=", config.uncommitted_bytes_max, " delay=", swarm.delay, " disk_delay=", swarm.disk_delay,
      " client_interval=", swarm.client_interval, " fault_interval=", swarm.fault_interval,
      " retention_entries=", swarm.retention_entries, " faults=");
  const char* separator = "";
  for (int i = 0; i < kFaultCount; ++i) {
    if (!swarm.Has(static_cast<Fault>(i))) continue;
    absl::StrAppend(&text, separator, std::string(Name(static_cast<Fault>(i))));
    separator = ",";
  }
  return text;
}

}  // namespace millrace::raft::sim
