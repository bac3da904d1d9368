#include "tests/cluster_sim/nemesis.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "millrace/v1/error.pb.h"

namespace millrace::sim {

using std::chrono::microseconds;
using std::chrono::milliseconds;

Nemesis::Nemesis(World& world, SimCluster& cluster, std::vector<std::string> clients)
    : world_(world), cluster_(cluster), clients_(std::move(clients)) {}

// ---- Time

void Nemesis::Later(std::function<void()> undo, int64_t ms) {
  undo_.emplace(world_.executor.clock().Monotonic() + milliseconds(ms), std::move(undo));
}

void Nemesis::Tend() {
  while (!undo_.empty() && undo_.begin()->first <= world_.executor.clock().Monotonic()) {
    undo_.extract(undo_.begin()).mapped()();
  }
  EndFailed();
  EndStopped();
}

void Nemesis::Step() {
  Tend();
  if (world_.dice.OneIn(world_.swarm.fault_one_in)) Strike();
}

void Nemesis::Heal() {
  world_.Trace("everything is healed");
  EndFailed();
  for (int broker = 1; broker <= cluster_.size(); ++broker) cluster_.disk(broker).FailNextSync(absl::OkStatus());
  for (const int broker : std::exchange(stopping_, {})) {
    cluster_.broker(broker).Crash(FakeLogStore::kKeepUnsynced);
    StartLater(broker);
  }
  while (!undo_.empty()) undo_.extract(undo_.begin()).mapped()();
}

std::chrono::nanoseconds Nemesis::TravelTime(const std::string& from, const std::string& to) {
  const auto slow = slow_us_.find({from, to});
  return microseconds(world_.dice.LongTail(slow == slow_us_.end() ? world_.swarm.travel_us : slow->second));
}

std::chrono::nanoseconds Nemesis::SyncTime(int broker) {
  const auto slow = slow_sync_us_.find(broker);
  return microseconds(world_.dice.LongTail(slow == slow_sync_us_.end() ? world_.swarm.sync_us : slow->second));
}

// ---- What to do

void Nemesis::Strike() {
  const auto fault = static_cast<Fault>(world_.dice.UpTo(static_cast<int64_t>(kFaultCount)));
  if (world_.swarm.Has(fault)) Do(fault);
}

int Nemesis::PickBroker() { return static_cast<int>(world_.dice.Between(1, cluster_.size())); }

std::string Nemesis::PickHost() {
  const int64_t pick = world_.dice.UpTo(2 * cluster_.size() + static_cast<int64_t>(clients_.size()));
  if (pick < 2 * cluster_.size()) return HostOf(static_cast<int>(pick / 2) + 1);
  return clients_[static_cast<size_t>(pick - 2 * cluster_.size())];
}

void Nemesis::Do(Fault fault) {
  const int broker = PickBroker();
  const std::string host = HostOf(broker);
  const std::string other = PickHost();
  const int64_t ms = world_.dice.LongTail(600);
  const bool has_room = down() < world_.swarm.down_max && !down_.contains(broker);
  switch (fault) {
    case Fault::kProcessCrash:
      if (has_room) Crash(broker, /*power=*/false);
      return;
    case Fault::kPowerCut:
      if (has_room && MayLosePower(broker)) Crash(broker, /*power=*/true);
      return;
    case Fault::kStop:
      if (has_room) Stop(broker);
      return;
    case Fault::kAllCrash:
      return CrashAll();
    case Fault::kFreezeClient:
      return FreezeClient();
    case Fault::kFreeze:
      if (has_room) Freeze(broker);
      return;
    case Fault::kCutBoth:
    case Fault::kCutOneWay:
      if (host == other) return;
      world_.coverage.Injected(fault);
      Cut(host, other);
      if (fault == Fault::kCutBoth) Cut(other, host);
      return;
    case Fault::kIsolate:
      return CutOff(broker);
    case Fault::kBreak:
      if (host == other) return;
      world_.coverage.Injected(fault);
      return world_.network.BreakBetween(host, other);
    case Fault::kSlowLink:
      world_.coverage.Injected(fault);
      slow_us_[{host, other}] = world_.dice.LongTail(20'000);
      return Later([this, way = std::pair(host, other)] { slow_us_.erase(way); }, ms);
    case Fault::kStall:
      world_.coverage.Injected(fault);
      world_.Trace(absl::StrCat("the store of ", host, " stalls"));
      cluster_.disk(broker).Stall();
      return Later([this, broker] { cluster_.disk(broker).EndStall(); }, ms);
    case Fault::kSlowSync:
      world_.coverage.Injected(fault);
      slow_sync_us_[broker] = world_.dice.LongTail(200'000);
      return Later([this, broker] { slow_sync_us_.erase(broker); }, ms);
    case Fault::kSyncFails:
      if (!has_room || world_.swarm.async) return;
      world_.coverage.Injected(fault);
      world_.Trace(absl::StrCat("the disk of ", host, " will fail"));
      return cluster_.disk(broker).FailNextSync(absl::InternalError("the disk failed"));
    case Fault::kColdCache:
      world_.coverage.Injected(fault);
      return cluster_.disk(broker).DropCache();
    case Fault::kClockJump: {
      world_.coverage.Injected(fault);
      // Less than the day after which a producer is forgotten.
      const int64_t far = world_.dice.OneIn(3) ? 40'000'000 : 50'000;
      return cluster_.broker(broker).process().SetWall(world_.dice.Between(-far, far));
    }
    default:
      return;  // of topics: an operator's
  }
}

// ---- Brokers

void NoteCounts(SimBroker& broker, Coverage& coverage) {
  if (!broker.running()) return;
  const server::LoopMetrics& counts = broker.broker().shards().front()->metrics;
  const auto add = [&coverage](Rare state, uint64_t count) { coverage.rare[static_cast<size_t>(state)] += count; };
  add(Rare::kDuplicateAnswered, counts.duplicates.Value());
  add(Rare::kNotLeader, counts.errors.Value(v1::Error::NOT_LEADER_OR_FOLLOWER));
  add(Rare::kNoLeader, counts.errors.Value(v1::Error::LEADER_NOT_AVAILABLE));
  add(Rare::kDeletedTopicRefused,
      counts.errors.Value(v1::Error::UNKNOWN_TOPIC_ID) + counts.errors.Value(v1::Error::UNKNOWN_TOPIC_OR_PARTITION));
}

void Nemesis::NoteCrash(int broker) {
  NoteCounts(cluster_.broker(broker), world_.coverage);
  const auto image = cluster_.image();
  if (image == nullptr) return;
  for (const auto& [name, topic] : image->topics()) {
    for (const server::PartitionInfo& partition : topic->partitions) {
      const raft::Core* const core = cluster_.CoreOf(broker, partition.group);
      if (core == nullptr || core->role() != raft::Role::kLeader) continue;
      if (core->last_index() > core->commit_index()) world_.coverage.Saw(Rare::kLeaderDiesWithUnacked);
    }
  }
}

void Nemesis::Crash(int broker, bool power) {
  world_.coverage.Injected(power ? Fault::kPowerCut : Fault::kProcessCrash);
  NoteCrash(broker);
  size_t kept = FakeLogStore::kKeepUnsynced;
  if (power)
    kept = static_cast<size_t>(world_.dice.UpTo(static_cast<int64_t>(cluster_.disk(broker).unsynced_writes()) + 1));
  world_.Trace(absl::StrCat(HostOf(broker), power ? "'s machine goes down" : "'s process dies"));
  cluster_.broker(broker).Crash(kept);
  stopping_.erase(broker);
  down_.insert(broker);
  StartLater(broker);
}

void Nemesis::StartLater(int broker) {
  Later(
      [this, broker] {
        world_.Trace(absl::StrCat(HostOf(broker), " starts"));
        down_.erase(broker);
        cluster_.broker(broker).Start();
      },
      world_.dice.LongTail(1000));
}

void Nemesis::Stop(int broker) {
  if (!cluster_.broker(broker).loaded()) return;
  world_.coverage.Injected(Fault::kStop);
  NoteCounts(cluster_.broker(broker), world_.coverage);
  world_.Trace(absl::StrCat(HostOf(broker), " is to end"));
  down_.insert(broker);
  stopping_.insert(broker);
  cluster_.broker(broker).Stop();
}

// What a process leaves that ends with its disk: some of what was not synced.
void Nemesis::EndFailed() {
  for (int broker = 1; broker <= cluster_.size(); ++broker) {
    if (cluster_.broker(broker).running() && cluster_.broker(broker).failed()) Crash(broker, /*power=*/true);
  }
}

void Nemesis::EndStopped() {
  for (const int broker : std::set<int>(stopping_)) {
    if (!cluster_.broker(broker).stopped()) continue;
    world_.Trace(absl::StrCat(HostOf(broker), " has ended"));
    stopping_.erase(broker);
    cluster_.broker(broker).Crash(FakeLogStore::kKeepUnsynced);
    StartLater(broker);
  }
}

void Nemesis::CrashAll() {
  if (down() > 0) return;
  world_.coverage.Injected(Fault::kAllCrash);
  const bool power = !world_.swarm.async && world_.dice.OneIn(2);
  for (int broker = 1; broker <= cluster_.size(); ++broker) Crash(broker, power);
}

// flush=async: what the others have may be in their memories only, and does not count while they abstain.
bool Nemesis::MayLosePower(int broker) {
  if (!world_.swarm.async) return true;
  if (!cluster_.ready() || down() > 0) return false;
  const auto image = cluster_.image();
  for (const auto& [name, topic] : image->topics()) {
    for (const server::PartitionInfo& partition : topic->partitions) {
      if (partition.replicas.size() == 1 && partition.replicas.front().broker.value() == broker) return false;
      for (const raft::ReplicaId& replica : partition.replicas) {
        const raft::Core* const core = cluster_.CoreOf(static_cast<int>(replica.broker.value()), partition.group);
        if (replica.broker.value() != broker && (core == nullptr || core->abstaining())) return false;
      }
    }
  }
  return true;
}

void Nemesis::Freeze(int broker) {
  world_.coverage.Injected(Fault::kFreeze);
  world_.Trace(absl::StrCat(HostOf(broker), " stands still"));
  cluster_.broker(broker).process().Freeze();
  down_.insert(broker);
  Later(
      [this, broker] {
        world_.Trace(absl::StrCat(HostOf(broker), " goes on"));
        down_.erase(broker);
        cluster_.broker(broker).process().Thaw();
      },
      world_.dice.LongTail(1000));
}

void Nemesis::FreezeClient() {
  if (processes_.empty()) return;
  SimProcess& client = *processes_[static_cast<size_t>(world_.dice.UpTo(static_cast<int64_t>(processes_.size())))];
  if (client.frozen()) return;
  world_.coverage.Injected(Fault::kFreezeClient);
  world_.Trace(absl::StrCat(client.name(), " stands still"));
  client.Freeze();
  Later(
      [this, &client] {
        if (std::find(processes_.begin(), processes_.end(), &client) != processes_.end()) client.Thaw();
      },
      world_.dice.LongTail(1000));
}

// ---- Ways

void Nemesis::Cut(const std::string& from, const std::string& to) {
  world_.Trace(absl::StrCat(from, " does not reach ", to));
  world_.network.Cut(from, to);
  Later(
      [this, from, to] {
        if (separated_.contains({from, to})) return;
        world_.Trace(absl::StrCat(from, " reaches ", to, " again"));
        world_.network.Heal(from, to);
      },
      world_.dice.LongTail(1500));
}

void Nemesis::CutOff(int broker) {
  world_.coverage.Injected(Fault::kIsolate);
  const bool from_clients = world_.dice.OneIn(2);
  std::vector<std::string> others = from_clients ? clients_ : std::vector<std::string>();
  for (int other = 1; other <= cluster_.size(); ++other) {
    if (other != broker) others.push_back(HostOf(other));
  }
  for (const std::string& other : others) {
    Cut(HostOf(broker), other);
    Cut(other, HostOf(broker));
  }
}

void Nemesis::Separate(const std::string& client, int broker) {
  for (const auto& way : {std::pair(client, HostOf(broker)), std::pair(HostOf(broker), client)}) {
    separated_.insert(way);
    world_.network.Cut(way.first, way.second);
  }
}

}  // namespace millrace::sim
