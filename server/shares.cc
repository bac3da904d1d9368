#include "server/shares.h"

namespace millrace::server {

Shares SharesIn(const ClusterView& view) {
  Shares shares;
  const auto image = view.image();
  if (image == nullptr) return shares;
  for (const auto& [name, topic] : image->topics()) {
    for (const PartitionInfo& partition : topic->partitions) {
      const auto leader = view.LeaderOf(partition.group, partition.replicas);
      leader ? ++shares.of[leader->broker].leads : ++shares.leaderless;
      for (raft::ReplicaId replica : partition.replicas) {
        Share& share = shares.of[replica.broker];
        ++share.replicas;
        if (!leader) ++share.leaderless;
      }
    }
  }
  return shares;
}

}  // namespace millrace::server
