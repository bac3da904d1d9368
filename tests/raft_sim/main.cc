// raft_simulation: the command line. README.md has the faults, the invariants and how to repeat a seed.
#include <cstdio>
#include <optional>
#include <string>

#include "tests/raft_sim/faults.h"
#include "tests/raft_sim/shorten.h"
#include "tests/raft_sim/simulation.h"
#include "tests/support/seed_flags.h"
#include "tests/support/seed_runner.h"

namespace millrace::raft::sim {
namespace {

constexpr char kAbout[] = "many replicas of one Raft group in one thread, from one seed, under faults.";
constexpr char kOwnFlags[] =
    R"(  --events N          events of a seed until its faults end (default 10000)
  --without A,B       leave out these kinds of faults
  --shorten S         make the failing seed S fail with less, and print the command
)";

struct Flags {
  SeedFlags seeds{"raft_simulation", kAbout, kOwnFlags, 1000};
  Plan plan;
  std::optional<uint64_t> shorten;
};

FaultSet FaultsNamed(SeedFlags& flags) {
  FaultSet faults;
  for (const std::string& name : flags.List()) {
    const std::optional<Fault> fault = FaultNamed(name);
    if (!fault) flags.Refuse("no such fault: " + name);
    faults.set(static_cast<size_t>(*fault));
  }
  return faults;
}

void Parse(int argc, char** argv, Flags& flags) {
  SeedFlags& seeds = flags.seeds;
  for (seeds.Begin(argc, argv); seeds.Next();) {
    if (seeds.Is("--events")) {
      flags.plan.events = seeds.Number();
    } else if (seeds.Is("--without")) {
      flags.plan.without = FaultsNamed(seeds);
    } else if (seeds.Is("--shorten")) {
      flags.shorten = seeds.Number();
    } else if (!seeds.Take()) {
      seeds.Refuse();
    }
  }
  flags.plan.trace = seeds.trace;
}

Plan WithSeed(Plan plan, uint64_t seed) {
  plan.seed = seed;
  return plan;
}

int RunOneSeed(const Plan& plan) {
  std::printf("%s\n", ToString(DrawSwarm(plan.seed, plan.without)).c_str());
  std::fflush(stdout);
  Coverage coverage;
  const Result result = Simulate(plan, coverage);
  if (!result.violation.empty()) {
    std::printf("FAILED: %s\n%s", result.violation.c_str(), result.report.c_str());
  }
  std::printf("seed %lu: %lu events, hash %016lx\n", static_cast<unsigned long>(plan.seed),
              static_cast<unsigned long>(result.events), static_cast<unsigned long>(result.hash));
  return result.violation.empty() ? 0 : 1;
}

int ShortenOne(const Plan& plan) {
  const std::optional<Plan> shorter = Shorten(plan);
  if (!shorter) {
    std::fprintf(stderr, "raft_simulation: seed %lu does not fail\n", static_cast<unsigned long>(plan.seed));
    return 2;
  }
  std::printf("%s\n", Command(*shorter).c_str());
  return 0;
}

int RunMany(const Flags& flags) {
  std::printf("first seed %lu\n", static_cast<unsigned long>(flags.seeds.run.first_seed));
  const auto result = RunSeeds<Coverage>(
      flags.seeds.run,
      [&flags](uint64_t seed, Coverage& coverage) {
        Result one = Simulate(WithSeed(flags.plan, seed), coverage);
        return SeedOutcome{one.hash, std::move(one.violation), std::move(one.report)};
      },
      [&flags](uint64_t seed) { return Command(WithSeed(flags.plan, seed)); });
  std::printf("%s", result.coverage.Table().c_str());
  std::printf("%lu seeds, %lu events, %.0f a second of processor time; hash %016lx\n",
              static_cast<unsigned long>(result.coverage.seeds), static_cast<unsigned long>(result.coverage.events),
              static_cast<double>(result.coverage.events) / ProcessorSecondsOfChildren(),
              static_cast<unsigned long>(result.hash));
  for (uint64_t seed : result.failed) std::printf("FAILED seed %lu\n", static_cast<unsigned long>(seed));
  if (!result.failed.empty()) return 1;
  if (flags.seeds.coverage && !result.coverage.Complete()) {
    std::printf("FAILED: a rare state above was not reached\n");
    return 1;
  }
  return 0;
}

int Main(int argc, char** argv) {
  Flags flags;
  Parse(argc, argv, flags);
  if (flags.shorten) return ShortenOne(WithSeed(flags.plan, *flags.shorten));
  return flags.seeds.seed ? RunOneSeed(WithSeed(flags.plan, *flags.seeds.seed)) : RunMany(flags);
}

}  // namespace
}  // namespace millrace::raft::sim

int main(int argc, char** argv) { return millrace::raft::sim::Main(argc, argv); }
