// cluster_simulation: the command line. README.md has the faults, the promises and how to repeat a seed.
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "server/log.h"
#include "tests/cluster_sim/runner.h"

namespace millrace::sim {
namespace {

constexpr char kUsage[] =
    R"(cluster_simulation: brokers and clients of a cluster in one thread, from one seed, under faults.
  --seeds N           how many seeds (default 2000)
  --minutes M         begin no seed after M minutes (or --seconds S)
  --first-seed S      the seeds are S, S + 1, … (default: from the clock, and printed)
  --jobs N            processes (default 2)
  --regressions FILE  seeds to run first, one a line
  --keep-going        after a failure, too
  --no-coverage       do not fail when a rare state was not reached
  --seed S            run this seed only; prints its hash
  --steps N           with --seed: so many steps with faults
  --without A,B       leave out these faults (numbers: their rows in the table, from 0)
  --trace             with --seed: print what happens
  --log               with --seed: the brokers' log, too
)";

struct Flags {
  RunOptions run;
  Plan plan{.seed = 0};
  bool coverage = true;
  bool log = false;
};

[[noreturn]] void ExitWithUsage(std::string_view problem) {
  std::fprintf(stderr, "cluster_simulation: %s\n%s", std::string(problem).c_str(), kUsage);
  std::exit(2);
}

uint64_t Number(const char* text) {
  uint64_t number = 0;
  if (text == nullptr || !absl::SimpleAtoi(text, &number)) ExitWithUsage("a number is missing");
  return number;
}

FaultSet FaultsNumbered(const char* text) {
  FaultSet faults;
  if (text == nullptr) ExitWithUsage("--without needs numbers");
  for (const std::string& number : std::vector<std::string>(absl::StrSplit(text, ','))) {
    const uint64_t fault = Number(number.c_str());
    if (fault >= kFaultCount) ExitWithUsage("no such fault: " + number);
    faults.set(fault);
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
    } else if (flag == "--jobs") {
      flags.run.jobs = static_cast<int>(Number(value()));
    } else if (flag == "--regressions") {
      flags.run.regressions = ReadSeeds(value());
    } else if (flag == "--keep-going") {
      flags.run.keep_going = true;
    } else if (flag == "--no-coverage") {
      flags.coverage = false;
    } else if (flag == "--seed") {
      flags.plan.seed = Number(value());
    } else if (flag == "--steps") {
      flags.plan.steps = static_cast<int>(Number(value()));
    } else if (flag == "--without") {
      flags.plan.without = flags.run.without = FaultsNumbered(value());
    } else if (flag == "--trace") {
      flags.plan.trace = true;
    } else if (flag == "--log") {
      flags.log = true;
    } else {
      ExitWithUsage("unknown flag: " + std::string(flag));
    }
  }
  return flags;
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
  std::printf("first seed %lu\n", static_cast<unsigned long>(flags.run.first_seed));
  const RunResult result = RunSeeds(flags.run);
  // Processor time: other work on the machine does not change what the simulator costs.
  rusage used;
  getrusage(RUSAGE_CHILDREN, &used);
  const double seconds = static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                         1e-6 * static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
  std::printf("%s", result.coverage.Table().c_str());
  std::printf("%lu seeds, %.3f s of processor time each; hash %016lx\n",
              static_cast<unsigned long>(result.coverage.seeds), seconds / static_cast<double>(result.coverage.seeds),
              static_cast<unsigned long>(result.hash));
  for (uint64_t seed : result.failed) std::printf("FAILED seed %lu\n", static_cast<unsigned long>(seed));
  if (!result.failed.empty()) return 1;
  if (flags.coverage && !result.coverage.Complete()) {
    std::printf("FAILED: a state or fault above was not reached\n");
    return 1;
  }
  return 0;
}

int Main(int argc, char** argv) {
  const Flags flags = Parse(argc, argv);
  if (!flags.log) log::SetSink([](std::string_view) {});
  log::SetLevel(flags.log ? log::Level::kDebug : log::Level::kError);
  return flags.plan.seed != 0 ? RunOneSeed(flags.plan) : RunMany(flags);
}

}  // namespace
}  // namespace millrace::sim

int main(int argc, char** argv) { return millrace::sim::Main(argc, argv); }
