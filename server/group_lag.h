// How far groups are behind: what their coordinator knows, put against the ends of the partitions' logs, wherever those are led.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "millrace/v1/group.pb.h"
#include "server/broker.h"
#include "server/group_coordinator.h"

namespace millrace::server {

// On the coordinator's executor, where `answer` is called, too. Each partition's leader is asked; where it does not answer there is no
// lag (-1).
void DescribeGroup(Broker& broker, GroupCoordinator& coordinator, const v1::DescribeGroupRequest& request,
                   std::function<void(const ErrorFrame&, const v1::DescribeGroupResponse&)> answer);

// Goes over the groups that this broker coordinates, one after the other, again and again; so slowly that thousands of them cost
// little: the lag of each is as old as a round takes, kRoundMin or more. It goes by this broker's own copy of a partition, if there is
// one, which may be some records behind, and asks nobody then. Lives on the first executor.
class LagWatch {
 public:
  static constexpr std::chrono::seconds kRoundMin{10};
  static constexpr std::chrono::milliseconds kBetween{20};

  LagWatch(Broker& broker, GroupLags& lags);
  ~LagWatch();
  LagWatch(const LagWatch&) = delete;

 private:
  struct Group {
    std::string name;
    std::shared_ptr<Partition> partition;
  };

  void BeginRound();
  void Next();
  void Take(const std::string& group, const v1::DescribeGroupResponse& described);

  Broker& broker_;
  GroupLags& lags_;
  std::deque<Group> round_;
  std::map<std::string, GroupLags::ByTopic> found_;
  Executor::TimerId timer_ = 0;
  std::shared_ptr<LagWatch*> self_;  // on the first executor
};

}  // namespace millrace::server
