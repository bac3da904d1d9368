// What `millrace cluster status` thinks of a cluster.
#pragma once

#include <millrace/admin.h>

#include <string>

namespace millrace::cli {

enum class Health {
  kHealthy,
  kDegraded,     // all records can be written and read, but less than wanted may fail before that ends
  kUnavailable,  // some cannot, or nothing can be changed
};

Health HealthOf(const ClusterDescription& cluster);

// What is wrong, a line each with what mends it; "healthy" when nothing is.
std::string Findings(const ClusterDescription& cluster);

}  // namespace millrace::cli
