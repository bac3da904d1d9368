// What `millrace cluster status` thinks of a cluster.
#pragma once

#include <millrace/admin.h>

#include <string>

namespace millrace::cli {

enum class Health {
  kHealthy,
  kDegraded,     // all records can be read; a disk is too full for new ones, or less than wanted may fail
  kUnavailable,  // some cannot, or nothing can be changed
};

// One that is down, or does not answer in time, has told nothing of its disk, its start and its replicas.
bool HasTold(const BrokerStatus& broker);

Health HealthOf(const ClusterDescription& cluster);

// What is wrong, a line each with what mends it; "healthy" when nothing is.
std::string Findings(const ClusterDescription& cluster);

}  // namespace millrace::cli
