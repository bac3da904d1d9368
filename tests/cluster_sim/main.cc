// cluster_simulation: the command line. README.md has the faults, the promises and how to repeat a seed.
#include <cstdio>
#include <string>
#include <string_view>

#include "absl/strings/numbers.h"
#include "server/log.h"
#include "tests/cluster_sim/coverage.h"
#include "tests/cluster_sim/simulation.h"
#include "tests/cluster_sim/swarm.h"
#include "tests/support/seed_flags.h"
#include "tests/support/seed_runner.h"

namespace millrace::sim {
namespace {

constexpr char kAbout[] = "brokers and clients of a cluster in one thread, from one seed, under faults.";
constexpr char kOwnFlags[] =
    R"(  --steps N           with --seed: so many steps with faults
  --without A,B       leave out these faults (numbers: their rows in the table, from 0)
  --log               with --seed: the brokers' log, too
)";

struct Flags {
  SeedFlags seeds{"cluster_simulation", kAbout, kOwnFlags, 2000};
  Plan plan;
  bool log = false;
};

FaultSet FaultsNumbered(SeedFlags& flags) {
  FaultSet faults;
  for (const std::string& text : flags.List()) {
    size_t fault = 0;
    if (!absl::SimpleAtoi(text, &fault) || fault >= kFaultCount) flags.Refuse("no such fault: " + text);
    faults.set(fault);
  }
  return faults;
}

void Parse(int argc, char** argv, Flags& flags) {
  SeedFlags& seeds = flags.seeds;
  for (seeds.Begin(argc, argv); seeds.Next();) {
    if (seeds.Is("--steps")) {
      flags.plan.steps = static_cast<int>(seeds.Number());
    } else if (seeds.Is("--without")) {
      flags.plan.without = FaultsNumbered(seeds);
    } else if (seeds.Is("--log")) {
      flags.log = true;
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
  std::printf("%s\n", ToString(DrawSwarm(plan.seed)).c_str());
  std::fflush(stdout);
  Coverage coverage;
  const Result result = Simulate(plan, coverage);
  if (!result.violation.empty()) std::printf("FAILED: %s\n%s", result.violation.c_str(), result.report.c_str());
  std::printf("seed %lu: hash %016lx\n", static_cast<unsigned long>(plan.seed),
              static_cast<unsigned long>(result.hash));
  return result.violation.empty() ? 0 : 1;
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
  std::printf("%lu seeds, %.3f s of processor time each; hash %016lx\n",
              static_cast<unsigned long>(result.coverage.seeds),
              ProcessorSecondsOfChildren() / static_cast<double>(result.coverage.seeds),
              static_cast<unsigned long>(result.hash));
  for (uint64_t seed : result.failed) std::printf("FAILED seed %lu\n", static_cast<unsigned long>(seed));
  if (!result.failed.empty()) return 1;
  if (flags.seeds.coverage && !result.coverage.Complete()) {
    std::printf("FAILED: a state or fault above was not reached\n");
    return 1;
  }
  return 0;
}

int Main(int argc, char** argv) {
  Flags flags;
  Parse(argc, argv, flags);
  if (!flags.log) log::SetSink([](std::string_view) {});
  log::SetLevel(flags.log ? log::Level::kDebug : log::Level::kError);
  return flags.seeds.seed ? RunOneSeed(WithSeed(flags.plan, *flags.seeds.seed)) : RunMany(flags);
}

}  // namespace
}  // namespace millrace::sim

int main(int argc, char** argv) { return millrace::sim::Main(argc, argv); }
