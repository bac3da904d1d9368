// A partition of kGroupsTopic and the coordinator that stands on it.
#pragma once

#include "server/broker.h"
#include "server/group_coordinator.h"
#include "server/partition.h"

namespace millrace::server {

// Before the partition begins. The broker outlives it.
void AttachCoordinator(Partition& partition, Broker& broker);

// Of a partition of kGroupsTopic; null once it was abandoned.
GroupCoordinator* CoordinatorOf(const Partition& partition);

}  // namespace millrace::server
