// A partition of kGroupsTopic and the coordinator that stands on it.
#pragma once

#include "server/cluster_view.h"
#include "server/group_coordinator.h"
#include "server/partition.h"

namespace millrace::server {

// Before the partition begins. `view` and `clock` outlive it.
void AttachCoordinator(Partition& partition, const ClusterView& view, const Clock& clock);

// Of a partition of kGroupsTopic; null once it was abandoned.
GroupCoordinator* CoordinatorOf(const Partition& partition);

}  // namespace millrace::server
