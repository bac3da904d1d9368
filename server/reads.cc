#include "server/reads.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "millrace/v1/broker.pb.h"
#include "raft/damage.h"
#include "server/batch_validation.h"
#include "server/errors.h"
#include "server/log.h"

namespace millrace::server {
namespace {

using raft::Offset;
using v1::Error;

PartitionBounds BoundsOf(const Partition& partition) {
  return {partition.log_start(), partition.high_watermark(), partition.leader_epoch()};
}

// On a thread that may block. False: the log start has passed `from` meanwhile, so where the partition stands has to be seen anew.
bool ReadCold(Partition& partition, Offset from, size_t bytes_max, ReadOutcome* outcome) {
  const PartitionName& name = partition.name();
  const Offset end = outcome->bounds.high_watermark;
  auto entries = IntactEntries(partition.store().Read(partition.group(), from, end, bytes_max));
  if (entries.ok() && !entries->empty()) {
    outcome->entries = *std::move(entries);
  } else if (entries.ok()) {
    outcome->error = MakeError(Error::INTERNAL, name.topic, name.partition,
                               absl::StrCat("the store has no entry at offset ", from.value(), " below ", end.value()));
  } else if (absl::IsDataLoss(entries.status())) {
    if (const auto lost = raft::DamagedOffsets(entries.status())) outcome->loss = LossFrom(from, lost->end);
    outcome->error = DamagedError(name, from, outcome->loss, ToStdString(entries.status().message()));
  } else if (absl::IsOutOfRange(entries.status())) {
    return false;
  } else {
    outcome->error = ErrorFromStatus(entries.status());
    outcome->error.topic = name.topic;
    outcome->error.partition = name.partition;
  }
  return true;
}

}  // namespace

void WakeOn::OnPartitionAdvanced() { RunOn(home_, wake_); }

std::optional<Loss> LossOutside(Offset position, const PartitionBounds& bounds) {
  const Offset start = bounds.log_start, end = bounds.high_watermark;
  if (position < start) return Loss{{position.value(), start.value(), v1::Gap::RETENTION}, start};
  if (position > end) return Loss{{end.value(), position.value(), v1::Gap::TRUNCATED}, end};
  return std::nullopt;
}

ErrorFrame OutOfRangeError(const PartitionName& name, int64_t offset, const PartitionBounds& bounds) {
  ErrorFrame error =
      MakeError(Error::OFFSET_OUT_OF_RANGE, name.topic, name.partition,
                absl::StrCat("offset ", offset, " is not in the partition, which has ", bounds.log_start.value(),
                             " to ", bounds.high_watermark.value(), " (exclusive); begin within, for example at ",
                             std::clamp(offset, bounds.log_start.value(), bounds.high_watermark.value())));
  error.log_start_offset = bounds.log_start.value();
  error.high_watermark = bounds.high_watermark.value();
  return error;
}

Loss LossFrom(Offset from, Offset end) { return {{from.value(), end.value(), v1::Gap::CORRUPT}, end}; }

ErrorFrame DamagedError(const PartitionName& name, Offset from, const std::optional<Loss>& loss,
                        const std::string& cause) {
  const std::string what =
      loss ? absl::StrCat("offsets ", loss->gap.from, " to ", loss->gap.to, " (exclusive) of ", name.topic, "/",
                          name.partition, " are damaged and lost (", cause, "); continue at offset ",
                          loss->resume.value())
           : absl::StrCat("what ", name.topic, "/", name.partition, " has at offset ", from.value(),
                          " is damaged, how much of it is not known (", cause, "); continue at a later offset");
  MILLRACE_LOG_EVERY(std::chrono::seconds(1), kWarning, "stored records are damaged; a reader is told",
                     {"topic", name.topic}, {"partition", name.partition}, {"offset", from.value()}, {"error", what});
  return MakeError(Error::CORRUPT_MESSAGE, name.topic, name.partition, what);
}

std::string AddressOfLeader(const Broker& broker, Routing routing, const ErrorFrame& not_here) {
  if (routing == Routing::kLeaderOnly || !not_here.has_leader) return "";
  return broker.view().PeerAddressOf(raft::BrokerId(not_here.leader_id));
}

bool ReadNow(Partition& partition, const ReadSpec& spec, const std::shared_ptr<Partition::Waiter>& waiter,
             ReadOutcome* outcome) {
  if (!partition.settled()) return false;
  if (ErrorFrame error; !partition.Readable(&error)) {
    if (spec.routing == Routing::kAny && error.has_leader) return false;
    outcome->error = std::move(error);
    return true;
  }
  outcome->bounds = BoundsOf(partition);
  if (spec.from > outcome->bounds.high_watermark && !spec.confirmed) return false;
  outcome->loss = LossOutside(spec.from, outcome->bounds);
  if (outcome->loss) {
    outcome->error = OutOfRangeError(partition.name(), spec.from.value(), outcome->bounds);
    return true;
  }
  if (spec.from == outcome->bounds.high_watermark) {
    if (partition.read_only()) outcome->error = partition.ReadOnlyError();
    if (waiter != nullptr) partition.AddWaiter(waiter);
    return true;
  }
  return partition.ReadCached(spec.from, spec.bytes_max, &outcome->entries);
}

namespace {

// What is read at the leader's end of the log comes again: it waits there in the reader's place, who is told and then reads anew.
constexpr std::chrono::seconds kWaitAtLeader{2};

void ReadAtLeader(Forward& forward, const std::string& address, const std::shared_ptr<Partition>& partition,
                  const ReadSpec& spec, const std::shared_ptr<Partition::Waiter>& waiter, Executor& home,
                  const std::function<void(ReadOutcome)>& done) {
  forward.Read(address, partition->name(), spec.from, spec.bytes_max, std::chrono::milliseconds(0),
               [&forward, address, partition, spec, waiter, &home, done](ReadOutcome outcome) {
                 if (outcome.error.ok() && outcome.entries.empty() && waiter != nullptr) {
                   forward.Read(address, partition->name(), spec.from, 1, kWaitAtLeader,
                                [waiter](const ReadOutcome&) { waiter->OnPartitionAdvanced(); });
                 }
                 RunOn(home, [done, outcome = std::move(outcome)]() mutable { done(std::move(outcome)); });
               });
}

// Of a position that is not there yet, at a broker that another one may have replaced without its hearing of it.
ErrorFrame NotConfirmedError(const Partition& partition) {
  const PartitionName& name = partition.name();
  ErrorFrame error;
  if (partition.Readable(&error)) {
    error = MakeError(Error::LEADER_NOT_AVAILABLE, name.topic, name.partition,
                      absl::StrCat(name.topic, "/", name.partition, " changes its leader; try again"));
  }
  return error;
}

void ReadSettled(Broker& broker, const std::shared_ptr<Partition>& partition, const ReadSpec& spec,
                 const std::shared_ptr<Partition::Waiter>& waiter, Executor& home,
                 const std::function<void(ReadOutcome)>& done);

// A reader that is ahead of this replica is told of a loss only by a leader that is one: it may have read from the next.
void ReadAhead(Broker& broker, const std::shared_ptr<Partition>& partition, ReadSpec spec,
               const std::shared_ptr<Partition::Waiter>& waiter, Executor& home,
               const std::function<void(ReadOutcome)>& done) {
  spec.confirmed = true;
  partition->ConfirmLeadership([&broker, partition, spec, waiter, &home, done](bool leads) {
    if (leads) return ReadSettled(broker, partition, spec, waiter, home, done);
    RunOn(home, [done, error = NotConfirmedError(*partition)] { done({.error = error}); });
  });
}

// Settled, on the partition's executor.
void ReadSettled(Broker& broker, const std::shared_ptr<Partition>& partition, const ReadSpec& spec,
                 const std::shared_ptr<Partition::Waiter>& waiter, Executor& home,
                 const std::function<void(ReadOutcome)>& done) {
  ReadOutcome outcome;
  Shard& shard = broker.ShardOf(partition->executor());
  if (ErrorFrame error; !partition->Readable(&error)) {
    const std::string leader = AddressOfLeader(broker, spec.routing, error);
    if (!leader.empty()) return ReadAtLeader(shard.forward, leader, partition, spec, waiter, home, done);
  } else if (spec.from > partition->high_watermark() && !spec.confirmed) {
    return ReadAhead(broker, partition, spec, waiter, home, done);
  }
  if (ReadNow(*partition, {spec.from, spec.bytes_max, Routing::kLeaderOnly, spec.confirmed}, waiter, &outcome)) {
    RunOn(home, [done, outcome = std::move(outcome)]() mutable { done(std::move(outcome)); });
    return;
  }
  shard.metrics.cold_reads.Add();
  shard.metrics.cold_read_rate.Set(shard.cold_reads.bytes_per_second());
  shard.cold_reads.Admit(
      static_cast<int64_t>(spec.bytes_max),
      [&broker, partition, spec, waiter, &home, done, outcome = std::move(outcome)](ColdReadPacer::Done tell) mutable {
        broker.pool().Submit([&broker, partition, spec, waiter, &home, done, tell = std::move(tell),
                              outcome = std::move(outcome)]() mutable {
          if (!ReadCold(*partition, spec.from, spec.bytes_max, &outcome)) {
            tell(0);
            return ReadPartition(broker, partition, spec, waiter, home, done);
          }
          int64_t bytes = 0;
          for (const raft::Entry& entry : outcome.entries) bytes += static_cast<int64_t>(entry.payload.size());
          tell(bytes);
          home.Post([done, outcome = std::move(outcome)]() mutable { done(std::move(outcome)); });
        });
      });
}

}  // namespace

void ReadPartition(Broker& broker, std::shared_ptr<Partition> partition, const ReadSpec& spec,
                   std::shared_ptr<Partition::Waiter> waiter, Executor& home, std::function<void(ReadOutcome)> done) {
  RunOn(partition->executor(), [&broker, partition, spec, waiter = std::move(waiter), &home, done = std::move(done)] {
    partition->WhenSettled(
        [&broker, partition, spec, waiter, &home, done] { ReadSettled(broker, partition, spec, waiter, home, done); });
  });
}

void ResolvePosition(Broker& broker, std::shared_ptr<Partition> partition, PositionSpec spec, Routing routing,
                     Executor& home, std::function<void(PositionOutcome)> done) {
  const auto resolve = [&broker, partition, spec, routing, &home, done = std::move(done)] {
    PositionOutcome outcome;
    const auto answer = [&home, done](PositionOutcome o) { RunOn(home, [done, o = std::move(o)] { done(o); }); };
    if (!partition->Readable(&outcome.error)) {
      const std::string leader = AddressOfLeader(broker, routing, outcome.error);
      if (leader.empty()) return answer(outcome);
      return broker.ShardOf(partition->executor()).forward.Resolve(leader, partition->name(), spec, answer);
    }
    outcome.bounds = BoundsOf(*partition);
    const Offset start = outcome.bounds.log_start, end = outcome.bounds.high_watermark;
    if (spec.kind == PositionSpec::kOffset && Offset(spec.value) > end) {
      partition->ConfirmLeadership([partition, spec, answer](bool leads) {
        PositionOutcome ahead{.bounds = BoundsOf(*partition), .offset = Offset(spec.value)};
        if (!leads) ahead.error = NotConfirmedError(*partition);
        answer(ahead);
      });
      return;
    }
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
            outcome.error.topic = partition->name().topic;
            outcome.error.partition = partition->name().partition;
          }
          home.Post([done, outcome] { done(outcome); });
        });
        return;
    }
    answer(outcome);
  };
  RunOn(partition->executor(), [partition, resolve] { partition->WhenSettled(resolve); });
}

}  // namespace millrace::server
