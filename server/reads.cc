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
  return {partition.log_start(), partition.high_watermark(), partition.leader_epoch(), {}};
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
  if (routing == Routing::kLeaderOnly || !not_here.leader) return "";
  const raft::BrokerId leader(not_here.leader->broker_id);
  return broker.view().IsAlive(leader) ? broker.view().PeerAddressOf(leader) : "";
}

bool ReadNow(Partition& partition, const ReadSpec& spec, const std::shared_ptr<Partition::Waiter>& waiter,
             ReadOutcome* outcome) {
  if (!partition.settled()) return false;
  if (ErrorFrame error; !partition.Readable(&error)) {
    if (spec.routing == Routing::kAny && error.leader) return false;
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
                  const std::optional<LeaderHintFrame>& leader, const std::function<void(ReadOutcome)>& done) {
  forward.Read(address, partition->name(), spec.from, spec.bytes_max, std::chrono::milliseconds(0),
               [&forward, address, partition, spec, waiter, &home, leader, done](ReadOutcome outcome) {
                 outcome.bounds.leader = leader;
                 if (outcome.error.ok() && outcome.entries.empty() && waiter != nullptr) {
                   forward.Read(address, partition->name(), spec.from, 0, kWaitAtLeader,
                                [waiter](const ReadOutcome&) { waiter->OnPartitionAdvanced(); });
                 }
                 RunOn(home, [done, outcome = std::move(outcome)]() mutable { done(std::move(outcome)); });
               });
}

void ReadSettled(Broker& broker, const std::shared_ptr<Partition>& partition, const ReadSpec& spec,
                 const std::shared_ptr<Partition::Waiter>& waiter, Executor& home,
                 const std::function<void(ReadOutcome)>& done);

// That there is nothing at the reader's position would tell it that records are lost: only who still leads may say so.
void ReadPastEnd(Broker& broker, const std::shared_ptr<Partition>& partition, ReadSpec spec,
                 const std::shared_ptr<Partition::Waiter>& waiter, Executor& home,
                 const std::function<void(ReadOutcome)>& done) {
  partition->Confirm([&broker, partition, spec, waiter, &home, done](bool leads) mutable {
    ReadOutcome unknown;
    spec.confirmed = leads;
    if (leads || !partition->Readable(&unknown.error)) {
      return ReadSettled(broker, partition, spec, waiter, home, done);
    }
    unknown.error = partition->UnconfirmedError();
    RunOn(home, [done, unknown = std::move(unknown)]() mutable { done(std::move(unknown)); });
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
    if (!leader.empty()) {
      return ReadAtLeader(shard.forward, leader, partition, spec, waiter, home, error.leader, done);
    }
  }
  if (spec.from > partition->high_watermark() && !spec.confirmed && partition->Readable(&outcome.error)) {
    return ReadPastEnd(broker, partition, spec, waiter, home, done);
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

namespace {

// Of a replica that can serve. On the partition's executor.
void AnswerPosition(Broker& broker, const std::shared_ptr<Partition>& partition, PositionSpec spec, Executor& home,
                    const std::function<void(PositionOutcome)>& done) {
  PositionOutcome outcome{.bounds = BoundsOf(*partition)};
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
          outcome.error.topic = partition->name().topic;
          outcome.error.partition = partition->name().partition;
        }
        home.Post([done, outcome] { done(outcome); });
      });
      return;
  }
  RunOn(home, [done, outcome] { done(outcome); });
}

// Whether the answer says where the log ends.
bool TellsEnd(const Partition& partition, PositionSpec spec) {
  if (spec.kind == PositionSpec::kOffset) return Offset(spec.value) > partition.high_watermark();
  return spec.kind != PositionSpec::kEarliest;
}

// Settled, on the partition's executor.
void ResolveSettled(Broker& broker, const std::shared_ptr<Partition>& partition, PositionSpec spec, Routing routing,
                    Executor& home, const std::function<void(PositionOutcome)>& done) {
  const auto answer = [&home, done](PositionOutcome o) { RunOn(home, [done, o = std::move(o)] { done(o); }); };
  PositionOutcome outcome;
  if (!partition->Readable(&outcome.error)) {
    const std::string leader = AddressOfLeader(broker, routing, outcome.error);
    if (leader.empty()) return answer(outcome);
    const auto with_hint = [answer, hint = outcome.error.leader](PositionOutcome theirs) {
      theirs.bounds.leader = hint;
      answer(std::move(theirs));
    };
    return broker.ShardOf(partition->executor()).forward.Resolve(leader, partition->name(), spec, with_hint);
  }
  if (!TellsEnd(*partition, spec)) return AnswerPosition(broker, partition, spec, home, done);
  partition->Confirm([&broker, partition, spec, routing, &home, done, answer](bool leads) {
    PositionOutcome unknown;
    if (leads) return AnswerPosition(broker, partition, spec, home, done);
    if (!partition->Readable(&unknown.error)) return ResolveSettled(broker, partition, spec, routing, home, done);
    unknown.error = partition->UnconfirmedError();
    answer(unknown);
  });
}

}  // namespace

void ResolvePosition(Broker& broker, std::shared_ptr<Partition> partition, PositionSpec spec, Routing routing,
                     Executor& home, std::function<void(PositionOutcome)> done) {
  RunOn(partition->executor(), [&broker, partition, spec, routing, &home, done = std::move(done)] {
    partition->WhenSettled([&broker, partition, spec, routing, &home, done] {
      ResolveSettled(broker, partition, spec, routing, home, done);
    });
  });
}

}  // namespace millrace::server
