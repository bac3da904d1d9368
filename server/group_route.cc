#include "server/group_route.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "millrace/internal/v1/groups.pb.h"
#include "proto/wire/partitioner.h"
#include "server/errors.h"
#include "server/forwarded_call.h"
#include "server/group_partition.h"
#include "server/reads.h"
#include "server/unary_call.h"

namespace millrace::server {
namespace {

using v1::Error;

constexpr char kMakeTopic[] = "/millrace.internal.v1.Groups/MakeTopic";
constexpr int32_t kPartitions = 16;
// After the controller has it, this broker hears of it with the next entries of the metadata.
constexpr std::chrono::milliseconds kLook{10};
constexpr int kLooks = 200;

// State is saved beside the log: of the log itself a few thousand changes are kept, so that a replica that was away for a while gets
// those instead of everything.
NewTopic GroupsTopic() {
  return {.name = kGroupsTopic,
          .partitions = kPartitions,
          .config = {{"flush", "commit"},
                     {"retention.ms", "-1"},
                     {"retention.bytes", "8MiB"},
                     {"segment.bytes", "1MiB"},
                     {"max.message.bytes", "16MiB"}},
          .if_not_exists = true,
          .internal = true};
}

using Route = std::shared_ptr<const GroupRoute>;

void At(Broker& broker, const std::shared_ptr<Partition>& partition, Routing routing, const Route& route) {
  RunOn(partition->executor(), [&broker, partition, routing, route] {
    partition->WhenSettled([&broker, partition, routing, route] {
      ErrorFrame not_here;
      GroupCoordinator* coordinator = CoordinatorOf(*partition);
      if (coordinator != nullptr && partition->Readable(&not_here)) return route->here(*coordinator);
      const std::string leader = AddressOfLeader(broker, routing, not_here);
      leader.empty() ? route->nowhere(not_here) : route->there(*partition, leader, *not_here.leader);
    });
  });
}

// False: there is no topic of groups.
bool Find(Broker& broker, const std::string& group, std::shared_ptr<Partition>* partition) {
  const auto topic = broker.image()->FindTopic(kGroupsTopic);
  if (topic == nullptr) return false;
  ErrorFrame error;
  *partition = broker.FindPartition(kGroupsTopic,
                                    PartitionForKey(group, static_cast<int32_t>(topic->partitions.size())), 0, &error);
  return *partition != nullptr;
}

// On `executor`, until this broker knows the topic.
void LookAgain(Broker& broker, const std::string& group, Executor& executor, Routing routing, const Route& route,
               int looks) {
  std::shared_ptr<Partition> partition;
  if (Find(broker, group, &partition)) return At(broker, partition, routing, route);
  if (looks == 0) {
    return route->nowhere(
        MakeError(Error::LEADER_NOT_AVAILABLE,
                  "the topic of consumer groups was made, but this broker has not heard of it; retry"));
  }
  executor.After(kLook, [&broker, group, &executor, routing, route, looks] {
    LookAgain(broker, group, executor, routing, route, looks - 1);
  });
}

// On the first executor.
void MakeTopic(Broker& broker, std::function<void(const ErrorFrame&)> done) {
  if (broker.metadata().is_controller()) {
    return broker.metadata().controller().CreateTopic(
        GroupsTopic(), [done](const ErrorFrame& error, const CreatedTopic&) { done(error); });
  }
  const ErrorFrame not_here = broker.metadata().NotControllerError();
  const std::string address =
      not_here.leader ? broker.view().PeerAddressOf(raft::BrokerId(not_here.leader->broker_id)) : "";
  if (address.empty()) return done(not_here);
  broker.ShardOf(broker.control_executor())
      .forward.Call(address, kMakeTopic, internal::v1::MakeGroupsTopicRequest().SerializeAsString(), Forward::kTimeout,
                    [done](const ErrorFrame& error, const std::string&) { done(error); });
}

}  // namespace

void AtCoordinator(Broker& broker, const std::string& group, Executor& executor, Routing routing, GroupRoute how) {
  const Route route = std::make_shared<const GroupRoute>(std::move(how));
  if (group.empty()) return route->nowhere(MakeError(Error::INVALID_GROUP_ID, "the group has no name; give it one"));
  std::shared_ptr<Partition> partition;
  if (Find(broker, group, &partition)) return At(broker, partition, routing, route);
  RunOn(broker.control_executor(), [&broker, group, &executor, routing, route] {
    MakeTopic(broker, [&broker, group, &executor, routing, route](const ErrorFrame& error) {
      if (!error.ok()) return route->nowhere(error);
      RunOn(executor, [&broker, group, &executor, routing, route] {
        LookAgain(broker, group, executor, routing, route, kLooks);
      });
    });
  });
}

void AddGroupsTopicMethod(Broker& broker, ServiceRegistry& services) {
  const auto failures = [&broker](Executor& e, const ErrorFrame& error) { broker.NoteFailure(e, error); };
  // Forward marks what it hands on: AddControllerMethod has both names.
  AddControllerMethod(broker, kMakeTopic, failures,
                      Parsed<internal::v1::MakeGroupsTopicRequest, internal::v1::MakeGroupsTopicResponse>(
                          [&broker](const auto&, auto reply, Executor& executor) {
                            RunOn(broker.control_executor(), [&broker, reply, &executor] {
                              MakeTopic(broker, [reply, &executor](const ErrorFrame& error) {
                                RunOn(executor, [reply, error] { error.ok() ? reply.Send({}) : reply.Fail(error); });
                              });
                            });
                          }),
                      services);
}

}  // namespace millrace::server
