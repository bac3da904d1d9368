// millrace.v1.Groups, and what brokers ask of each other for it.
#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "millrace/internal/v1/groups.pb.h"
#include "server/forwarded_call.h"
#include "server/group_call.h"
#include "server/group_lag.h"
#include "server/group_partition.h"
#include "server/group_route.h"
#include "server/services.h"
#include "server/unary_call.h"

namespace millrace::server {
namespace {

using v1::Error;

constexpr std::chrono::seconds kListTimeout{2};
// Of what is handed on: less than the other broker is given to answer.
constexpr int32_t kForwardedWaitMsMax = 5'000;
constexpr std::chrono::seconds kWatch{8};

template <typename Response>
void Answer(const Reply<Response>& reply, Executor& executor, const ErrorFrame& error, const Response& response) {
  RunOn(executor, [reply, error, response] { error.ok() ? reply.Send(response) : reply.Fail(error); });
}

// A call that the group's coordinator answers, wherever it comes in: handler(coordinator, request, answer(error, response)).
template <typename Request, typename Response, typename F>
void AddGroupMethod(Broker& broker, const std::string& name, F handler, ServiceRegistry& services) {
  const std::string method = "/millrace.v1.Groups/" + name;
  AddForwardable<Request, Response>(
      method, [&broker](Executor& e, const ErrorFrame& error) { broker.NoteFailure(e, error); },
      [&broker, method, handler](const Request& asked, const Reply<Response>& reply, Executor& executor,
                                 Routing routing) {
        if (ErrorFrame unknown = CheckRouting(asked.routing()); !unknown.ok()) return reply.Fail(unknown);
        if (asked.routing() == v1::ROUTING_LEADER_ONLY) routing = Routing::kLeaderOnly;
        const auto request = std::make_shared<const Request>(asked);
        AtCoordinator(
            broker, request->group(), executor, routing,
            {.here =
                 [handler, request, reply, &executor](GroupCoordinator& coordinator) {
                   handler(coordinator, *request,
                           [reply, &executor](const ErrorFrame& error, const Response& response) {
                             Answer(reply, executor, error, response);
                           });
                 },
             .there =
                 [&broker, method, request, reply, &executor](const Partition& partition, const std::string& address,
                                                              const LeaderHintFrame& leader) {
                   Request theirs = *request;
                   if constexpr (std::is_same_v<Request, v1::HeartbeatRequest>) {
                     theirs.set_max_wait_ms(std::min(request->max_wait_ms(), kForwardedWaitMsMax));
                   }
                   AskLeader(broker, partition, address, leader, method, theirs.SerializeAsString(), reply, executor);
                 },
             .nowhere = [reply, &executor](const ErrorFrame& error) { Answer(reply, executor, error, Response()); }});
      },
      services);
}

// All groups of all coordinators: those here, and each other broker is asked once. Lives on the call's executor.
class GroupLister : public std::enable_shared_from_this<GroupLister> {
 public:
  GroupLister(Broker& broker, std::function<void(std::map<std::string, v1::GroupSummary>, bool incomplete)> done,
              Executor& executor)
      : broker_(broker), done_(std::move(done)), executor_(executor) {}

  void Ask(Routing routing) {
    const auto topic = broker_.image()->FindTopic(kGroupsTopic);
    const size_t partitions = topic == nullptr ? 0 : topic->partitions.size();
    std::map<raft::BrokerId, std::vector<int32_t>> by_leader;
    for (size_t p = 0; p < partitions; ++p) {
      const PartitionInfo& info = topic->partitions[p];
      const auto leader = broker_.view().LeaderOf(info.group, info.replicas);
      if (leader) {
        by_leader[leader->broker].push_back(static_cast<int32_t>(p));
      } else {
        incomplete_ = true;
      }
    }
    for (const auto& [leader, led] : by_leader) {
      if (leader == broker_.options().self.broker) {
        for (const int32_t p : led) AskHere(p);
      } else if (routing == Routing::kAny) {
        AskThere(leader);
      }
    }
    OneAnswered();
  }

 private:
  void AskHere(int32_t number) {
    ErrorFrame gone;
    auto partition = broker_.FindPartition(kGroupsTopic, number, 0, &gone);
    if (partition == nullptr) return;
    ++asked_;
    RunOn(partition->executor(), [self = shared_from_this(), partition] {
      partition->WhenSettled([self, partition] {
        GroupCoordinator* coordinator = CoordinatorOf(*partition);
        const bool serves = coordinator != nullptr && coordinator->serving();
        std::vector<v1::GroupSummary> groups = serves ? coordinator->List() : std::vector<v1::GroupSummary>();
        RunOn(self->executor_, [self, serves, groups = std::move(groups)]() mutable {
          self->incomplete_ |= !serves;
          for (v1::GroupSummary& group : groups) {
            group.set_coordinator(static_cast<int32_t>(self->broker_.options().self.broker.value()));
            self->groups_[group.group()] = std::move(group);
          }
          self->OneAnswered();
        });
      });
    });
  }

  void AskThere(raft::BrokerId leader) {
    ++asked_;
    broker_.ShardOf(executor_).forward.Call(
        broker_.view().PeerAddressOf(leader), "/millrace.internal.v1.Groups/ListLed",
        internal::v1::ListLedGroupsRequest().SerializeAsString(), kListTimeout,
        [self = shared_from_this()](const ErrorFrame& error, const std::string& reply) {
          internal::v1::ListLedGroupsResponse theirs;
          const bool answered = error.ok() && theirs.ParseFromString(reply);
          self->incomplete_ |= !answered;
          for (const std::string& each : theirs.groups()) {
            v1::GroupSummary group;
            if (group.ParseFromString(each)) self->groups_[group.group()] = std::move(group);
          }
          self->OneAnswered();
        });
  }

  void OneAnswered() {
    if (--asked_ == 0) done_(std::move(groups_), incomplete_);
  }

  Broker& broker_;
  const std::function<void(std::map<std::string, v1::GroupSummary>, bool incomplete)> done_;
  Executor& executor_;
  std::map<std::string, v1::GroupSummary> groups_;
  bool incomplete_ = false;
  int asked_ = 1;
};

void AddListMethods(Broker& broker, ServiceRegistry& services) {
  const auto failures = [&broker](Executor& e, const ErrorFrame& error) { broker.NoteFailure(e, error); };
  services.Add("/millrace.v1.Groups/ListGroups",
               Unary<v1::ListGroupsRequest, v1::ListGroupsResponse>(
                   failures, [&broker](const auto&, auto reply, Executor& executor) {
                     const auto done = [reply](std::map<std::string, v1::GroupSummary> groups, bool incomplete) {
                       v1::ListGroupsResponse response;
                       for (auto& [name, group] : groups) *response.add_groups() = std::move(group);
                       response.set_incomplete(incomplete);
                       reply.Send(response);
                     };
                     std::make_shared<GroupLister>(broker, done, executor)->Ask(Routing::kAny);
                   }));
  AddForwardable<internal::v1::ListLedGroupsRequest, internal::v1::ListLedGroupsResponse>(
      "/millrace.internal.v1.Groups/ListLed", failures,
      [&broker](const auto&, auto reply, Executor& executor, Routing) {
        const auto done = [reply](const std::map<std::string, v1::GroupSummary>& groups, bool) {
          internal::v1::ListLedGroupsResponse response;
          for (const auto& [name, group] : groups) response.add_groups(group.SerializeAsString());
          reply.Send(response);
        };
        std::make_shared<GroupLister>(broker, done, executor)->Ask(Routing::kLeaderOnly);
      },
      services);
}

// Waits for the first news of a member, or none. On the coordinator's executor.
class Watcher : public std::enable_shared_from_this<Watcher> {
 public:
  using Answer = std::function<void(const ErrorFrame&, const internal::v1::WatchMemberResponse&)>;

  Watcher(GroupCoordinator& coordinator, Answer answer)
      : executor_(coordinator.executor()), answer_(std::move(answer)) {}

  void Begin(GroupCoordinator& coordinator, const internal::v1::WatchMemberRequest& request) {
    news_ = std::make_shared<GroupCoordinator::News>(
        [this](const ErrorFrame& error, const v1::HeartbeatResponse& heartbeat) {
          End(error, heartbeat.SerializeAsString());
        });
    v1::HeartbeatResponse now;
    if (!coordinator.Watch(request.group(), request.member_id(), news_, &now)) {
      return End(MakeError(Error::UNKNOWN_MEMBER_ID, "the member is not known"), "");
    }
    if (now.member_epoch() != request.known_epoch()) return End({}, now.SerializeAsString());
    timer_ = executor_.After(kWatch, [self = shared_from_this()] {
      self->timer_ = 0;
      self->End({}, "");
    });
  }

 private:
  // The timer, or else whoever calls, keeps it until then.
  void End(const ErrorFrame& error, std::string heartbeat) {
    if (news_ == nullptr) return;
    const auto self = shared_from_this();
    const auto news = std::exchange(news_, nullptr);
    if (timer_ != 0) executor_.Cancel(std::exchange(timer_, 0));
    internal::v1::WatchMemberResponse response;
    response.set_heartbeat(std::move(heartbeat));
    answer_(error, response);
  }

  Executor& executor_;
  const Answer answer_;
  std::shared_ptr<GroupCoordinator::News> news_;
  Executor::TimerId timer_ = 0;
};

void AddWatchMethod(Broker& broker, ServiceRegistry& services) {
  const auto failures = [&broker](Executor& e, const ErrorFrame& error) { broker.NoteFailure(e, error); };
  AddForwardable<internal::v1::WatchMemberRequest, internal::v1::WatchMemberResponse>(
      "/millrace.internal.v1.Groups/WatchMember", failures,
      [&broker](const auto& request, auto reply, Executor& executor, Routing) {
        const auto answer = [reply, &executor](const ErrorFrame& error,
                                               const internal::v1::WatchMemberResponse& response) {
          Answer(reply, executor, error, response);
        };
        AtCoordinator(broker, request.group(), executor, Routing::kLeaderOnly,
                      {.here =
                           [request, answer](GroupCoordinator& coordinator) {
                             std::make_shared<Watcher>(coordinator, answer)->Begin(coordinator, request);
                           },
                       .there = nullptr,
                       .nowhere = [answer](const ErrorFrame& error) { answer(error, {}); }});
      },
      services);
}

}  // namespace

void AddGroupService(Broker& broker, ServiceRegistry& services) {
  AddGroupMethod<v1::HeartbeatRequest, v1::HeartbeatResponse>(
      broker, "Heartbeat",
      [](GroupCoordinator& coordinator, const auto& request, auto answer) { coordinator.Heartbeat(request, answer); },
      services);
  AddGroupMethod<v1::CommitOffsetsRequest, v1::CommitOffsetsResponse>(
      broker, "CommitOffsets",
      [](GroupCoordinator& coordinator, const auto& request, auto answer) {
        coordinator.Commit(request, [answer](const ErrorFrame& error, const std::vector<ErrorFrame>& errors) {
          answer(error, CommitResponseOf(errors));
        });
      },
      services);
  AddGroupMethod<v1::FetchOffsetsRequest, v1::FetchOffsetsResponse>(
      broker, "FetchOffsets",
      [](GroupCoordinator& coordinator, const auto& request, auto answer) {
        coordinator.Confirmed([&coordinator, request, answer](const ErrorFrame& error) {
          answer(error, error.ok() ? coordinator.Offsets(request) : v1::FetchOffsetsResponse());
        });
      },
      services);
  AddGroupMethod<v1::ResetOffsetsRequest, v1::ResetOffsetsResponse>(
      broker, "ResetOffsets",
      [](GroupCoordinator& coordinator, const auto& request, auto answer) { coordinator.Reset(request, answer); },
      services);
  AddGroupMethod<v1::DeleteGroupRequest, v1::DeleteGroupResponse>(
      broker, "DeleteGroup",
      [](GroupCoordinator& coordinator, const auto& request, auto answer) {
        coordinator.Delete(request.group(), [answer](const ErrorFrame& error) { answer(error, {}); });
      },
      services);
  AddGroupMethod<v1::DescribeGroupRequest, v1::DescribeGroupResponse>(
      broker, "DescribeGroup",
      [&broker](GroupCoordinator& coordinator, const auto& request, auto answer) {
        DescribeGroup(broker, coordinator, request, answer);
      },
      services);
  AddListMethods(broker, services);
  AddWatchMethod(broker, services);
  AddGroupsTopicMethod(broker, services);
  services.Add("/millrace.v1.Groups/Join", [&broker](Executor& e) { return std::make_unique<GroupCall>(broker, e); });
}

}  // namespace millrace::server
