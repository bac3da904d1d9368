#include "server/forward_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"

namespace millrace::server {
namespace {

// A larger message is no faster, and receivers bound its bytes and its batches.
constexpr size_t kRequestBytesTarget = 1 << 20;

AppendOutcome OutcomeOf(const ProduceAckFrame& ack) {
  return {.error = ack.error,
          .base_offset = raft::Offset(ack.base_offset),
          .append_time = ack.append_time,
          .leader_epoch = raft::Term(ack.leader_epoch),
          .durability = ack.durability,
          .log_start = raft::Offset(ack.log_start_offset),
          .high_watermark = raft::Offset(ack.high_watermark),
          .duplicate = ack.duplicate,
          .crc_computed = ack.crc_computed};
}

}  // namespace

ForwardStream::ForwardStream(ClientTransport& transport, Executor& executor, std::string address)
    : transport_(transport),
      executor_(executor),
      address_(std::move(address)),
      self_(std::make_shared<ForwardStream*>(this)) {}

ForwardStream::~ForwardStream() { *self_ = nullptr; }

void ForwardStream::Append(PartitionBatchFrame batch, Acks acks, int64_t cost, Partition::AppendDone done) {
  batch.id = ++last_id_;
  bytes_ += cost;
  unanswered_[batch.id] = {cost, std::move(done)};
  waiting_.push_back({std::move(batch), acks == Acks::kNone ? Acks::kLeader : acks});
  ScheduleSend();
}

void ForwardStream::ScheduleSend() {
  if (std::exchange(send_scheduled_, true)) return;
  executor_.Defer([self = self_] {
    if (*self == nullptr) return;
    (*self)->send_scheduled_ = false;
    (*self)->Send();
  });
}

void ForwardStream::Send() {
  if (writing_ || waiting_.empty()) return;
  if (stream_ == nullptr) {
    stream_ = transport_.OpenStream(address_, "/millrace.v1.Broker/Produce", this);
    stream_->Read();
  }
  writing_ = true;
  stream_->Write(SerializeProduceRequest(NextRequest()));
}

// What wants the same acks, in its order.
ProduceRequestFrame ForwardStream::NextRequest() {
  const Acks acks = waiting_.front().acks;
  ProduceRequestFrame request{.acks = static_cast<int32_t>(acks),
                              .routing = static_cast<int32_t>(Routing::kLeaderOnly)};
  size_t bytes = 0;
  while (!waiting_.empty() && waiting_.front().acks == acks && bytes < kRequestBytesTarget) {
    bytes += waiting_.front().batch.batch.size();
    request.batches.push_back(std::move(waiting_.front().batch));
    waiting_.pop_front();
  }
  return request;
}

void ForwardStream::OnWritten() {
  writing_ = false;
  Send();
}

void ForwardStream::OnMessage(absl::Cord message) {
  const auto response = ParseProduceResponse(message);
  if (response.ok()) {
    for (const ProduceAckFrame& ack : response->acks) {
      const auto answered = unanswered_.extract(ack.id);
      if (answered.empty()) continue;
      bytes_ -= answered.mapped().cost;
      answered.mapped().done(OutcomeOf(ack));
    }
  }
  if (stream_ != nullptr) stream_->Read();
}

void ForwardStream::OnClosed(CallEnd end) {
  executor_.Post([stream = std::shared_ptr<Stream>(std::move(stream_))] {});  // it is on the call stack
  FailAll(ToStdString(end.status.message()), !end.never_sent);
}

void ForwardStream::Break(const std::string& why) {
  stream_.reset();
  FailAll(why, true);
}

// What was not sent yet is given back, too: its client routes it anew.
void ForwardStream::FailAll(const std::string& why, bool may_have_happened) {
  writing_ = false;
  waiting_.clear();
  bytes_ = 0;
  AppendOutcome outcome;
  outcome.error = MakeError(v1::Error::LEADER_NOT_AVAILABLE,
                            absl::StrCat("the way to the leader at ", address_, " broke before it answered: ", why));
  outcome.error.may_have_happened = may_have_happened;
  for (auto& [id, unanswered] : std::exchange(unanswered_, {})) unanswered.done(outcome);
}

}  // namespace millrace::server
