#include "server/group_partition.h"

#include <utility>

#include "proto/wire/check.h"

namespace millrace::server {

void AttachCoordinator(Partition& partition, const ClusterView& view, const Clock& clock) {
  partition.Attach(std::make_unique<GroupCoordinator>(GroupCoordinator::Seams{
      .executor = partition.executor(),
      .clock = clock,
      .image = [&view] { return view.image(); },
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
  }));
}

GroupCoordinator* CoordinatorOf(const Partition& partition) {
  MILLRACE_CHECK(partition.name().topic == kGroupsTopic) << partition.name().topic;
  return static_cast<GroupCoordinator*>(partition.state());
}

}  // namespace millrace::server
