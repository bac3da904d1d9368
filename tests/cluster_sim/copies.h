// What the disks of a cluster hold of each partition, held against the ledger and against each other: the records, not only how many.
//
//     Copies copies(world, cluster);
//     copies.Missing(place, offset);       // whenever somebody is told of a record
//     copies.Lagging(); copies.Unequal();  // once all is done
//
// Each answers with what is wrong; empty: nothing.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/cluster_sim/world.h"

namespace millrace::sim {

class Copies {
 public:
  Copies(World& world, SimCluster& cluster) : world_(world), cluster_(cluster) {}

  // A majority has the record that the ledger knows there, as durable as the topic says.
  std::string Missing(const Place& place, int64_t offset);
  // All replicas go as far as each other. It may take its time.
  std::string Lagging();
  // All replicas hold the same, entry by entry, where two have kept it.
  std::string Unequal();

 private:
  enum class Held { kRecord, kTrimmed, kOther, kNothing };

  // Of one partition, or of the metadata.
  struct Log {
    std::string name;
    raft::GroupId group;
    std::vector<raft::ReplicaId> replicas;
  };

  FakeLogStore& DiskOf(const raft::ReplicaId& replica) {
    return cluster_.disk(static_cast<int>(replica.broker.value()));
  }
  Held HeldBy(const FakeLogStore& disk, raft::GroupId group, raft::Offset offset, const std::string& value);
  // The first of what `check` says of all logs.
  std::string OfEach(const std::function<std::string(const Log&)>& check);
  std::string LaggingOf(const Log& log);
  std::string UnequalOf(const Log& log);

  World& world_;
  SimCluster& cluster_;
};

}  // namespace millrace::sim
