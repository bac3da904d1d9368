#include "tests/raft_sim/shorten.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace millrace::raft::sim {
namespace {

// What is broken: the violation's text up to its colon. A process that dies: "death".
constexpr size_t kKindMax = 200;

std::string KindOf(const std::string& violation) {
  return violation.substr(0, std::min(violation.find(':'), kKindMax));
}

void DropFaults(Plan* plan, const std::string& kind) {
  for (int i = 0; i < kFaultCount; ++i) {
    Plan without = *plan;
    without.without.set(static_cast<size_t>(i));
    if (without.without == plan->without || FailureOf(without) != kind) continue;
    std::printf("still fails without %s\n", std::string(Name(static_cast<Fault>(i))).c_str());
    *plan = without;
  }
}

// A run of fewer events is a prefix of the longer one, so failures under faults show at the first length that reaches them; those
// of the quiet phase come and go, and any shorter run that fails will do.
void DropEvents(Plan* plan, const std::string& kind) {
  for (uint64_t step = plan->events / 2; step > 0; step /= 2) {
    while (plan->events > step) {
      Plan shorter = *plan;
      shorter.events -= step;
      if (FailureOf(shorter) != kind) break;
      *plan = shorter;
    }
  }
  std::printf("still fails with %lu events\n", static_cast<unsigned long>(plan->events));
}

}  // namespace

std::string FailureOf(const Plan& plan) {
  std::fflush(stdout);
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  const pid_t child = fork();
  if (child == 0) {
    const int nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    Coverage coverage;
    const std::string kind = KindOf(Simulate(plan, coverage).violation);
    _exit(write(ends[1], kind.data(), kind.size()) == static_cast<ssize_t>(kind.size()) ? 0 : 1);
  }
  close(ends[1]);
  char kind[kKindMax];
  const ssize_t length = read(ends[0], kind, sizeof(kind));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return "death";
  return std::string(kind, static_cast<size_t>(std::max<ssize_t>(length, 0)));
}

std::optional<Plan> Shorten(Plan plan) {
  const std::string kind = FailureOf(plan);
  if (kind.empty()) return std::nullopt;
  DropEvents(&plan, kind);
  DropFaults(&plan, kind);
  DropEvents(&plan, kind);
  return plan;
}

}  // namespace millrace::raft::sim
