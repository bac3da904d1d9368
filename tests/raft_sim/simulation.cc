#include "tests/raft_sim/simulation.h"

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "tests/raft_sim/nemesis.h"
#include "tests/raft_sim/node.h"
#include "tests/raft_sim/recovery.h"
#include "tests/raft_sim/workload.h"
#include "tests/raft_sim/world.h"

namespace millrace::raft::sim {
namespace {

class Simulation {
 public:
  Simulation(const Plan& plan, Coverage& coverage)
      : plan_(plan), world_(plan.seed, plan.without, coverage), workload_(world_), nemesis_(world_) {}

  Result Run() {
    Begin();
    while (world_.events < plan_.events && world_.violation.empty()) Next();
    if (world_.violation.empty()) Recover();
    ++world_.coverage.seeds;
    world_.coverage.events += world_.events;
    Result result{.hash = hash_, .events = world_.events, .violation = world_.violation};
    if (!result.violation.empty()) result.report = Report();
    return result;
  }

 private:
  void Begin() {
    ReplicaSet voters;
    for (int i = 0; i < world_.swarm.voters; ++i) voters.push_back(world_.nodes[static_cast<size_t>(i)]->id());
    for (ReplicaId id : voters) world_.node(id).disk().SetFirstMembership({.voters = voters});
    for (const auto& node : world_.nodes) node->Start();
    workload_.Act();
    world_.queue.Schedule(world_.swarm.fault_interval, {.kind = EventKind::kFault});
  }

  void Next() {
    world_.now = world_.queue.next_time();
    const Event event = world_.queue.Pop();
    ++world_.events;
    Trace::Line& line = world_.trace.Next();
    line = {.number = world_.events, .time = world_.now, .kind = event.kind, .broker = event.broker};
    if (event.kind == EventKind::kDeliver) line.message = BriefOf(world_.network.Peek(event.what));
    if (plan_.trace) std::printf("%s\n", ToString(line).c_str());
    Dispatch(event);
    AddToHash(line);
  }

  void Dispatch(const Event& event) {
    Node& node = *world_.nodes[event.broker];
    switch (event.kind) {
      case EventKind::kStart:
        return node.Start();
      case EventKind::kClient:
        if (!world_.calm) workload_.Act();
        return;
      case EventKind::kFault:
        if (!world_.calm) nemesis_.Act();
        return;
      case EventKind::kFaultEnd:
        if (!world_.calm) nemesis_.End(event.what);
        return;
      default:
        return node.On(event);
    }
  }

  void AddToHash(const Trace::Line& line) {
    hash_ = Mix(hash_, static_cast<uint64_t>(line.time) << 8 | static_cast<uint64_t>(line.kind));
    const Brief& m = line.message;
    if (line.kind == EventKind::kDeliver) {
      hash_ = Mix(hash_, static_cast<uint64_t>(m.term.value()) << 16 | static_cast<uint64_t>(m.kind) << 8 | m.flags);
      hash_ = Mix(hash_, static_cast<uint64_t>(m.a << 40 ^ m.b << 20 ^ m.c));
    }
    const Glance& seen = world_.nodes[line.broker]->seen();
    hash_ = Mix(hash_, static_cast<uint64_t>(seen.commit.value() << 24 ^ seen.term.value() << 4) |
                           static_cast<uint64_t>(seen.role));
  }

  void Recover() {
    Recovery recovery(world_, workload_);
    recovery.Begin();
    while (world_.violation.empty() && !recovery.Done()) Next();
  }

  std::string Report() const {
    std::string out = absl::StrCat("\nThe last events:\n", world_.trace.Text(), "\nThe nodes:\n");
    for (const auto& node : world_.nodes) absl::StrAppend(&out, node->Dump());
    absl::StrAppend(&out, "\nseed ", plan_.seed, ", event ", world_.events, ", ", ToString(world_.swarm), "\n");
    return out;
  }

  const Plan& plan_;
  World world_;
  Workload workload_;
  Nemesis nemesis_;
  uint64_t hash_ = 0;
};

}  // namespace

World::World(uint64_t seed, const FaultSet& without, Coverage& coverage)
    : seed(seed),
      swarm(DrawSwarm(seed, without)),
      coverage(coverage),
      dice(seed),
      network(swarm, queue, dice),
      invariants(*this) {
  for (int broker = 0; broker < swarm.brokers; ++broker) nodes.push_back(std::make_unique<Node>(*this, broker));
}

World::~World() = default;

Node* World::Alive(ReplicaId id) {
  Node& there = node(id);
  return there.id() == id ? &there : nullptr;
}

const Node* World::Alive(ReplicaId id) const {
  const Node& there = node(id);
  return there.id() == id ? &there : nullptr;
}

Result Simulate(const Plan& plan, Coverage& coverage) { return Simulation(plan, coverage).Run(); }

std::string Command(const Plan& plan) {
  std::string command = absl::StrCat("raft_simulation --seed ", plan.seed, " --events ", plan.events);
  const char* separator = " --without ";
  for (int i = 0; i < kFaultCount; ++i) {
    if (!plan.without[static_cast<size_t>(i)]) continue;
    absl::StrAppend(&command, separator, std::string(Name(static_cast<Fault>(i))));
    separator = ",";
  }
  return command;
}

}  // namespace millrace::raft::sim
