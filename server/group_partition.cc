#include "server/group_partition.h"

#include <optional>
#include <utility>

#include "proto/wire/check.h"
#include "server/reads.h"

namespace millrace::server {

namespace {

void FindEnd(Broker& broker, Executor& home, PartitionId id, int64_t offset,
             const std::function<void(std::optional<int64_t>)>& then) {
  const auto topic = broker.image()->FindTopic(id.topic_id);
  ErrorFrame gone;
  auto partition = topic == nullptr ? nullptr : broker.FindPartition(topic->name, id.partition, id.topic_id, &gone);
  if (partition == nullptr) return then(std::nullopt);
  RunOn(partition->executor(), [&broker, &home, partition, offset, then] {
    if (const int64_t here = partition->log_end().value(); here >= offset)
      return RunOn(home, [then, here] { then(here); });
    ResolvePosition(broker, partition, {.kind = PositionSpec::kLatest}, Routing::kAny, home,
                    [then](const PositionOutcome& outcome) {
                      then(outcome.error.ok() ? std::optional(outcome.offset.value()) : std::nullopt);
                    });
  });
}

}  // namespace

void AttachCoordinator(Partition& partition, Broker& broker) {
  partition.Attach(std::make_unique<GroupCoordinator>(GroupCoordinator::Seams{
      .executor = partition.executor(),
      .clock = broker.clock(),
      .image = [&broker] { return broker.image(); },
      .append =
          [&partition](ValidBatch batch, raft::Term epoch, const std::function<void(const ErrorFrame&)>& done) {
            partition.Append(std::move(batch), {.leader_epoch = static_cast<int32_t>(epoch.value())},
                             [done](const AppendOutcome& outcome) { done(outcome.error); });
          },
      .confirm = [&partition](std::function<void(bool)> then) { partition.Confirm(std::move(then)); },
      .not_leader =
          [&partition] {
            ErrorFrame error;
            return partition.Readable(&error) ? partition.UnconfirmedError() : error;
          },
      .find_end =
          [&broker, &home = partition.executor()](PartitionId id, int64_t offset,
                                                  const std::function<void(std::optional<int64_t>)>& then) {
            FindEnd(broker, home, id, offset, then);
          },
  }));
}

GroupCoordinator* CoordinatorOf(const Partition& partition) {
  MILLRACE_CHECK(partition.name().topic == kGroupsTopic) << partition.name().topic;
  return static_cast<GroupCoordinator*>(partition.state());
}

}  // namespace millrace::server
