// How the Raft groups of one shard are.
//
// On the shard's executor. Quiet groups cost nothing: all their replicas have everything. Those that are awake, as all are that a
// dead broker takes part in, cost 100 ns each.
#pragma once

#include <cstdint>
#include <set>

#include "server/multi_raft.h"

namespace millrace::server {

struct GroupCounts {
  int32_t hosted = 0;
  int32_t quiet = 0;
  int32_t under_replicated =
      0;  // partitions that are led here and have a replica that is not in sync (replica_report.h)
};

GroupCounts CountGroups(const MultiRaft& groups, const std::set<raft::ReplicaId>& reachable);

}  // namespace millrace::server
