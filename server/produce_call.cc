#include "server/produce_call.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/forward.h"
#include "server/reads.h"

namespace millrace::server {
namespace {

using v1::Error;

// Of one stream, received and not yet acked. Enough to keep a disk with a few milliseconds of latency busy.
constexpr int64_t kStreamBytesMax = 32 << 20;
// What a batch costs besides its bytes, from here through the round to its ack: small batches must not be free.
constexpr int64_t kBatchOverheadBytes = 1 << 10;
// Acks that a client has not taken; a client that only writes is stopped here.
constexpr size_t kUnsentAcksMax = 4096;
// A response is closed at this size: errors carry text, and stock clients take no reply over 4 MiB.
constexpr size_t kResponseBytesTarget = 1 << 20;
constexpr size_t kAckBytes = 100;  // without its error's text

size_t SizeBound(const ProduceAckFrame& ack) {
  return kAckBytes + ack.error.message.size() + ack.error.topic.size() + ack.error.address.size() +
         (ack.leader ? ack.leader->address.size() : 0);
}

}  // namespace

ProduceCall::ProduceCall(Broker& broker, Executor& executor)
    : broker_(broker),
      executor_(executor),
      shard_(broker.ShardOf(executor)),
      self_(std::make_shared<ProduceCall*>(this)) {}

ProduceCall::~ProduceCall() {
  *self_ = nullptr;
  shard_.produce_budget.Forget(this);
}

void ProduceCall::Start(Stream& stream) {
  stream_ = &stream;
  shard_.metrics.produce_streams.Add(1);
  ReadNext();
}

void ProduceCall::OnMessage(absl::Cord message) {
  reading_ = false;
  absl::StatusOr<ProduceRequestFrame> request = ParseProduceRequest(message);
  message.Clear();
  if (!request.ok()) {
    stream_->Finish(FailedCall(
        MakeError(Error::INVALID_REQUEST, absl::StrCat("not a ProduceRequest: ", request.status().message()))));
    return;
  }
  if (request->ping != 0) {
    pongs_.push_back(request->ping);
    ScheduleSend();
  }
  const bool acks_known = request->acks >= 0 && request->acks <= static_cast<int32_t>(Acks::kQuorum);
  const Acks acks = acks_known && request->acks != 0 ? static_cast<Acks>(request->acks) : Acks::kQuorum;
  const ErrorFrame unknown =
      acks_known ? CheckRouting(request->routing)
                 : MakeError(Error::INVALID_REQUEST, "acks is none of ACKS_NONE, ACKS_LEADER, ACKS_QUORUM");
  for (PartitionBatchFrame& batch : request->batches) {
    if (!unknown.ok()) {
      Refuse(batch.id, acks, unknown);
      continue;
    }
    Handle(std::move(batch), acks, static_cast<Routing>(request->routing));
    shard_.writer.FlushIfLarge();
  }
  ReadNext();
}

void ProduceCall::Handle(PartitionBatchFrame frame, Acks acks, Routing routing) {
  ErrorFrame error;
  std::shared_ptr<Partition> partition = broker_.FindPartition(frame.topic, frame.partition, frame.topic_id, &error);
  if (partition == nullptr) return Refuse(frame.id, acks, std::move(error));
  if (ErrorFrame own = CheckWritable(frame.topic); !own.ok()) return Refuse(frame.id, acks, std::move(own));
  ValidBatch valid;
  absl::Cord batch = routing == Routing::kAny ? frame.batch : std::move(frame.batch);  // to be handed on, maybe
  if (!ValidateBatch(std::move(batch), *partition->config(), broker_.clock().Wall(), &valid, &error)) {
    error.topic = frame.topic;
    error.partition = frame.partition;
    return Refuse(frame.id, acks, std::move(error));
  }
  AppendTo(std::move(partition), std::move(valid), frame, {.acks = acks, .leader_epoch = frame.leader_epoch}, routing);
}

void ProduceCall::AppendTo(std::shared_ptr<Partition> partition, ValidBatch batch, const PartitionBatchFrame& frame,
                           const Partition::AppendOptions& options, Routing routing) {
  const auto bytes = static_cast<int64_t>(batch.bytes.size());
  const int64_t cost = bytes + kBatchOverheadBytes;
  bytes_in_flight_ += cost;
  ++batches_in_flight_;
  shard_.produce_budget.Take(cost);
  shard_.metrics.produce_queue_bytes.Set(shard_.produce_budget.bytes());
  auto on_appended = [self = self_, &shard = shard_, &clock = broker_.clock(), start = broker_.clock().Monotonic(),
                      id = frame.id, acks = options.acks, bytes, cost,
                      records = batch.header.record_count](const AppendOutcome& outcome) {
    shard.produce_budget.Return(cost);
    shard.metrics.produce_queue_bytes.Set(shard.produce_budget.bytes());
    if (outcome.duplicate) {
      shard.metrics.duplicates.Add();
    } else if (outcome.error.ok()) {
      shard.metrics.CountAppend(records, bytes);
    }
    shard.metrics.produce_seconds.Record(clock.Monotonic() - start);
    if (*self != nullptr) (*self)->OnAppended(id, acks, cost, outcome);
  };
  Partition::AppendDone done = std::move(on_appended);
  if (routing == Routing::kAny) done = OrAtLeader(frame, options.acks, cost, std::move(done));
  if (partition->executor().OnThread()) {
    partition->Append(std::move(batch), options, std::move(done));
    return;
  }
  partition->executor().Post([partition, batch = std::move(batch), options, &home = executor_, done]() mutable {
    partition->Append(std::move(batch), options,
                      [&home, done](const AppendOutcome& outcome) { home.Post([done, outcome] { done(outcome); }); });
  });
}

// What is refused here because another broker leads goes there, once.
Partition::AppendDone ProduceCall::OrAtLeader(const PartitionBatchFrame& frame, Acks acks, int64_t cost,
                                              Partition::AppendDone done) {
  return [self = self_, &broker = broker_, &shard = shard_, frame, acks, cost,
          done = std::move(done)](const AppendOutcome& outcome) {
    const std::string leader = outcome.error.code == Error::NOT_LEADER_OR_FOLLOWER && !outcome.error.may_have_happened
                                   ? AddressOfLeader(broker, Routing::kAny, outcome.error)
                                   : "";
    if (leader.empty()) return done(outcome);
    if (*self != nullptr) ++(*self)->at_leaders_[leader];
    shard.forward.Append(leader, frame, acks, cost,
                         [self, leader, hint = outcome.error.leader, done](AppendOutcome theirs) {
                           if (*self != nullptr) --(*self)->at_leaders_[leader];
                           theirs.leader = hint;
                           done(theirs);
                         });
  };
}

bool ProduceCall::WaitsForCrowdedLeader() const {
  return std::any_of(at_leaders_.begin(), at_leaders_.end(), [this](const auto& leader) {
    return leader.second > 0 && shard_.forward.IsCrowded(leader.first);
  });
}

void ProduceCall::Refuse(uint64_t id, Acks acks, ErrorFrame error) {
  broker_.NoteFailure(executor_, error);
  if (acks == Acks::kNone) return;
  ProduceAckFrame ack;
  ack.id = id;
  ack.error = std::move(error);
  acks_.push_back(std::move(ack));
  ScheduleSend();
}

void ProduceCall::OnAppended(uint64_t id, Acks acks, int64_t cost, const AppendOutcome& outcome) {
  bytes_in_flight_ -= cost;
  --batches_in_flight_;
  broker_.NoteFailure(executor_, outcome.error);
  if (acks != Acks::kNone) {
    ProduceAckFrame& ack = acks_.emplace_back();
    ack.id = id;
    ack.error = outcome.error;
    ack.base_offset = outcome.base_offset.value();
    ack.append_time = outcome.append_time;
    ack.leader_epoch = static_cast<int32_t>(outcome.leader_epoch.value());
    ack.durability = outcome.durability;
    ack.log_start_offset = outcome.log_start.value();
    ack.high_watermark = outcome.high_watermark.value();
    ack.duplicate = outcome.duplicate;
    ack.crc_computed = outcome.crc_computed;
    ack.leader = outcome.leader;
  }
  ScheduleSend();
  ReadNext();
}

void ProduceCall::ReadNext() {
  if (reading_ || reads_done_ || stream_ == nullptr) return;
  // The next ack comes back here.
  if (bytes_in_flight_ >= kStreamBytesMax || acks_.size() >= kUnsentAcksMax || WaitsForCrowdedLeader()) return;
  if (shard_.produce_budget.exhausted()) {
    shard_.produce_budget.Wait(this, [this] { ReadNext(); });
    return;
  }
  reading_ = true;
  stream_->Read();
}

void ProduceCall::ScheduleSend() {
  if (send_scheduled_) return;
  send_scheduled_ = true;
  executor_.Defer([self = self_] {
    if (*self == nullptr) return;
    (*self)->send_scheduled_ = false;
    (*self)->Send();
  });
}

void ProduceCall::Send() {
  if (writing_ || stream_ == nullptr) return;
  if (acks_.empty() && pongs_.empty()) return FinishIfDone();
  ProduceResponseFrame response;
  if (!pongs_.empty()) response.ping = pongs_.back();
  pongs_.clear();
  response.acks = TakeAcks();
  writing_ = true;
  stream_->Write(SerializeProduceResponse(response));
}

// As many as one response should hold.
std::vector<ProduceAckFrame> ProduceCall::TakeAcks() {
  size_t count = 0;
  for (size_t bytes = 0; count < acks_.size() && bytes < kResponseBytesTarget; ++count)
    bytes += SizeBound(acks_[count]);
  if (count == acks_.size()) return std::exchange(acks_, {});
  const auto end = acks_.begin() + static_cast<ptrdiff_t>(count);
  std::vector<ProduceAckFrame> taken(std::make_move_iterator(acks_.begin()), std::make_move_iterator(end));
  acks_.erase(acks_.begin(), end);
  return taken;
}

void ProduceCall::OnWritten() {
  writing_ = false;
  Send();
  ReadNext();
}

void ProduceCall::OnReadsDone() {
  reading_ = false;
  reads_done_ = true;
  FinishIfDone();
}

void ProduceCall::FinishIfDone() {
  if (reads_done_ && batches_in_flight_ == 0 && acks_.empty() && pongs_.empty() && !writing_) stream_->Finish({});
}

void ProduceCall::OnClosed(CallEnd end) {
  stream_ = nullptr;
  broker_.NoteFailure(executor_, end.error);
  shard_.metrics.produce_streams.Add(-1);
}

}  // namespace millrace::server
