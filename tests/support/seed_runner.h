// Many seeds of a simulation on several cores: one process each, which take the next seed from a common counter.
//
//     const RunResult<Coverage> result = RunSeeds<Coverage>(
//         options, [](uint64_t seed, Coverage& coverage) { return SeedOutcome{…}; },
//         [](uint64_t seed) { return "simulation --seed " + std::to_string(seed); });
//
// Prints each failure with the command that repeats it. One seed in a hundred runs twice and must give the same hash. Coverage is plain
// data (the processes share its memory) with Add(const Coverage&).
#pragma once

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <limits>
#include <map>
#include <new>
#include <string>
#include <vector>

namespace millrace {

struct RunOptions {
  std::vector<uint64_t> regressions;  // run first
  uint64_t seeds = std::numeric_limits<uint64_t>::max();
  int64_t seconds = 0;  // no new seed is begun after them; 0: no limit
  uint64_t first_seed = 1;
  int jobs = 2;
  bool keep_going = false;  // after a failure
};

struct SeedOutcome {
  uint64_t hash = 0;
  std::string violation;  // empty: none
  std::string report;     // with a violation
};

template <class Coverage>
struct RunResult {
  Coverage coverage;
  uint64_t hash = 0;  // of all seeds' hashes
  std::vector<uint64_t> failed;
};

template <class Coverage>
class SeedRunner {
 public:
  using Simulate = std::function<SeedOutcome(uint64_t seed, Coverage& coverage)>;
  using Command = std::function<std::string(uint64_t seed)>;

  static constexpr int kJobsMax = 64;

  SeedRunner(const RunOptions& options, Simulate simulate, Command command)
      : options_(options), simulate_(std::move(simulate)), command_(std::move(command)) {
    void* memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    board_ = new (memory) Board;
    if (options.seconds > 0) deadline_ = Now() + options.seconds;
  }
  ~SeedRunner() { munmap(board_, sizeof(Board)); }
  SeedRunner(const SeedRunner&) = delete;

  RunResult<Coverage> Run() {
    std::fflush(stdout);
    std::map<pid_t, Worker*> workers;
    for (int i = 0; i < std::min(options_.jobs, kJobsMax); ++i) {
      Worker& worker = board_->workers[i];
      const pid_t child = fork();
      if (child == 0) {
        Work(worker);
        _exit(0);
      }
      workers[child] = &worker;
    }
    RunResult<Coverage> result;
    while (!workers.empty()) {
      int status = 0;
      const auto ended = workers.find(waitpid(-1, &status, 0));
      if (ended == workers.end()) continue;
      Worker& worker = *ended->second;
      workers.erase(ended);
      if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) OnDeath(worker);
      result.coverage.Add(worker.coverage);
      result.hash += worker.hash;
      result.failed.insert(result.failed.end(), worker.failed, worker.failed + worker.failures);
    }
    return result;
  }

 private:
  static constexpr size_t kFailuresMax = 256;

  struct Worker {
    Coverage coverage;
    uint64_t hash = 0;
    uint64_t seed = 0;  // the one that runs
    uint64_t failed[kFailuresMax];
    size_t failures = 0;
  };

  // What the processes share.
  struct Board {
    std::atomic<uint64_t> next{0};
    std::atomic<bool> stop{false};
    Worker workers[kJobsMax];
  };

  static int64_t Now() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
  }

  void Work(Worker& worker) {
    while (!board_->stop && (deadline_ == 0 || Now() < deadline_)) {
      const uint64_t number = board_->next++;
      const uint64_t regressions = options_.regressions.size();
      if (number >= regressions && number - regressions >= options_.seeds) return;
      worker.seed = number < regressions ? options_.regressions[number] : options_.first_seed + (number - regressions);
      if (!RunOne(worker)) Fail(worker);
    }
  }

  bool RunOne(Worker& worker) {
    SeedOutcome outcome = simulate_(worker.seed, worker.coverage);
    if (outcome.violation.empty() && worker.seed % 100 == 0) {
      Coverage ignored;
      if (simulate_(worker.seed, ignored).hash != outcome.hash) {
        outcome.violation = "determinism: the same seed gives two hashes";
      }
    }
    // A sum: the order in which the processes take seeds does not matter.
    worker.hash += outcome.hash;
    if (outcome.violation.empty()) return true;
    std::printf("FAILED: %s\n%srepeat: %s\n", outcome.violation.c_str(), outcome.report.c_str(),
                command_(worker.seed).c_str());
    std::fflush(stdout);
    return false;
  }

  void OnDeath(Worker& worker) {
    std::printf("FAILED: the process died (its last words are above)\nrepeat: %s --trace\n",
                command_(worker.seed).c_str());
    std::fflush(stdout);
    Fail(worker);
  }

  void Fail(Worker& worker) {
    if (worker.failures < kFailuresMax) worker.failed[worker.failures++] = worker.seed;
    if (!options_.keep_going) board_->stop = true;
  }

  const RunOptions& options_;
  const Simulate simulate_;
  const Command command_;
  Board* board_ = nullptr;
  int64_t deadline_ = 0;
};

template <class Coverage>
RunResult<Coverage> RunSeeds(const RunOptions& options, typename SeedRunner<Coverage>::Simulate simulate,
                             typename SeedRunner<Coverage>::Command command) {
  return SeedRunner<Coverage>(options, std::move(simulate), std::move(command)).Run();
}

}  // namespace millrace
