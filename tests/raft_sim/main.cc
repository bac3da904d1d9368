// raft_simulation: the command line. README.md has the faults, the invariants and how to repeat a seed.
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "tests/raft_sim/runner.h"
#include "tests/raft_sim/shorten.h"

namespace millrace::raft::sim {
namespace {

constexpr char kUsage[] =
    R"(raft_simulation: many replicas of one Raft group in one thread, from one seed, under faults.
  --seeds N           how many seeds (default 1000)
  --minutes M         begin no seed after M minutes (or --seconds S)
  --first-seed S      the seeds are S, S + 1, … (default: from the clock, and printed)
  --events N          events of a seed until its faults end (default 10000)
  --jobs N            processes (default 2)
  --regressions FILE  seeds to run first, one a line
  --no-coverage       do not fail when a rare state was not reached
  --seed S            run this seed only; prints its hash
  --trace             with --seed: print each event
  --without A,B       leave out these kinds of faults
  --shorten S         make the failing seed S fail with less, and print the command
)";

struct Flags {
  RunOptions run;
  uint64_t seed = 0;
  uint64_t shorten = 0;
  bool trace = false;
  bool coverage = true;
};

[[noreturn]] void ExitWithUsage(std::string_view problem) {
  std::fprintf(stderr, "raft_simulation: %s\n%s", std::string(problem).c_str(), kUsage);
  std::exit(2);
}

uint64_t Number(const char* text) {
  uint64_t number = 0;
  if (text == nullptr || !absl::SimpleAtoi(text, &number)) ExitWithUsage("a number is missing");
  return number;
}

FaultSet FaultsNamed(const char* text) {
  FaultSet faults;
  if (text == nullptr) ExitWithUsage("--without needs names");
  for (const std::string& name : std::vector<std::string>(absl::StrSplit(text, ','))) {
    const std::optional<Fault> fault = FaultNamed(name);
    if (!fault) ExitWithUsage("no such fault: " + name);
    faults.set(static_cast<size_t>(*fault));
  }
  return faults;
}

std::vector<uint64_t> ReadSeeds(const char* path) {
  std::vector<uint64_t> seeds;
  std::ifstream file(path == nullptr ? "" : path);
  if (!file) ExitWithUsage("the file of --regressions cannot be read");
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line[0] != '#') seeds.push_back(Number(line.substr(0, line.find(' ')).c_str()));
  }
  return seeds;
}

Flags Parse(int argc, char** argv) {
  Flags flags;
  flags.run.first_seed = static_cast<uint64_t>(std::time(nullptr)) * 1'000'000;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    auto value = [&]() -> const char* { return ++i < argc ? argv[i] : nullptr; };
    if (flag == "--seeds") {
      flags.run.seeds = Number(value());
    } else if (flag == "--minutes") {
      flags.run.seconds = static_cast<int>(Number(value())) * 60;
    } else if (flag == "--seconds") {
      flags.run.seconds = static_cast<int>(Number(value()));
    } else if (flag == "--first-seed") {
      flags.run.first_seed = Number(value());
    } else if (flag == "--events") {
      flags.run.events = Number(value());
    } else if (flag == "--jobs") {
      flags.run.jobs = static_cast<int>(Number(value()));
    } else if (flag == "--regressions") {
      flags.run.regressions = ReadSeeds(value());
    } else if (flag == "--seed") {
      flags.seed = Number(value());
    } else if (flag == "--shorten") {
      flags.shorten = Number(value());
    } else if (flag == "--without") {
      flags.run.without = FaultsNamed(value());
    } else if (flag == "--trace") {
      flags.trace = true;
    } else if (flag == "--no-coverage") {
      flags.coverage = false;
    } else {
      ExitWithUsage("unknown flag: " + std::string(flag));
    }
  }
  return flags;
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

int RunMany(const Flags& flags) {
  std::printf("first seed %lu\n", static_cast<unsigned long>(flags.run.first_seed));
  const RunResult result = RunSeeds(flags.run);
  // Processor time: other work on the machine does not change what the simulator costs.
  rusage used;
  getrusage(RUSAGE_CHILDREN, &used);
  const double seconds = static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                         1e-6 * static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
  std::printf("%s", result.coverage.Table().c_str());
  std::printf("%lu seeds, %lu events, %.0f a second of processor time; hash %016lx\n",
              static_cast<unsigned long>(result.coverage.seeds), static_cast<unsigned long>(result.coverage.events),
              static_cast<double>(result.coverage.events) / seconds, static_cast<unsigned long>(result.hash));
  for (uint64_t seed : result.failed) std::printf("FAILED seed %lu\n", static_cast<unsigned long>(seed));
  if (!result.failed.empty()) return 1;
  if (flags.coverage && !result.coverage.Complete()) {
    std::printf("FAILED: a rare state above was not reached\n");
    return 1;
  }
  return 0;
}

int Main(int argc, char** argv) {
  const Flags flags = Parse(argc, argv);
  Plan plan{.seed = flags.seed, .events = flags.run.events, .without = flags.run.without, .trace = flags.trace};
  if (flags.shorten != 0) {
    plan.seed = flags.shorten;
    std::printf("%s\n", Command(Shorten(plan)).c_str());
    return 0;
  }
  return flags.seed != 0 ? RunOneSeed(plan) : RunMany(flags);
}

}  // namespace
}  // namespace millrace::raft::sim

int main(int argc, char** argv) { return millrace::raft::sim::Main(argc, argv); }
