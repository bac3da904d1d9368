#include "server/forward_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"

namespace millrace::server {
namespace {

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

void ForwardStream::Append(PartitionBatchFrame batch, Acks acks, Partition::AppendDone done) {
  batch.id = ++last_id_;
  unanswered_[batch.id] = std::move(done);
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

// All that wants the same acks, in its order.
void ForwardStream::Send() {
  if (writing_ || waiting_.empty()) return;
  if (stream_ == nullptr) {
    stream_ = transport_.OpenStream(address_, "/millrace.v1.Broker/Produce", this);
    stream_->Read();
  }
  ProduceRequestFrame request{.acks = static_cast<int32_t>(waiting_.front().acks),
                              .routing = static_cast<int32_t>(Routing::kLeaderOnly)};
  size_t taken = 0;
  for (; taken < waiting_.size() && waiting_[taken].acks == waiting_.front().acks; ++taken) {
    request.batches.push_back(std::move(waiting_[taken].batch));
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(taken));
  writing_ = true;
  stream_->Write(SerializeProduceRequest(request));
}

void ForwardStream::OnWritten() {
  writing_ = false;
  Send();
}

void ForwardStream::OnMessage(absl::Cord message) {
  const auto response = ParseProduceResponse(message);
  if (response.ok()) {
    for (const ProduceAckFrame& ack : response->acks) {
      if (auto done = unanswered_.extract(ack.id); !done.empty()) done.mapped()(OutcomeOf(ack));
    }
  }
  if (stream_ != nullptr) stream_->Read();
}

// What was not sent yet is given back, too: its client routes it anew.
void ForwardStream::OnClosed(CallEnd end) {
  executor_.Post([stream = std::shared_ptr<Stream>(std::move(stream_))] {});  // it is on the call stack
  writing_ = false;
  waiting_.clear();
  AppendOutcome outcome;
  outcome.error = MakeError(v1::Error::LEADER_NOT_AVAILABLE,
                            absl::StrCat("the way to the leader at ", address_,
                                         " broke before it answered: ", ToStdString(end.status.message())));
  outcome.error.may_have_happened = !end.never_sent;
  for (auto& [id, done] : std::exchange(unanswered_, {})) done(outcome);
}

}  // namespace millrace::server
