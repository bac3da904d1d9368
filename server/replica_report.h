// What the leader of a group knows of its replicas.
//
//     for (const ReplicaReport& report : ReportReplicas(core, view.Reachable())) …
//     const bool under_replicated = !AllInSync(core, view.Reachable());
//
// A replica is in sync when it can be reached and has everything that is committed, or is being sent the last of it and has answered
// lately: under load the slower one of two followers is always a few entries behind the commit.
#pragma once

#include <set>
#include <vector>

#include "raft/core.h"

namespace millrace::server {

struct ReplicaReport {
  raft::ReplicaId replica;
  bool in_sync = false;
  bool heard = true;            // false: it has not told this leader yet what it has
  raft::LogIndex missing_from;  // the first entry that it lacks, or may; behind the log's last one if none
};

// In the order of ids; also of replicas that only learn, or are on their way out. `reachable`: disks, this one's too.
std::vector<ReplicaReport> ReportReplicas(const raft::Core& leader, const std::set<raft::ReplicaId>& reachable);

bool AllInSync(const raft::Core& leader, const std::set<raft::ReplicaId>& reachable);

}  // namespace millrace::server
