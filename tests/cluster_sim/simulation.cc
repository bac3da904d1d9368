#include "tests/cluster_sim/simulation.h"

#include "absl/strings/str_cat.h"
#include "tests/cluster_sim/run.h"

namespace millrace::sim {

Result Simulate(const Plan& plan, Coverage& coverage) {
  Swarm swarm = DrawSwarm(plan.seed);
  if (plan.steps > 0) swarm.steps = plan.steps;
  swarm.faults &= ~plan.without;
  Run run(swarm, coverage, plan.trace);
  if (run.Begin()) {
    run.Disturb();
    if (run.ledger().violation().empty() && run.Settle()) run.Check();
  }
  Result result{.violation = run.ledger().violation(), .hash = run.hash()};
  if (!result.violation.empty()) result.report = run.Report();
  return result;
}

std::string Command(const Plan& plan) {
  std::string command = absl::StrCat("cluster_simulation --seed ", plan.seed);
  if (plan.steps > 0) absl::StrAppend(&command, " --steps ", plan.steps);
  std::string without;
  for (size_t fault = 0; fault < kFaultCount; ++fault) {
    if (plan.without.test(fault)) absl::StrAppend(&without, without.empty() ? "" : ",", fault);
  }
  if (!without.empty()) absl::StrAppend(&command, " --without ", without);
  return command;
}

}  // namespace millrace::sim
