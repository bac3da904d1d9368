// Admin.DescribeCluster: each broker tells of itself, whichever is asked.
//
// Any of the broker's executors. LEADER_ONLY: this broker's own status, and how many partitions that it leads are under-replicated.
#pragma once

#include "millrace/v1/admin.pb.h"
#include "server/broker.h"
#include "server/unary_call.h"

namespace millrace::server {

// As far as this broker knows; -1: there is none.
int32_t ControllerOf(const Broker& broker);

void DescribeCluster(Broker& broker, Reply<v1::DescribeClusterResponse> reply, Executor& executor, Routing routing);

}  // namespace millrace::server
