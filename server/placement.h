// Which brokers get the replicas of new partitions.
//
//     std::vector<BrokerLoad> brokers = LoadsOf(*image);           // the caller says which are alive
//     auto placed = PlaceReplicas(brokers, {.partitions = 16, .replication_factor = 3, .seed = random.Next()});
//     if (!placed.ok()) ...                                        // too few brokers, or too few that are alive
//     (*placed)[0].front()                                         // leads partition 0 when it can
//
// Replicas of one partition stand in different racks as far as there are racks, else as evenly over racks as can be. Within that the
// broker with the fewest replicas gets the next one, whatever topic those are of, and of a partition's replicas the one leads
// whose broker leads least; where brokers were balanced before, both stay within one of each other if racks allow it. So a
// new broker fills up with new partitions; but no broker leads more than twice its even share of one topic, which would
// otherwise be served by the new broker alone.
// Brokers without a rack stand together in one that has no name.
//
// Pure functions: equal input gives equal output, in whatever order the brokers come. O(partitions * log brokers), about.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "raft/types.h"
#include "server/metadata_image.h"

namespace millrace::server {

// A broker and what it has of all partitions there are.
struct BrokerLoad {
  raft::ReplicaId id;
  std::string rack;
  bool alive = true;  // others get nothing
  int64_t replicas = 0;
  int64_t leads = 0;  // as the first of the replicas
};

// All brokers of the cluster, as alive but for founders that have not registered yet; O(replicas).
std::vector<BrokerLoad> LoadsOf(const MetadataImage& image);

struct NewPartitions {
  int32_t partitions = 1;
  int32_t replication_factor = 1;
  uint64_t seed = 0;  // decides between equals
};

// Replicas of each partition, its leader first. kInvalidArgument: more replicas than brokers, or none; kUnavailable: there are as many
// brokers, but too few of them are alive. The text says what to do.
absl::StatusOr<std::vector<std::vector<raft::ReplicaId>>> PlaceReplicas(const std::vector<BrokerLoad>& brokers,
                                                                        const NewPartitions& wanted);

// Of a topic that asks for none in a cluster of so many brokers, alive or not: 3, or 1 below three brokers.
int32_t DefaultReplicationFactor(size_t brokers);

}  // namespace millrace::server
