// What the Raft core costs, without disk and network (Google Benchmark, one core):
//
//   raft_bench
//
// leader/B: a leader with two followers takes batches of B proposals of 64 KiB by reference, gives its Ready, hears that its own
// write is durable, and gets an ack of each request. Items are entries. quiet_followers, quiet_leaders: ticks of 10,000 idle
// groups; bytes_per_group is what the heap grew by for each. quiet_*/driven: bytes_per_group is what the heap shrinks by when 1000
// such groups go with their drivers (their logs stay).
#include <malloc.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "benchmark/benchmark.h"
#include "raft/core.h"
#include "tests/bench/quiet_drivers.h"

namespace {
size_t allocations = 0;
}

// Not inlined: the compiler would take malloc and delete for a mistake.
[[gnu::noinline]] void* operator new(size_t bytes) {
  ++allocations;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace millrace::raft {
namespace {

ReplicaId Id(int n) { return {BrokerId(n), 1}; }

std::unique_ptr<Core> MakeCore(const Config& config, int self, int voters, Random& random) {
  PersistedState state;
  Membership membership;
  for (int n = 1; n <= voters; ++n) membership.voters.push_back(Id(n));
  state.memberships = {{LogIndex(0), membership}};
  return std::make_unique<Core>(config, GroupId(1), Id(self), std::move(state), random);
}

void Step(Core& core, int from, Term term, decltype(Message::body) body) {
  (void)core.Step({.from = Id(from), .to = core.self(), .term = term, .body = std::move(body)});
}

// Takes what is ready and says that it is durable and applied.
Ready Drain(Core& core) {
  Ready ready = core.TakeReady();
  core.OnPersisted(ready.seq);
  core.OnApplied(ready.committed.last);
  return ready;
}

// The followers' acks, one of each request; how many entries came with them.
int64_t Ack(Core& core, const Ready& ready) {
  int64_t entries = 0;
  for (const Message& m : ready.send_now) {
    const auto* append = std::get_if<AppendEntries>(&m.body);
    if (append == nullptr) continue;
    entries += static_cast<int64_t>(append->entries.size());
    const LogIndex match = append->prev.index + static_cast<int64_t>(append->entries.size());
    (void)core.Step(
        {.from = m.to,
         .to = m.from,
         .term = m.term,
         .body = AppendReply{.accepted = true, .match = match, .last_index = match, .request = append->request}});
  }
  return entries;
}

void Elect(Core& core) {
  core.Campaign();
  Drain(core);
  Step(core, 2, Term(0), VoteReply{.granted = true, .pre_vote = true});
  Drain(core);
  Step(core, 2, Term(1), VoteReply{.granted = true, .asked = Term(1)});
  Ack(core, Drain(core));
  Drain(core);
}

void Leader(benchmark::State& state) {
  const Config config{.quiesce_ticks = 0};
  SeededRandom random(1);
  auto core = MakeCore(config, 1, 3, random);
  Elect(*core);
  const absl::Cord payload(std::string(64 << 10, 'x'));
  const auto batch = state.range(0);
  const size_t allocated = allocations;
  for (auto _ : state) {
    for (int64_t i = 0; i < batch; ++i) {
      benchmark::DoNotOptimize(core->Propose({.header = {.record_count = 64}, .payload = payload}));
    }
    if (Ack(*core, Drain(*core)) != 2 * batch) return state.SkipWithError("not all was sent to both followers");
  }
  state.counters["allocations_per_entry"] =
      static_cast<double>(allocations - allocated) / static_cast<double>(state.iterations() * batch);
  Drain(*core);
  if (core->commit_index() != core->last_index()) state.SkipWithError("not all was committed");
  state.SetItemsProcessed(state.iterations() * batch);
}
BENCHMARK(Leader)->Name("leader")->Arg(1)->Arg(4)->Arg(16)->Arg(64);

// Followers of 10,000 groups.
std::vector<std::unique_ptr<Core>> QuietFollowers(const Config& config, int groups, Random& random) {
  std::vector<std::unique_ptr<Core>> cores;
  cores.reserve(static_cast<size_t>(groups));
  for (int i = 0; i < groups; ++i) {
    auto core = MakeCore(config, 2, 3, random);
    Entry first{.header = {.type = EntryType::kNoop, .term = Term(1), .index = LogIndex(1)}};
    Step(*core, 1, Term(1), AppendEntries{.entries = {first}, .commit = LogIndex(1)});
    Drain(*core);
    Step(*core, 1, Term(1), Heartbeat{.commit = {Term(1), LogIndex(1)}, .quiesce = true, .last_index = LogIndex(1)});
    Drain(*core);
    cores.push_back(std::move(core));
  }
  return cores;
}

// Their leaders, after a burst of 64 proposals each.
std::vector<std::unique_ptr<Core>> QuietLeaders(const Config& config, int groups, Random& random) {
  std::vector<std::unique_ptr<Core>> cores;
  cores.reserve(static_cast<size_t>(groups));
  for (int i = 0; i < groups; ++i) {
    auto core = MakeCore(config, 1, 3, random);
    Elect(*core);
    for (int n = 0; n < 64; ++n) {
      (void)core->Propose({.payload = absl::Cord("x")});
      Ack(*core, Drain(*core));
    }
    while (core->HasReady()) Ack(*core, Drain(*core));
    for (int tick = 0; tick < 8 && !core->quiet(); ++tick) {
      core->Tick();
      Drain(*core);
      for (int from : {2, 3}) {
        Step(*core, from, core->term(), HeartbeatReply{.quiet = true, .last_index = core->last_index()});
      }
      while (core->HasReady()) Ack(*core, Drain(*core));
    }
    cores.push_back(std::move(core));
  }
  return cores;
}

template <auto Make>
void QuietGroups(benchmark::State& state) {
  constexpr int kGroups = 10'000;
  const Config config{.quiesce_ticks = 2};
  SeededRandom random(1);
  const size_t before = mallinfo2().uordblks;
  const auto cores = Make(config, kGroups, random);
  for (const auto& core : cores) {
    if (!core->quiet()) return state.SkipWithError("a group is not quiet");
  }
  state.counters["bytes_per_group"] = static_cast<double>(mallinfo2().uordblks - before) / kGroups;
  for (auto _ : state) {
    for (const auto& core : cores) core->Tick();
  }
  state.SetItemsProcessed(state.iterations() * kGroups);
}
BENCHMARK(QuietGroups<QuietFollowers>)->Name("quiet_followers");
BENCHMARK(QuietGroups<QuietLeaders>)->Name("quiet_leaders");

template <auto MakeQuiet>
void DrivenQuietGroups(benchmark::State& state) {
  constexpr int kGroups = 1000;
  QuietDrivers drivers(kGroups);
  (drivers.*MakeQuiet)();
  for (const auto& driver : drivers.all()) {
    if (!driver->core().quiet() || driver->applied_index() != driver->core().last_index()) {
      return state.SkipWithError("a group is not quiet");
    }
  }
  const size_t before = mallinfo2().uordblks;
  for (auto _ : state) drivers.Clear();
  state.counters["bytes_per_group"] = static_cast<double>(before - mallinfo2().uordblks) / kGroups;
}
BENCHMARK(DrivenQuietGroups<&QuietDrivers::Follow>)->Name("quiet_followers/driven")->Iterations(1);
BENCHMARK(DrivenQuietGroups<&QuietDrivers::Lead>)->Name("quiet_leaders/driven")->Iterations(1);

}  // namespace
}  // namespace millrace::raft

BENCHMARK_MAIN();
