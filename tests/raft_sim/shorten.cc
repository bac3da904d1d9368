#include "tests/raft_sim/shorten.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

namespace millrace::raft::sim {
namespace {

void DropFaults(Plan* plan) {
  for (int i = 0; i < kFaultCount; ++i) {
    Plan without = *plan;
    without.without.set(static_cast<size_t>(i));
    if (without.without == plan->without || !FailsAlone(without)) continue;
    std::printf("still fails without %s\n", std::string(Name(static_cast<Fault>(i))).c_str());
    *plan = without;
  }
}

// A run of fewer events is a prefix of the longer one, so failures under faults show at the first length that reaches them; those
// of the quiet phase come and go, and any shorter run that fails will do.
void DropEvents(Plan* plan) {
  for (uint64_t step = plan->events / 2; step > 0; step /= 2) {
    while (plan->events > step) {
      Plan shorter = *plan;
      shorter.events -= step;
      if (!FailsAlone(shorter)) break;
      *plan = shorter;
    }
  }
  std::printf("still fails with %lu events\n", static_cast<unsigned long>(plan->events));
}

}  // namespace

bool FailsAlone(const Plan& plan) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    const int nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    Coverage coverage;
    _exit(Simulate(plan, coverage).violation.empty() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

Plan Shorten(Plan plan) {
  if (!FailsAlone(plan)) return plan;
  DropEvents(&plan);
  DropFaults(&plan);
  DropEvents(&plan);
  return plan;
}

}  // namespace millrace::raft::sim
