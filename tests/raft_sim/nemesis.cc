#include "tests/raft_sim/nemesis.h"

#include "tests/raft_sim/node.h"
#include "tests/raft_sim/survival.h"
#include "tests/raft_sim/world.h"

namespace millrace::raft::sim {
namespace {

bool HappensAtATime(Fault fault) {
  switch (fault) {
    case Fault::kCutOneWay:
    case Fault::kCutBothWays:
    case Fault::kIsolate:
    case Fault::kIsolateLeader:
    case Fault::kSplit:
    case Fault::kBridge:
    case Fault::kClog:
    case Fault::kProcessCrash:
    case Fault::kOsCrash:
    case Fault::kCrashAtStep:
    case Fault::kAllCrash:
    case Fault::kCleanRestart:
    case Fault::kPause:
    case Fault::kWipe:
    case Fault::kDiskStall:
    case Fault::kDiskSlow:
    case Fault::kDiskFail:
    case Fault::kDiskForgets:
    case Fault::kClockJump:
      return true;
    default:
      return false;
  }
}

bool IsOfNetwork(Fault fault) { return fault >= Fault::kCutOneWay && fault <= Fault::kClog; }

}  // namespace

Nemesis::Nemesis(World& world) : world_(world) {
  for (int i = 0; i < kFaultCount; ++i) {
    const Fault fault = static_cast<Fault>(i);
    if (!world.swarm.Has(fault)) continue;
    if (HappensAtATime(fault)) {
      faults_.push_back(fault);
    } else {
      world.coverage.Injected(fault);
    }
  }
}

void Nemesis::Act() {
  if (faults_.empty()) return;
  int64_t later = world_.dice.LongTail(world_.swarm.fault_interval);
  world_.queue.Schedule(world_.now + later, {.kind = EventKind::kFault});
  Inject(world_.dice.Pick(faults_));
}

void Nemesis::Inject(Fault fault) {
  world_.coverage.Injected(fault);
  const int64_t duration = world_.dice.LongTail(12 * kTick);
  if (IsOfNetwork(fault)) return InjectNetwork(fault, duration);
  const bool leader = world_.dice.OneIn(3);
  InjectNode(fault, leader ? SomeLeader() : SomeNode(), duration);
}

Node& Nemesis::SomeNode() { return *world_.dice.Pick(world_.nodes); }

Node& Nemesis::SomeLeader() {
  for (const auto& node : world_.nodes) {
    if (node->leads()) return *node;
  }
  return SomeNode();
}

void Nemesis::InjectNetwork(Fault fault, int64_t duration) {
  Dice& dice = world_.dice;
  const int n = world_.swarm.brokers;
  const int a = fault == Fault::kIsolateLeader ? SomeLeader().broker() : dice.UpTo(n);
  const int b = dice.UpTo(n);
  const uint64_t sides = dice.Next();
  const int direction = dice.UpTo(3);  // of an isolation: both, in, out
  Lasting lasting;
  for (int from = 0; from < n; ++from) {
    for (int to = 0; to < n; ++to) {
      bool cut = false;
      switch (fault) {
        case Fault::kCutOneWay:
          cut = from == a && to == b;
          break;
        case Fault::kCutBothWays:
          cut = (from == a && to == b) || (from == b && to == a);
          break;
        case Fault::kIsolate:
        case Fault::kIsolateLeader:
          cut = (from == a && direction != 1) || (to == a && direction != 2);
          break;
        case Fault::kSplit:
          cut = (sides >> from & 1) != (sides >> to & 1);
          break;
        case Fault::kBridge:  // only `a` sees both sides
          cut = from != a && to != a && (sides >> from & 1) != (sides >> to & 1);
          break;
        default:
          if (from == a && (to == b || sides & 1)) world_.network.Clog(from, to, world_.now + duration);
      }
      if (cut && from != to) lasting.cuts.emplace_back(from, to);
    }
  }
  if (lasting.cuts.empty()) return;
  for (auto [from, to] : lasting.cuts) world_.network.Cut(from, to);
  Last(duration, std::move(lasting));
}

void Nemesis::InjectNode(Fault fault, Node& node, int64_t duration) {
  Dice& dice = world_.dice;
  switch (fault) {
    case Fault::kProcessCrash:
      return node.Stop(Disk::Level::kProcess);
    case Fault::kOsCrash:
      return node.Stop(Disk::Level::kMachine);
    case Fault::kCrashAtStep:
      return node.CrashAt(static_cast<Step>(dice.UpTo(static_cast<int>(Step::kNone))));
    case Fault::kAllCrash:
      for (const auto& each : world_.nodes) each->Stop(dice.OneIn(3) ? Disk::Level::kProcess : Disk::Level::kMachine);
      return;
    case Fault::kCleanRestart:
      return node.Stop(Disk::Level::kClean);
    case Fault::kPause:
      if (!node.up() || node.paused()) return;
      node.Pause();
      return Last(duration, {.paused = node.broker()});
    case Fault::kWipe:
      if (MayWipe(world_, node)) node.Wipe();
      return;
    case Fault::kDiskStall:
      return node.StallDisk(world_.now + duration * 2);
    case Fault::kDiskSlow:
      node.SlowDisk(static_cast<int>(dice.Between(2, 10)));
      return Last(duration * 3, {.slowed = node.broker()});
    case Fault::kDiskFail:
      return node.FailDisk();
    case Fault::kDiskForgets: {
      // Once in a run: two such disks are more than any protocol can stand.
      if (forgot_ || !MayForget(world_, node)) return;
      forgot_ = true;
      const LogIndex last = node.disk().acked().chain().last();
      const int64_t entries = dice.Between(1, 8);
      return node.ForgetBehind(last - entries);
    }
    case Fault::kClockJump:
      if (node.up() && !node.paused()) node.TickNow();
      return;
    default:
      return;
  }
}

void Nemesis::Last(int64_t duration, Lasting lasting) {
  lasting_.push_back(std::move(lasting));
  world_.queue.Schedule(world_.now + duration,
                        {.kind = EventKind::kFaultEnd, .what = static_cast<uint32_t>(lasting_.size() - 1)});
}

void Nemesis::End(uint32_t slot) {
  const Lasting& lasting = lasting_[slot];
  for (auto [from, to] : lasting.cuts) world_.network.Mend(from, to);
  if (lasting.paused >= 0) world_.nodes[static_cast<size_t>(lasting.paused)]->Resume();
  if (lasting.slowed >= 0) world_.nodes[static_cast<size_t>(lasting.slowed)]->SlowDisk(1);
}

}  // namespace millrace::raft::sim
