// Which faults a seed injects, how often, and how large and how limited its cluster is. Each seed draws its own mix (swarm
// testing: with every fault on in every run, the frequent ones hide what only a quiet run with one rare fault reaches).
//
//     Swarm swarm = DrawSwarm(/*seed=*/7, /*without=*/FaultSet());
//     if (swarm.Has(Fault::kDrop)) …
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "raft/core.h"

namespace millrace::raft::sim {

enum class Fault : uint8_t {
  // The network, all the time.
  kDrop,
  kDuplicate,
  kReorder,
  kSlowNetwork,
  kStaleReplay,
  // The network, for a while.
  kCutOneWay,
  kCutBothWays,
  kIsolate,
  kIsolateLeader,
  kSplit,
  kBridge,
  kClog,
  // Processes and machines.
  kProcessCrash,
  kOsCrash,
  kCrashAtStep,
  kAllCrash,
  kCleanRestart,
  kPause,
  kWipe,
  // Disks.
  kDiskStall,
  kDiskSlow,
  kDiskFail,
  kDiskForgets,
  kReadTrouble,
  // Clocks.
  kClockDrift,
  kClockJump,
  // The driver and those who use the group.
  kSlowApply,
  kBusyDriver,
  kRetention,
  kMembership,
  kTransfer,
  kCampaign,
  kQuiescence,
  kAsyncFlush,
  kTinyLimits,
  kCount,
};

inline constexpr int kFaultCount = static_cast<int>(Fault::kCount);
using FaultSet = std::bitset<kFaultCount>;

std::string_view Name(Fault fault);
std::optional<Fault> FaultNamed(std::string_view name);

inline constexpr int64_t kTick = 1000;  // nominal length of a tick in the simulator's time unit

struct Swarm {
  FaultSet faults;
  int brokers = 3;
  int voters = 3;  // of the first membership: brokers 0 to voters - 1
  Config config;

  int drop_per_million = 0;
  int duplicate_per_million = 0;
  int replay_per_million = 0;
  int64_t delay = 100;       // of a message
  int64_t disk_delay = 200;  // of a round: write and sync
  int64_t fault_interval = 20 * kTick;
  int64_t client_interval = 500;
  bool broker_heartbeats = true;
  int64_t retention_entries = 0;  // how many entries a node keeps; 0: all
  int busy_per_million = 0;

  bool Has(Fault fault) const { return faults[static_cast<size_t>(fault)]; }
};

Swarm DrawSwarm(uint64_t seed, const FaultSet& without);

std::string ToString(const Swarm& swarm);

}  // namespace millrace::raft::sim
