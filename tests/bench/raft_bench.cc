// What the Raft core costs, without disk and network (Google Benchmark, one core):
//
//   raft_bench
//
// leader/B: a leader with two followers takes batches of B proposals of 64 KiB by reference, gives its Ready, hears that its own
// write and both followers' are durable. Items are entries. quiet_groups: ticks of 10,000 idle groups; bytes_per_group is what the
// heap grew by for each.
#include <malloc.h>

#include <memory>
#include <vector>

#include "benchmark/benchmark.h"
#include "raft/core.h"

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

// Both followers' acks of what the leader has sent.
void AckAll(Core& core) {
  for (int from : {2, 3}) {
    Step(core, from, core.term(),
         AppendReply{.accepted = true, .match = core.last_index(), .last_index = core.last_index()});
  }
}

void Leader(benchmark::State& state) {
  const Config config{.quiesce_ticks = 0};
  SeededRandom random(1);
  auto core = MakeCore(config, 1, 3, random);
  core->Campaign();
  Drain(*core);
  Step(*core, 2, Term(0), VoteReply{.granted = true, .pre_vote = true});
  Drain(*core);
  Step(*core, 2, Term(1), VoteReply{.granted = true, .asked = Term(1)});
  Drain(*core);
  AckAll(*core);
  Drain(*core);
  const absl::Cord payload(std::string(64 << 10, 'x'));
  const auto batch = state.range(0);
  for (auto _ : state) {
    for (int64_t i = 0; i < batch; ++i) {
      benchmark::DoNotOptimize(core->Propose({.header = {.record_count = 64}, .payload = payload}));
    }
    benchmark::DoNotOptimize(Drain(*core));
    AckAll(*core);
  }
  Drain(*core);
  if (core->commit_index() != core->last_index()) state.SkipWithError("not all was committed");
  state.SetItemsProcessed(state.iterations() * batch);
}
BENCHMARK(Leader)->Name("leader")->Arg(1)->Arg(4)->Arg(16)->Arg(64);

// A pair of replicas of each group, quiet, of which one is measured.
void QuietGroups(benchmark::State& state) {
  constexpr int kGroups = 10'000;
  const Config config{.quiesce_ticks = 2};
  SeededRandom random(1);
  std::vector<std::unique_ptr<Core>> cores;
  cores.reserve(kGroups);
  const size_t before = mallinfo2().uordblks;
  for (int i = 0; i < kGroups; ++i) {
    auto core = MakeCore(config, 2, 3, random);
    Step(*core, 1, Term(1),
         AppendEntries{.entries = {Entry{.header = {.type = EntryType::kNoop, .term = Term(1), .index = LogIndex(1)}}},
                       .commit = LogIndex(1)});
    Drain(*core);
    Step(*core, 1, Term(1), Heartbeat{.commit = LogIndex(1), .quiesce = true, .last_index = LogIndex(1)});
    Drain(*core);
    if (!core->quiet()) return state.SkipWithError("a group is not quiet");
    cores.push_back(std::move(core));
  }
  state.counters["bytes_per_group"] = static_cast<double>(mallinfo2().uordblks - before) / kGroups;
  state.counters["sizeof_core"] = sizeof(Core);
  for (auto _ : state) {
    for (auto& core : cores) core->Tick();
  }
  state.SetItemsProcessed(state.iterations() * kGroups);
}
BENCHMARK(QuietGroups)->Name("quiet_groups");

}  // namespace
}  // namespace millrace::raft

BENCHMARK_MAIN();
