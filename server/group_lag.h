// How far groups are behind: what their coordinator knows, put against the ends of the partitions' logs, wherever those are led.
#pragma once

#include <functional>

#include "millrace/v1/group.pb.h"
#include "server/broker.h"
#include "server/group_coordinator.h"

namespace millrace::server {

// On the coordinator's executor, where `answer` is called, too. A partition whose leader does not answer has no lag (-1).
void DescribeGroup(Broker& broker, GroupCoordinator& coordinator, const v1::DescribeGroupRequest& request,
                   std::function<void(const ErrorFrame&, const v1::DescribeGroupResponse&)> answer);

}  // namespace millrace::server
