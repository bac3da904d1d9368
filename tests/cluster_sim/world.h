// What everything in a run shares. One run, one thread.
#pragma once

#include <string>

#include "tests/cluster_sim/coverage.h"
#include "tests/cluster_sim/dice.h"
#include "tests/cluster_sim/ledger.h"
#include "tests/cluster_sim/swarm.h"
#include "tests/support/sim_cluster.h"
#include "tests/support/sim_executor.h"
#include "tests/support/sim_network.h"

namespace millrace::sim {

struct World {
  World(const Swarm& s, Coverage& c) : swarm(s), coverage(c), dice(s.seed), ledger(s.value_bytes) {}

  const Swarm swarm;
  Coverage& coverage;
  bool trace = false;
  Dice dice;
  SimExecutor executor;
  SimNetwork network{executor};
  Ledger ledger;

  double now() { return static_cast<double>(executor.clock().Monotonic().count()) / 1e9; }
  void Trace(const std::string& what);
};

}  // namespace millrace::sim
