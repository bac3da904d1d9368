// What a broker's metrics tell of its place in the cluster: sums over its partitions, no series for each (metrics.h).
#pragma once

#include "server/broker.h"
#include "server/metrics.h"

namespace millrace::server {

// `broker` outlives the last scrape.
void AddClusterMetrics(const Broker& broker, Metrics& metrics);

}  // namespace millrace::server
