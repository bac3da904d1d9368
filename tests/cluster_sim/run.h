// The parts of one run, in the order in which they happen; simulation.h is what to use.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/cluster_sim/clients.h"
#include "tests/cluster_sim/copies.h"
#include "tests/cluster_sim/members.h"
#include "tests/cluster_sim/nemesis.h"
#include "tests/cluster_sim/topics.h"
#include "tests/cluster_sim/world.h"

namespace millrace::sim {

class Run {
 public:
  Run(const Swarm& swarm, Coverage& coverage, bool trace);
  ~Run();

  // False when there is no point in going on: ledger().violation() says why.
  bool Begin();
  void Disturb();
  bool Settle();
  void Check();

  Ledger& ledger() { return world_.ledger; }
  uint64_t hash() const { return world_.network.hash(); }
  std::string Report();

 private:
  void MakeClients();
  void AddNamedProducer();
  void Advance(std::chrono::nanoseconds by);
  void SendSome();
  void Watch();
  void CheckCopies(const Place& place, int64_t offset, const char* what);
  bool Await(std::chrono::seconds at_most, const std::string& what, const std::function<std::string()>& missing);
  std::string Unread(const SimConsumer& consumer);

  World world_;
  std::unique_ptr<Nemesis> nemesis_;  // the cluster's disks and the network ask it for times
  std::unique_ptr<SimCluster> cluster_;
  std::unique_ptr<Copies> copies_;
  std::unique_ptr<Topics> topics_;
  std::vector<std::unique_ptr<SimProducer>> producers_;
  std::vector<std::unique_ptr<SimConsumer>> consumers_;
  std::unique_ptr<Crowd> crowd_;
  std::map<raft::GroupId, int> leaders_;
  bool counted_up_ = false;
  int named_producers_ = 0;
  SimProducer* last_named_ = nullptr;
};

}  // namespace millrace::sim
