// Admin.DescribeTopic: every partition as its leader sees it, whichever broker is asked.
//
// Any of the broker's executors. LEADER_ONLY: answers for the partitions that are led here, and for no other.
#pragma once

#include "millrace/v1/admin.pb.h"
#include "server/broker.h"
#include "server/unary_call.h"

namespace millrace::server {

void DescribeTopic(Broker& broker, const v1::DescribeTopicRequest& request, Reply<v1::DescribeTopicResponse> reply,
                   Executor& executor, Routing routing);

}  // namespace millrace::server
