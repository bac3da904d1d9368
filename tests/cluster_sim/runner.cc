#include "tests/cluster_sim/runner.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <ctime>
#include <new>

#include "absl/strings/str_cat.h"

namespace millrace::sim {
namespace {

constexpr int kJobsMax = 64;
constexpr size_t kFailuresMax = 256;

// What the processes share.
struct Board {
  struct Worker {
    Coverage coverage;
    uint64_t hash = 0;
    uint64_t seed = 0;  // the one that runs
    uint64_t failed[kFailuresMax];
    size_t failures = 0;

    void Fail() {
      if (failures < kFailuresMax) failed[failures++] = seed;
    }
  };

  std::atomic<uint64_t> next{0};
  std::atomic<bool> stop{false};
  Worker workers[kJobsMax];
};

int64_t SecondsNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

uint64_t SeedAt(const RunOptions& options, uint64_t number) {
  const uint64_t regressions = options.regressions.size();
  return number < regressions ? options.regressions[number] : options.first_seed + number - regressions;
}

void PrintFailure(const Plan& plan, const Result& result) {
  const std::string text =
      absl::StrCat("FAILED: ", result.violation, "\n", result.report, "repeat: ", Command(plan), "\n");
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

// False when the seed fails.
bool RunOne(const RunOptions& options, uint64_t seed, Board::Worker& worker) {
  const Plan plan{.seed = seed, .without = options.without};
  Result result = Simulate(plan, worker.coverage);
  if (result.violation.empty() && seed % 100 == 0) {
    Coverage ignored;
    const uint64_t again = Simulate(plan, ignored).hash;
    if (again != result.hash) result.violation = "determinism: the same seed gives two hashes";
  }
  // A sum: the order in which the processes take seeds does not matter.
  worker.hash += result.hash;
  if (!result.violation.empty()) PrintFailure(plan, result);
  return result.violation.empty();
}

void Work(const RunOptions& options, Board& board, Board::Worker& worker, int64_t deadline) {
  const uint64_t count = options.seeds + options.regressions.size();
  while (!board.stop) {
    const uint64_t number = board.next++;
    if (number >= count || (deadline > 0 && SecondsNow() >= deadline)) return;
    worker.seed = SeedAt(options, number);
    if (RunOne(options, worker.seed, worker)) continue;
    worker.Fail();
    if (!options.keep_going) board.stop = true;
  }
}

}  // namespace

RunResult RunSeeds(const RunOptions& options) {
  void* memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  Board& board = *new (memory) Board;
  const int64_t deadline = options.seconds > 0 ? SecondsNow() + options.seconds : 0;
  const int jobs = std::min(options.jobs, kJobsMax);
  std::fflush(stdout);
  std::vector<pid_t> children;
  for (int i = 0; i < jobs; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      Work(options, board, board.workers[i], deadline);
      _exit(0);
    }
    children.push_back(child);
  }
  RunResult result;
  for (int i = 0; i < jobs; ++i) {
    int status = 0;
    waitpid(children[static_cast<size_t>(i)], &status, 0);
    Board::Worker& worker = board.workers[i];
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      const Plan plan{.seed = worker.seed, .without = options.without};
      std::printf("FAILED: the process died (its last words are above)\nrepeat: %s --trace\n", Command(plan).c_str());
      worker.Fail();
      board.stop = true;
    }
    result.coverage.Add(worker.coverage);
    result.hash += worker.hash;
    result.failed.insert(result.failed.end(), worker.failed, worker.failed + worker.failures);
  }
  munmap(memory, sizeof(Board));
  return result;
}

}  // namespace millrace::sim
