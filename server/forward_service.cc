// millrace.internal.v1.Forward: what brokers ask of each other in their clients' place.
#include <algorithm>
#include <memory>
#include <utility>

#include "millrace/internal/v1/forward.pb.h"
#include "server/reads.h"
#include "server/services.h"
#include "server/unary_call.h"

namespace millrace::server {
namespace {

using internal::v1::ForwardedBounds;
using internal::v1::ForwardedEntries;
using internal::v1::ForwardedOffset;
using internal::v1::ForwardedPosition;
using internal::v1::ForwardedRead;

constexpr int64_t kBytesMax = 8 << 20;
constexpr int64_t kWaitMsMax = 10'000;

void Fill(ForwardedBounds& out, const PartitionBounds& bounds) {
  out.set_log_start(bounds.log_start.value());
  out.set_high_watermark(bounds.high_watermark.value());
  out.set_leader_epoch(bounds.leader_epoch.value());
}

ForwardedEntries EntriesOf(const ReadOutcome& outcome) {
  ForwardedEntries out;
  if (!outcome.error.ok()) out.set_error(SerializeError(outcome.error));
  Fill(*out.mutable_bounds(), outcome.bounds);
  if (outcome.loss) {
    out.mutable_loss()->set_from(outcome.loss->gap.from);
    out.mutable_loss()->set_to(outcome.loss->gap.to);
    out.mutable_loss()->set_reason(outcome.loss->gap.reason);
    out.mutable_loss()->set_resume(outcome.loss->resume.value());
  }
  for (const raft::Entry& entry : outcome.entries) {
    internal::v1::Entry& each = *out.add_entries();
    each.set_term(entry.header.term.value());
    each.set_base_offset(entry.header.base_offset.value());
    each.set_record_count(entry.header.record_count);
    each.set_append_time(entry.header.append_time);
    each.set_payload(std::string(entry.payload));
  }
  return out;
}

// A read that waits at the high watermark: until there is more, or its time is over. On its call's executor.
class WaitingRead : public std::enable_shared_from_this<WaitingRead> {
 public:
  WaitingRead(Broker& broker, std::shared_ptr<Partition> partition, const ForwardedRead& request,
              Reply<ForwardedEntries> reply, Executor& executor)
      : broker_(broker),
        partition_(std::move(partition)),
        from_(request.from()),
        wants_entries_(request.bytes_max() != 0),
        bytes_max_(static_cast<size_t>(std::clamp<int64_t>(request.bytes_max(), 1, kBytesMax))),
        reply_(std::move(reply)),
        executor_(executor) {}

  void Begin(int64_t wait_ms) {
    if (wait_ms > 0) {
      link_ = std::make_shared<WakeOn>(executor_, [self = weak_from_this()] {
        if (const auto read = self.lock()) read->Read();
      });
      timer_ = executor_.After(std::chrono::milliseconds(std::min(wait_ms, kWaitMsMax)), [self = shared_from_this()] {
        self->timer_ = 0;
        self->Read();
      });
    }
    Read();
  }

 private:
  bool waits() const { return timer_ != 0; }

  void Read() {
    if (std::exchange(busy_, true)) return;
    ReadPartition(broker_, partition_, {from_, bytes_max_, Routing::kLeaderOnly}, waits() ? link_ : nullptr, executor_,
                  [self = shared_from_this()](ReadOutcome outcome) { self->OnRead(std::move(outcome)); });
  }

  void OnRead(ReadOutcome outcome) {
    busy_ = false;
    if (waits() && outcome.error.ok() && outcome.entries.empty()) return;
    if (timer_ != 0) executor_.Cancel(std::exchange(timer_, 0));
    if (link_ != nullptr) {
      RunOn(partition_->executor(), [partition = partition_, link = link_] { partition->RemoveWaiter(link.get()); });
    }
    if (!wants_entries_) outcome.entries.clear();
    if (!std::exchange(answered_, true)) reply_.Send(EntriesOf(outcome));
  }

  Broker& broker_;
  const std::shared_ptr<Partition> partition_;
  const raft::Offset from_;
  const bool wants_entries_;
  const size_t bytes_max_;
  const Reply<ForwardedEntries> reply_;
  Executor& executor_;
  std::shared_ptr<WakeOn> link_;
  Executor::TimerId timer_ = 0;
  bool busy_ = false;
  bool answered_ = false;
};

std::shared_ptr<Partition> Find(const Broker& broker, const internal::v1::ForwardedPartition& partition,
                                ErrorFrame* error) {
  return broker.FindPartition(partition.topic(), partition.partition(), partition.topic_id(), error);
}

void Read(Broker& broker, const ForwardedRead& request, Reply<ForwardedEntries> reply, Executor& executor) {
  ErrorFrame error;
  auto partition = Find(broker, request.partition(), &error);
  if (partition == nullptr || request.from() < 0) return reply.Fail(std::move(error));
  std::make_shared<WaitingRead>(broker, std::move(partition), request, std::move(reply), executor)
      ->Begin(request.wait_ms());
}

void Resolve(Broker& broker, const ForwardedPosition& request, Reply<ForwardedOffset> reply, Executor& executor) {
  ErrorFrame error;
  auto partition = Find(broker, request.partition(), &error);
  if (partition == nullptr) return reply.Fail(std::move(error));
  if (request.kind() < PositionSpec::kOffset || request.kind() > PositionSpec::kRecordsBeforeEnd ||
      request.value() < 0) {
    return reply.Fail(MakeError(v1::Error::INVALID_REQUEST, "not a position"));
  }
  const PositionSpec spec{static_cast<PositionSpec::Kind>(request.kind()), request.value()};
  ResolvePosition(broker, std::move(partition), spec, Routing::kLeaderOnly, executor,
                  [reply](const PositionOutcome& outcome) {
                    ForwardedOffset out;
                    if (!outcome.error.ok()) out.set_error(SerializeError(outcome.error));
                    Fill(*out.mutable_bounds(), outcome.bounds);
                    out.set_offset(outcome.offset.value());
                    reply.Send(out);
                  });
}

}  // namespace

void AddForwardService(Broker& broker, ServiceRegistry& services) {
  const auto failures = [&broker](Executor& e, const ErrorFrame& error) { broker.NoteFailure(e, error); };
  const std::string prefix = "/millrace.internal.v1.Forward/";
  services.Add(prefix + "Read", Unary<ForwardedRead, ForwardedEntries>(
                                    failures, [&broker](const auto& request, auto reply, Executor& e) {
                                      Read(broker, request, std::move(reply), e);
                                    }));
  services.Add(prefix + "Resolve", Unary<ForwardedPosition, ForwardedOffset>(
                                       failures, [&broker](const auto& request, auto reply, Executor& e) {
                                         Resolve(broker, request, std::move(reply), e);
                                       }));
}

}  // namespace millrace::server
