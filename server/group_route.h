// The way from a group's name to its coordinator, here or at another broker.
//
//     AtCoordinator(broker, "payments", executor, {.here = [](GroupCoordinator& coordinator) { … },
//                                                  .there = [](const Partition&, const std::string& address, const LeaderHintFrame&) { … },
//                                                  .nowhere = [](const ErrorFrame& error) { … }});
//
// The topic of groups is made when the first group is used; whoever asks waits for it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "proto/wire/frames.h"
#include "server/broker.h"
#include "server/call.h"
#include "server/group_coordinator.h"

namespace millrace::server {

struct GroupRoute {
  // On the partition's executor.
  std::function<void(GroupCoordinator&)> here;
  // Brokers reach it at `address`. On the partition's executor.
  std::function<void(const Partition&, const std::string& address, const LeaderHintFrame&)> there;
  // On any.
  std::function<void(const ErrorFrame&)> nowhere;
};

void AtCoordinator(Broker& broker, const std::string& group, Executor& executor, Routing routing, GroupRoute route);

// The internal half of it: making the topic, on the controller.
void AddGroupsTopicMethod(Broker& broker, ServiceRegistry& services);

}  // namespace millrace::server
