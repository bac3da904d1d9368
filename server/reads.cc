#include "server/reads.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"

namespace millrace::server {
namespace {

using raft::Offset;
using v1::Error;

PartitionBounds BoundsOf(const Partition& partition) {
  return {partition.log_start(), partition.high_watermark(), partition.leader_epoch()};
}

// On the partition's executor.
bool Ready(Partition& partition, ErrorFrame* error) {
  const PartitionName& name = partition.name();
  if (partition.closed()) {
    *error = TopicDeleted(name.topic, name.partition);
    return false;
  }
  if (absl::Status status = partition.Open(); !status.ok()) {
    *error = ErrorFromStatus(status);
    error->topic = name.topic;
    error->partition = name.partition;
    return false;
  }
  return true;
}

// On a thread that may block.
void ReadCold(Partition& partition, Offset from, Offset end, size_t bytes_max, ReadOutcome* outcome) {
  auto entries = partition.store().Read(partition.group(), from, end, bytes_max);
  if (entries.ok() && !entries->empty()) {
    outcome->entries = *std::move(entries);
    return;
  }
  outcome->error = entries.ok() ? MakeError(Error::INTERNAL, absl::StrCat("the store has no entry at offset ",
                                                                          from.value(), " below ", end.value()))
                                : ErrorFromStatus(entries.status());
  outcome->error.topic = partition.name().topic;
  outcome->error.partition = partition.name().partition;
}

}  // namespace

void RunOn(Executor& executor, std::function<void()> work) {
  if (executor.OnThread()) {
    work();
  } else {
    executor.Post(std::move(work));
  }
}

ErrorFrame OutOfRangeError(const PartitionName& name, int64_t offset, const PartitionBounds& bounds) {
  ErrorFrame error = MakeError(
      Error::OFFSET_OUT_OF_RANGE, name.topic, name.partition,
      absl::StrCat("offset ", offset, " is not in the partition, which has ", bounds.log_start.value(), " to ",
                   bounds.high_watermark.value(), " (exclusive); begin within, or ask for a gap marker"));
  error.log_start_offset = bounds.log_start.value();
  error.high_watermark = bounds.high_watermark.value();
  return error;
}

void ReadPartition(Broker& broker, std::shared_ptr<Partition> partition, Offset from, size_t bytes_max,
                   std::shared_ptr<Partition::Waiter> waiter, Executor& home, std::function<void(ReadOutcome)> done) {
  RunOn(partition->executor(),
        [&broker, partition, from, bytes_max, waiter = std::move(waiter), &home, done = std::move(done)] {
          ReadOutcome outcome;
          const auto answer = [&home, &done](ReadOutcome o) {
            RunOn(home, [done, o = std::move(o)]() mutable { done(std::move(o)); });
          };
          if (!Ready(*partition, &outcome.error)) return answer(std::move(outcome));
          outcome.bounds = BoundsOf(*partition);
          if (from < outcome.bounds.log_start || from > outcome.bounds.high_watermark) {
            outcome.error = OutOfRangeError(partition->name(), from.value(), outcome.bounds);
            return answer(std::move(outcome));
          }
          if (from == outcome.bounds.high_watermark) {
            if (waiter != nullptr) partition->AddWaiter(waiter);
            return answer(std::move(outcome));
          }
          if (partition->ReadCached(from, bytes_max, &outcome.entries)) return answer(std::move(outcome));
          broker.ShardOf(partition->executor()).metrics.cold_reads.Add();
          broker.pool().Submit([partition, from, bytes_max, &home, done, outcome = std::move(outcome)]() mutable {
            ReadCold(*partition, from, outcome.bounds.high_watermark, bytes_max, &outcome);
            home.Post([done, outcome = std::move(outcome)]() mutable { done(std::move(outcome)); });
          });
        });
}

void ResolvePosition(Broker& broker, std::shared_ptr<Partition> partition, PositionSpec spec, Executor& home,
                     std::function<void(PositionOutcome)> done) {
  RunOn(partition->executor(), [&broker, partition, spec, &home, done = std::move(done)] {
    PositionOutcome outcome;
    const auto answer = [&home, &done](PositionOutcome o) { RunOn(home, [done, o = std::move(o)] { done(o); }); };
    if (!Ready(*partition, &outcome.error)) return answer(outcome);
    outcome.bounds = BoundsOf(*partition);
    const Offset start = outcome.bounds.log_start, end = outcome.bounds.high_watermark;
    switch (spec.kind) {
      case PositionSpec::kOffset:
        outcome.offset = Offset(spec.value);
        break;
      case PositionSpec::kEarliest:
        outcome.offset = start;
        break;
      case PositionSpec::kLatest:
        outcome.offset = end;
        break;
      case PositionSpec::kRecordsBeforeEnd: {
        const int64_t back = std::clamp<int64_t>(spec.value, 0, end - start);
        outcome.offset = end - back;
        break;
      }
      case PositionSpec::kTimestamp:
        broker.pool().Submit([partition, spec, &home, done, outcome]() mutable {
          absl::StatusOr<Offset> found = partition->store().OffsetForTime(partition->group(), spec.value);
          if (found.ok()) {
            outcome.offset = std::clamp(*found, outcome.bounds.log_start, outcome.bounds.high_watermark);
          } else {
            outcome.error = ErrorFromStatus(found.status());
          }
          home.Post([done, outcome] { done(outcome); });
        });
        return;
    }
    answer(outcome);
  });
}

}  // namespace millrace::server
