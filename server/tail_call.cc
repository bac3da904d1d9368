#include "server/tail_call.h"

#include <algorithm>
#include <utility>

#include "server/errors.h"

namespace millrace::server {
namespace {

using v1::Error;

constexpr int64_t kReplyBytesDefault = 4'000'000;
constexpr int64_t kRecordBytesDefault = 1'000'000;
constexpr int64_t kWaitMsMax = 60'000;

}  // namespace

class TailCall::Link : public Partition::Waiter {
 public:
  Link(std::shared_ptr<TailCall*> call, Executor& home) : call_(std::move(call)), home_(home) {}
  void OnPartitionAdvanced() override {
    RunOn(home_, [call = call_] {
      if (*call != nullptr) (*call)->Read();
    });
  }

 private:
  std::shared_ptr<TailCall*> call_;
  Executor& home_;
};

TailCall::TailCall(Broker& broker, Executor& executor, Mode mode)
    : broker_(broker), executor_(executor), mode_(mode), self_(std::make_shared<TailCall*>(this)) {}

TailCall::~TailCall() {
  *self_ = nullptr;
  executor_.Cancel(deadline_);
  if (link_ != nullptr) {
    RunOn(partition_->executor(), [partition = partition_, link = link_] { partition->RemoveWaiter(link.get()); });
  }
}

void TailCall::Start(Stream& stream) {
  stream_ = &stream;
  stream.Read();
}

bool TailCall::ParseOnce(const absl::Cord& message, PositionSpec* spec) {
  v1::ReadRequest request;
  if (!request.ParseFromString(std::string(message))) return false;
  topic_ = request.topic();
  partition_number_ = request.partition();
  *spec = {PositionSpec::kOffset, request.offset()};
  limits_ = {request.max_bytes() == 0 ? kRecordBytesDefault : request.max_bytes(),
             request.max_reply_bytes() == 0 ? kReplyBytesDefault : request.max_reply_bytes()};
  wait_ms_ = std::min(request.max_wait_ms(), kWaitMsMax);
  return request.offset() >= 0 && request.max_bytes() >= 0 && request.max_wait_ms() >= 0 &&
         request.max_reply_bytes() >= 0;
}

bool TailCall::ParseFollow(const absl::Cord& message, PositionSpec* spec) {
  v1::TailRequest request;
  if (!request.ParseFromString(std::string(message))) return false;
  topic_ = request.topic();
  partition_number_ = request.partition();
  *spec = request.has_offset() ? PositionSpec{PositionSpec::kOffset, request.offset()}
                               : PositionSpec{PositionSpec::kLatest, 0};
  limits_ = {kRecordBytesDefault, request.max_reply_bytes() == 0 ? kReplyBytesDefault : request.max_reply_bytes()};
  return request.offset() >= 0 && request.max_reply_bytes() >= 0;
}

void TailCall::OnMessage(absl::Cord message) {
  PositionSpec spec;
  const bool good = mode_ == Mode::kOnce ? ParseOnce(message, &spec) : ParseFollow(message, &spec);
  if (!good)
    return Fail(
        MakeError(Error::INVALID_REQUEST, "not a valid request: offsets, sizes and times must not be negative"));
  ErrorFrame error;
  partition_ = broker_.FindPartition(topic_, partition_number_, 0, &error);
  if (partition_ == nullptr) return Fail(std::move(error));
  link_ = std::make_shared<Link>(self_, executor_);
  if (mode_ == Mode::kOnce && wait_ms_ == 0) deadline_passed_ = true;
  if (!deadline_passed_ && mode_ == Mode::kOnce) {
    deadline_ = executor_.After(std::chrono::milliseconds(wait_ms_), [this] {
      deadline_passed_ = true;
      Read();
    });
  }
  ResolvePosition(broker_, partition_, spec, executor_, [self = self_](const PositionOutcome& outcome) {
    if (*self == nullptr) return;
    if (!outcome.error.ok()) return (*self)->Fail(outcome.error);
    (*self)->next_ = outcome.offset;
    (*self)->Read();
  });
}

void TailCall::Read() {
  if (reading_ || stream_ == nullptr || partition_ == nullptr) return;
  reading_ = true;
  const size_t bytes = static_cast<size_t>(limits_.records_bytes_max);
  ReadPartition(broker_, partition_, next_, bytes, deadline_passed_ ? nullptr : link_, executor_,
                [self = self_](ReadOutcome outcome) {
                  if (*self == nullptr) return;
                  (*self)->reading_ = false;
                  (*self)->OnRead(std::move(outcome));
                });
}

void TailCall::OnRead(ReadOutcome outcome) {
  if (stream_ == nullptr) return;
  if (!outcome.error.ok()) {
    if (!GapInstead(outcome)) Fail(std::move(outcome.error));
    return;
  }
  v1::ReadResponse response;
  const bool append_time = partition_->config()->timestamp_type == TimestampType::kLogAppendTime;
  if (ErrorFrame error = PlainFromEntries(outcome.entries, next_, append_time, limits_, &response); !error.ok()) {
    error.topic = topic_;
    error.partition = partition_number_;
    return Fail(std::move(error));
  }
  if (response.records().empty() && !outcome.entries.empty()) {  // entries without records
    next_ = outcome.entries.back().header.end_offset();
    if (next_ < outcome.bounds.high_watermark) return Read();
  }
  if (response.records().empty() && !(mode_ == Mode::kOnce && deadline_passed_)) return;  // the link wakes us
  Send(std::move(response), outcome.bounds);
}

// A tail that retention overtook says so and goes on.
bool TailCall::GapInstead(const ReadOutcome& outcome) {
  if (mode_ == Mode::kOnce || outcome.error.code != Error::OFFSET_OUT_OF_RANGE || next_ >= outcome.bounds.log_start)
    return false;
  v1::ReadResponse response;
  response.mutable_gap()->set_from(next_.value());
  response.mutable_gap()->set_to(outcome.bounds.log_start.value());
  response.mutable_gap()->set_reason(v1::Gap::RETENTION);
  response.set_next_offset(outcome.bounds.log_start.value());
  Send(std::move(response), outcome.bounds);
  return true;
}

void TailCall::Send(v1::ReadResponse response, const PartitionBounds& bounds) {
  next_ = raft::Offset(response.next_offset());
  response.set_high_watermark(bounds.high_watermark.value());
  response.set_log_start_offset(bounds.log_start.value());
  response.set_leader_epoch(static_cast<int32_t>(bounds.leader_epoch.value()));
  reading_ = true;  // until it is written
  stream_->Write(absl::Cord(response.SerializeAsString()));
  if (mode_ == Mode::kOnce) stream_->Finish({});
}

void TailCall::OnWritten() {
  reading_ = false;
  Read();
}

void TailCall::Fail(ErrorFrame error) {
  if (stream_ != nullptr) stream_->Finish(FailedCall(std::move(error)));
}

void TailCall::OnClosed(CallEnd) { stream_ = nullptr; }

}  // namespace millrace::server
