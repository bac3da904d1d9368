// The topics of a run, and what an operator does to them.
//
//     Topics topics(world, cluster.addresses());
//     topics.Create(); … topics.created();
//     topics.Step();
#pragma once

#include <string>
#include <vector>

#include "tests/cluster_sim/clients.h"
#include "tests/cluster_sim/world.h"

namespace millrace::sim {

class Topics {
 public:
  static constexpr char kVanishing[] = "vanishing";
  static constexpr char kLone[] = "lone";
  static constexpr int kReplicas = 3;  // of all but that

  Topics(World& world, const std::vector<std::string>& bootstrap);

  void Create();
  bool created() const { return missing_ == 0; }
  void Step();
  // Nothing is on its way any more.
  bool quiet() const { return asked_ == 0; }

  // Where records go.
  Place Pick();
  // What consumers read: not what is deleted.
  std::vector<std::string> readable() const;

 private:
  void CreateOne(const std::string& name, int replicas);
  void Ask(Fault fault, const char* method, absl::Cord request);
  void Trim();
  void Alter();
  void AddPartition();
  void Replace();

  World& world_;
  SimOperator operator_;
  std::vector<std::string> names_;
  std::map<std::string, int> partitions_;
  int missing_ = 0;  // creations that were not answered
  int asked_ = 0;    // other changes
};

}  // namespace millrace::sim
