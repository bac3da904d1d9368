// How replicas and leaderships are spread over the brokers, as this one knows them.
//
// Any thread. Walks over all partitions of the cluster, a few milliseconds for 10,000: not for an executor.
#pragma once

#include <cstdint>
#include <map>

#include "server/cluster_view.h"

namespace millrace::server {

struct Share {
  int32_t replicas = 0;
  int32_t leads = 0;
  int32_t leaderless = 0;  // of `replicas`: nobody that is alive leads
};

struct Shares {
  std::map<raft::BrokerId, Share> of;
  int32_t leaderless = 0;  // partitions
};

Shares SharesIn(const ClusterView& view);

}  // namespace millrace::server
