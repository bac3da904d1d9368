#include "server/group_counts.h"

#include "server/metadata_image.h"
#include "server/replica_report.h"

namespace millrace::server {

GroupCounts CountGroups(const MultiRaft& groups, const std::set<raft::ReplicaId>& reachable) {
  GroupCounts counts{.hosted = static_cast<int32_t>(groups.size())};
  counts.quiet = counts.hosted;
  groups.ForEachAwake([&](raft::GroupId id, const raft::Core& core) {
    --counts.quiet;
    if (id != kMetadataGroup && !AllInSync(core, reachable)) ++counts.under_replicated;
  });
  return counts;
}

}  // namespace millrace::server
