#include "server/tail_call.h"

#include <algorithm>
#include <utility>

#include "server/errors.h"

namespace millrace::server {
namespace {

using v1::Error;

constexpr int64_t kReplyBytesDefault = 4'000'000;
constexpr int64_t kRecordBytesDefault = 1'000'000;
// A client that wants more asks again: what is read for one reply is held in memory all at once.
constexpr int64_t kRecordBytesMax = 4 << 20;
constexpr int64_t kWaitMsMax = 60'000;
// How large a batch may become when it is decompressed, for a topic's max.message.bytes and in any case.
constexpr int64_t kExpansionMax = 32;
constexpr int64_t kBatchBytesMax = 256 << 20;

}  // namespace

// What was read, on its way through the pool to become records.
struct TailCall::Page {
  PartitionName name;
  ReadOutcome read;
  raft::Offset from;
  bool log_append_time = false;
  PlainLimits limits;
  v1::ReadResponse response;
  PlainFailure failure;
};

TailCall::TailCall(Broker& broker, Executor& executor, Mode mode)
    : broker_(broker),
      executor_(executor),
      shard_(broker.ShardOf(executor)),
      mode_(mode),
      write_deadline_(executor, broker.clock(), stream_),
      self_(std::make_shared<TailCall*>(this)) {}

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

void TailCall::LimitTo(int64_t records_bytes, int64_t reply_bytes) {
  limits_.reply_bytes_max = reply_bytes == 0 ? kReplyBytesDefault : reply_bytes;
  limits_.records_bytes_max =
      std::min({records_bytes == 0 ? kRecordBytesDefault : records_bytes, limits_.reply_bytes_max, kRecordBytesMax});
}

bool TailCall::ParseOnce(const absl::Cord& message, PositionSpec* spec) {
  v1::ReadRequest request;
  if (!request.ParseFromString(std::string(message))) return false;
  topic_ = request.topic();
  partition_number_ = request.partition();
  routing_ = static_cast<Routing>(request.routing());
  *spec = {PositionSpec::kOffset, request.offset()};
  LimitTo(request.max_bytes(), request.max_reply_bytes());
  wait_ms_ = std::min(request.max_wait_ms(), kWaitMsMax);
  return request.offset() >= 0 && request.max_bytes() >= 0 && request.max_wait_ms() >= 0 &&
         request.max_reply_bytes() >= 0;
}

bool TailCall::ParseFollow(const absl::Cord& message, PositionSpec* spec) {
  v1::TailRequest request;
  if (!request.ParseFromString(std::string(message))) return false;
  topic_ = request.topic();
  partition_number_ = request.partition();
  routing_ = static_cast<Routing>(request.routing());
  *spec = request.has_offset() ? PositionSpec{PositionSpec::kOffset, request.offset()}
                               : PositionSpec{PositionSpec::kLatest, 0};
  LimitTo(0, request.max_reply_bytes());
  return request.offset() >= 0 && request.max_reply_bytes() >= 0;
}

void TailCall::OnMessage(absl::Cord message) {
  PositionSpec spec;
  const bool good = mode_ == Mode::kOnce ? ParseOnce(message, &spec) : ParseFollow(message, &spec);
  if (!good)
    return Fail(
        MakeError(Error::INVALID_REQUEST, "not a valid request: offsets, sizes and times must not be negative"));
  ErrorFrame error = CheckRouting(static_cast<int32_t>(routing_));
  if (!error.ok()) return Fail(std::move(error));
  partition_ = broker_.FindPartition(topic_, partition_number_, 0, &error);
  if (partition_ == nullptr) return Fail(std::move(error));
  link_ = std::make_shared<WakeOn>(executor_, [self = self_] {
    if (*self != nullptr) (*self)->Read();
  });
  if (mode_ == Mode::kOnce && wait_ms_ == 0) deadline_passed_ = true;
  if (!deadline_passed_ && mode_ == Mode::kOnce) {
    deadline_ = executor_.After(std::chrono::milliseconds(wait_ms_), [this] {
      deadline_passed_ = true;
      Read();
    });
  }
  ResolvePosition(broker_, partition_, spec, routing_, executor_, [self = self_](const PositionOutcome& outcome) {
    if (*self == nullptr) return;
    if (!outcome.error.ok()) return (*self)->Fail(outcome.error);
    (*self)->next_ = outcome.offset;
    (*self)->Read();
  });
}

void TailCall::Read() {
  if (busy_ || stream_ == nullptr || partition_ == nullptr) return;
  busy_ = true;
  const size_t bytes = static_cast<size_t>(limits_.records_bytes_max);
  ReadPartition(broker_, partition_, {next_, bytes, routing_}, deadline_passed_ ? nullptr : link_, executor_,
                [self = self_](ReadOutcome outcome) {
                  if (*self != nullptr) (*self)->OnRead(std::move(outcome));
                });
}

// Records are unpacked on the pool: decompressing can take longer than other calls should wait.
void TailCall::OnRead(ReadOutcome outcome) {
  busy_ = false;
  if (stream_ == nullptr) return;
  if (!outcome.error.ok()) {
    if (!SendGap(outcome.loss, outcome.bounds)) Fail(std::move(outcome.error));
    return;
  }
  auto page = std::make_shared<Page>();
  page->name = partition_->name();
  page->read = std::move(outcome);
  page->from = next_;
  const auto config = partition_->config();
  page->log_append_time = config->timestamp_type == TimestampType::kLogAppendTime;
  page->limits = limits_;
  page->limits.batch_bytes_max = std::min(kExpansionMax * config->max_message_bytes, kBatchBytesMax);
  if (page->read.entries.empty()) {
    page->response.set_next_offset(next_.value());
    return OnPage(*page);
  }
  busy_ = true;
  broker_.pool().Submit([page, self = self_, &home = executor_] {
    page->failure = PlainFromEntries(page->name, page->read.entries, page->from, page->log_append_time, page->limits,
                                     &page->response);
    home.Post([page, self] {
      if (*self == nullptr) return;
      (*self)->busy_ = false;
      (*self)->OnPage(*page);
    });
  });
}

void TailCall::OnPage(Page& page) {
  if (stream_ == nullptr) return;
  const PartitionBounds& bounds = page.read.bounds;
  if (!page.failure.ok()) {
    if (!SendGap(page.failure.loss, bounds)) Fail(std::move(page.failure.error));
    return;
  }
  if (page.response.records().empty() && !page.read.entries.empty()) {  // entries without records
    next_ = page.read.entries.back().header.end_offset();
    page.response.set_next_offset(next_.value());
    if (next_ < bounds.high_watermark) return Read();
  }
  if (page.response.records().empty() && !(mode_ == Mode::kOnce && deadline_passed_)) return;  // the link wakes us
  shard_.metrics.records_out.Add(page.response.records_size());
  shard_.metrics.bytes_out.Add(page.response.ByteSizeLong());
  Send(std::move(page.response), bounds);
}

// A tail that retention overtook, or that meets damage, says so and goes on. A position past the end is a mistake of the
// caller's: no gap would explain it.
bool TailCall::SendGap(const std::optional<Loss>& loss, const PartitionBounds& bounds) {
  if (mode_ == Mode::kOnce || !loss || loss->gap.reason == v1::Gap::TRUNCATED) return false;
  v1::ReadResponse response;
  response.mutable_gap()->set_from(loss->gap.from);
  response.mutable_gap()->set_to(loss->gap.to);
  response.mutable_gap()->set_reason(static_cast<v1::Gap::Reason>(loss->gap.reason));
  response.set_next_offset(loss->resume.value());
  Send(std::move(response), bounds);
  return true;
}

void TailCall::Send(v1::ReadResponse response, const PartitionBounds& bounds) {
  next_ = raft::Offset(response.next_offset());
  response.set_high_watermark(bounds.high_watermark.value());
  response.set_log_start_offset(bounds.log_start.value());
  response.set_leader_epoch(static_cast<int32_t>(bounds.leader_epoch.value()));
  if (bounds.leader) *response.mutable_leader() = StubOf(*bounds.leader);
  busy_ = true;
  write_deadline_.Begin();
  stream_->Write(absl::Cord(response.SerializeAsString()));
  if (mode_ == Mode::kOnce) stream_->Finish({});
}

void TailCall::OnWritten() {
  write_deadline_.End();
  busy_ = false;
  Read();
}

void TailCall::Fail(ErrorFrame error) {
  if (stream_ != nullptr) stream_->Finish(FailedCall(std::move(error)));
}

void TailCall::OnClosed(CallEnd end) {
  stream_ = nullptr;
  broker_.NoteFailure(executor_, end.error);
}

}  // namespace millrace::server
