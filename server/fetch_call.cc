#include "server/fetch_call.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "millrace/v1/broker.pb.h"
#include "server/errors.h"

namespace millrace::server {
namespace {

using raft::Entry;
using raft::Offset;
using v1::Error;
using v1::Gap;

// What stock gRPC clients take (their limit is 4 MiB).
constexpr int64_t kReplyBytesDefault = 4'000'000;
// A frame is closed at this size, so that partitions take turns and the client can start on it early.
constexpr int64_t kFrameBytesTarget = 1 << 20;
// One partition's share of a frame, and the size of a read from disk.
constexpr int64_t kReadBytes = 512 << 10;
// Instead of both when other streams use up the budget: clients that never read must not keep the others from reading.
constexpr int64_t kScarceBytes = 64 << 10;
// Reads under way and read ahead, of one stream: at most this, and this share of the budget.
constexpr int64_t kReadAheadBytesMax = 8 << 20;
constexpr int64_t kReadAheadShare = 8;
constexpr size_t kSubscriptionsMax = 100'000;

int64_t PayloadBytes(const absl::Cord& batch) {
  absl::StatusOr<BatchView> view = ParseBatch(batch);
  return static_cast<int64_t>(view.ok() ? view->payload.size() : batch.size());
}

}  // namespace

// Hears of a partition's progress on the partition's executor and passes it on to the call's.
class FetchCall::Link : public Partition::Waiter {
 public:
  Link(std::shared_ptr<FetchCall*> call, Executor& home, uint64_t id) : call_(std::move(call)), home_(home), id_(id) {}

  void OnPartitionAdvanced() override {
    RunOn(home_, [call = call_, id = id_] {
      if (*call != nullptr) (*call)->OnAdvanced(id);
    });
  }

 private:
  std::shared_ptr<FetchCall*> call_;
  Executor& home_;
  uint64_t id_;
};

FetchCall::FetchCall(Broker& broker, Executor& executor)
    : broker_(broker),
      executor_(executor),
      shard_(broker.ShardOf(executor)),
      reply_bytes_max_(kReplyBytesDefault),
      self_(std::make_shared<FetchCall*>(this)) {}

FetchCall::~FetchCall() { *self_ = nullptr; }

void FetchCall::Start(Stream& stream) {
  stream_ = &stream;
  shard_.metrics.fetch_streams.Add(1);
  stream_->Read();
}

void FetchCall::OnMessage(absl::Cord message) {
  absl::StatusOr<FetchRequestFrame> request = ParseFetchRequest(message);
  if (!request.ok()) {
    stream_->Finish(FailedCall(
        MakeError(Error::INVALID_REQUEST, absl::StrCat("not a FetchRequest: ", request.status().message()))));
    return;
  }
  if (!Apply(*request)) return;
  SchedulePump();
  stream_->Read();
}

// False: the stream was ended.
bool FetchCall::Apply(const FetchRequestFrame& request) {
  const auto fail = [this](std::string why) {
    stream_->Finish(FailedCall(MakeError(Error::INVALID_REQUEST, std::move(why))));
    return false;
  };
  if (request.credit < 0 || request.max_reply_bytes < 0) return fail("credit and max_reply_bytes must not be negative");
  if (first_message_ && request.max_reply_bytes > 0) reply_bytes_max_ = request.max_reply_bytes;
  first_message_ = false;
  for (uint64_t id : request.unsubscribe) {
    if (subscriptions_.contains(id)) Drop(id);
  }
  if (subscriptions_.size() + request.subscribe.size() > kSubscriptionsMax) {
    return fail(absl::StrCat("more than ", kSubscriptionsMax, " subscriptions on one stream; open another"));
  }
  for (const FetchSubscriptionFrame& subscribe : request.subscribe) {
    if (subscriptions_.contains(subscribe.id))
      return fail(absl::StrCat("subscription id ", subscribe.id, " is in use on this stream"));
    Subscribe(subscribe);
  }
  for (uint64_t id : request.pause) {
    if (auto it = subscriptions_.find(id); it != subscriptions_.end()) Pause(it->second);
  }
  for (uint64_t id : request.resume) {
    auto it = subscriptions_.find(id);
    if (it == subscriptions_.end()) continue;
    it->second.paused = false;
    if (it->second.state == Subscription::State::kReady) Enqueue(id, it->second);
  }
  credit_ += request.credit;
  if (request.ping != 0) pong_ = request.ping;
  return true;
}

void FetchCall::Subscribe(const FetchSubscriptionFrame& request) {
  using Position = FetchSubscriptionFrame::Position;
  Subscription& sub = subscriptions_[request.id];
  sub.request = request;
  ErrorFrame error;
  sub.partition = broker_.FindPartition(request.topic, request.partition, request.topic_id, &error);
  if (sub.partition == nullptr) return EndWithError(request.id, std::move(error));
  PositionSpec spec;
  switch (request.position) {
    case Position::kNone:
    case Position::kOffset:
      spec = {PositionSpec::kOffset, request.position_value};
      break;
    case Position::kTimestamp:
      spec = {PositionSpec::kTimestamp, request.position_value};
      break;
    case Position::kRecordsBeforeEnd:
      spec = {PositionSpec::kRecordsBeforeEnd, request.position_value};
      break;
    case Position::kSpec:
      spec.kind = request.position_value == static_cast<int64_t>(OffsetSpec::kLatest) ? PositionSpec::kLatest
                                                                                      : PositionSpec::kEarliest;
      break;
  }
  if (request.position_value < 0 || request.end_offset < 0) {
    return EndWithError(request.id, MakeError(Error::INVALID_REQUEST, request.topic, request.partition,
                                              "positions, times and end_offset must not be negative"));
  }
  sub.link = std::make_shared<Link>(self_, executor_, request.id);
  ResolvePosition(broker_, sub.partition, spec, executor_,
                  [self = self_, id = request.id](const PositionOutcome& outcome) {
                    if (*self != nullptr) (*self)->OnResolved(id, outcome);
                  });
}

void FetchCall::OnResolved(uint64_t id, const PositionOutcome& outcome) {
  auto it = subscriptions_.find(id);
  if (it == subscriptions_.end()) return;
  Subscription& sub = it->second;
  if (!outcome.error.ok()) return EndWithError(id, outcome.error);
  sub.next = outcome.offset;
  sub.bounds = outcome.bounds;
  std::optional<GapFrame> gap;
  if (!CheckRange(id, sub, &gap)) return;
  if (sub.request.leader_epoch != 0 && !gap && sub.next > sub.bounds.log_start) return CheckEpoch(id, sub);
  Begin(id, sub, gap);
}

// Whether the record before the position is still the one the client read: its entry has the same leader epoch.
void FetchCall::CheckEpoch(uint64_t id, Subscription& sub) {
  ReadPartition(broker_, sub.partition, sub.next - 1, 1, nullptr, executor_, [self = self_, id](ReadOutcome outcome) {
    if (*self == nullptr) return;
    FetchCall& call = **self;
    auto it = call.subscriptions_.find(id);
    if (it == call.subscriptions_.end()) return;
    Subscription& sub = it->second;
    std::optional<GapFrame> gap;
    if (outcome.error.ok() && !outcome.entries.empty() &&
        outcome.entries[0].header.term.value() != sub.request.leader_epoch) {
      if (sub.request.out_of_range != static_cast<int32_t>(OutOfRange::kGap)) {
        ErrorFrame error = OutOfRangeError(sub.partition->name(), sub.next.value(), outcome.bounds);
        error.message = absl::StrCat("the log was truncated below offset ", sub.next.value(),
                                     ": the record before it is of leader epoch ",
                                     outcome.entries[0].header.term.value(), ", not ", sub.request.leader_epoch);
        return call.EndWithError(id, std::move(error));
      }
      gap = GapFrame{sub.next.value(), sub.next.value(), Gap::TRUNCATED};
    }
    call.Begin(id, sub, gap);
  });
}

// Tells the client where reading begins.
void FetchCall::Begin(uint64_t id, Subscription& sub, std::optional<GapFrame> gap) {
  FetchPartitionFrame news = FrameOf(id, sub);
  news.start_offset = sub.next.value();
  news.gap = gap;
  news_.push_back(std::move(news));
  Enqueue(id, sub);
}

// Positions outside the log: moved to its edge behind a gap, or an error, as the client chose. False: the subscription ended.
bool FetchCall::CheckRange(uint64_t id, Subscription& sub, std::optional<GapFrame>* gap) {
  const bool below = sub.next < sub.bounds.log_start;
  if (!below && sub.next <= sub.bounds.high_watermark) return true;
  if (sub.request.out_of_range != static_cast<int32_t>(OutOfRange::kGap)) {
    EndWithError(id, OutOfRangeError(sub.partition->name(), sub.next.value(), sub.bounds));
    return false;
  }
  if (below) {
    *gap = GapFrame{sub.next.value(), sub.bounds.log_start.value(), Gap::RETENTION};
    sub.next = sub.bounds.log_start;
  } else {
    *gap = GapFrame{sub.bounds.high_watermark.value(), sub.next.value(), Gap::TRUNCATED};
    sub.next = sub.bounds.high_watermark;
  }
  return true;
}

void FetchCall::Enqueue(uint64_t id, Subscription& sub) {
  sub.state = Subscription::State::kReady;
  SchedulePump();
  if (sub.queued || sub.paused) return;
  sub.queued = true;
  ready_.push_back(id);
}

// What was read ahead is dropped, so that a paused partition holds no memory that others wait for.
void FetchCall::Pause(Subscription& sub) {
  sub.paused = true;
  sub.read_ahead.clear();
  HoldReadAhead(sub, -sub.read_ahead_bytes);
}

void FetchCall::OnAdvanced(uint64_t id) {
  auto it = subscriptions_.find(id);
  if (it != subscriptions_.end() && it->second.state == Subscription::State::kWaiting) Enqueue(id, it->second);
}

void FetchCall::Drop(uint64_t id) {
  auto it = subscriptions_.find(id);
  Subscription& sub = it->second;
  HoldReadAhead(sub, -sub.read_ahead_bytes);
  if (sub.link != nullptr) {
    RunOn(sub.partition->executor(),
          [partition = sub.partition, link = sub.link] { partition->RemoveWaiter(link.get()); });
  }
  subscriptions_.erase(it);
}

FetchPartitionFrame FetchCall::FrameOf(uint64_t id, const Subscription& sub) const {
  FetchPartitionFrame frame;
  frame.subscription = id;
  frame.high_watermark = sub.bounds.high_watermark.value();
  frame.log_start_offset = sub.bounds.log_start.value();
  frame.leader_epoch = static_cast<int32_t>(sub.bounds.leader_epoch.value());
  frame.log_append_time = sub.partition->config()->timestamp_type == TimestampType::kLogAppendTime;
  return frame;
}

void FetchCall::EndWithError(uint64_t id, ErrorFrame error) {
  FetchPartitionFrame news;
  news.subscription = id;
  news.error = std::move(error);
  news_.push_back(std::move(news));
  Drop(id);
  SchedulePump();
}

void FetchCall::SchedulePump() {
  if (pump_scheduled_) return;
  pump_scheduled_ = true;
  executor_.Defer([self = self_] {
    if (*self == nullptr) return;
    (*self)->pump_scheduled_ = false;
    (*self)->Pump();
  });
}

void FetchCall::Pump() {
  if (writing_ || stream_ == nullptr) return;
  FetchResponseFrame frame;
  if (!BuildFrame(&frame)) {
    if (reads_done_ && subscriptions_.empty()) stream_->Finish({});
    return;
  }
  absl::Cord message = SerializeFetchResponse(frame);
  frame_bytes_ = static_cast<int64_t>(message.size());
  shard_.fetch_budget.Take(frame_bytes_);
  shard_.metrics.bytes_out.Add(frame_bytes_);
  shard_.metrics.fetch_queue_bytes.Set(shard_.fetch_budget.bytes());
  writing_ = true;
  write_started_ = broker_.clock().Monotonic();
  stream_->Write(std::move(message));
}

// False: nothing to send now.
bool FetchCall::BuildFrame(FetchResponseFrame* frame) {
  std::vector<FetchPartitionFrame> data;
  frame_bytes_max_ = std::min(shard_.fetch_budget.exhausted() ? kScarceBytes : kFrameBytesTarget, reply_bytes_max_);
  int64_t room = frame_bytes_max_;
  for (const FetchPartitionFrame& news : news_)
    room -= kFetchPartitionOverheadBytes + static_cast<int64_t>(news.error.message.size());
  for (size_t turns = ready_.size(); turns > 0 && room > 0 && credit_ > 0; --turns) {
    const uint64_t id = ready_.front();
    ready_.pop_front();
    auto it = subscriptions_.find(id);
    if (it == subscriptions_.end()) continue;
    Subscription& sub = it->second;
    sub.queued = false;
    if (sub.paused || sub.state != Subscription::State::kReady) continue;
    FetchPartitionFrame out = FrameOf(id, sub);
    const Turn turn = Serve(id, sub, &out, &room);
    if (!out.batches.empty() || out.end_reached) data.push_back(std::move(out));
    if (turn == Turn::kMore || turn == Turn::kFull) {
      sub.queued = true;
      turn == Turn::kFull ? ready_.push_front(id) : ready_.push_back(id);
      if (turn == Turn::kFull) break;
    }
  }
  frame->ping = std::exchange(pong_, 0);
  frame->partitions.swap(news_);
  for (FetchPartitionFrame& out : data) frame->partitions.push_back(std::move(out));
  return frame->ping != 0 || !frame->partitions.empty();
}

// One subscription's turn: puts batches into `out` while there is room and credit.
FetchCall::Turn FetchCall::Serve(uint64_t id, Subscription& sub, FetchPartitionFrame* out, int64_t* room) {
  const int64_t end = sub.request.end_offset;
  if (end == 0 || sub.next.value() < end) {
    if (sub.read_ahead.empty() && !Load(id, sub)) {
      if (!subscriptions_.contains(id)) return Turn::kEnded;
      return sub.state == Subscription::State::kReady ? Turn::kMore : Turn::kIdle;
    }
    out->high_watermark = sub.bounds.high_watermark.value();
    out->log_start_offset = sub.bounds.log_start.value();
    *room -= kFetchPartitionOverheadBytes;
    const Turn turn = Take(id, sub, out, room);
    if (turn == Turn::kEnded || end == 0 || sub.next.value() < end) return turn;
  }
  out->end_reached = true;
  Drop(id);
  return Turn::kEnded;
}

// Fills read_ahead. False: there is nothing now, and what happens next is already arranged; or the subscription ended.
bool FetchCall::Load(uint64_t id, Subscription& sub) {
  Partition& partition = *sub.partition;
  if (!partition.executor().OnThread()) {
    StartRead(id, sub);
    return false;
  }
  if (partition.closed()) {
    EndWithError(id, MakeError(Error::UNKNOWN_TOPIC_OR_PARTITION, partition.name().topic, partition.name().partition,
                               "the topic was deleted"));
    return false;
  }
  sub.bounds = {partition.log_start(), partition.high_watermark(), partition.leader_epoch()};
  std::optional<GapFrame> gap;
  if (!CheckRange(id, sub, &gap)) return false;
  if (gap) {
    FetchPartitionFrame news = FrameOf(id, sub);
    news.gap = gap;
    news_.push_back(std::move(news));
  }
  if (sub.next == sub.bounds.high_watermark) {
    sub.state = Subscription::State::kWaiting;
    partition.AddWaiter(sub.link);
    return false;
  }
  std::vector<Entry> entries;
  if (!partition.ReadCached(sub.next, static_cast<size_t>(ReadBytes()), &entries)) {
    StartRead(id, sub);
    return false;
  }
  AddReadAhead(sub, std::move(entries));
  return !sub.read_ahead.empty();
}

int64_t FetchCall::ReadBytes() const { return shard_.fetch_budget.exhausted() ? kScarceBytes : kReadBytes; }

// Leaves the subscription ready when too much is read ahead already: it is served again after the next frame.
void FetchCall::StartRead(uint64_t id, Subscription& sub) {
  FlowBudget& budget = shard_.fetch_budget;
  const int64_t bytes = ReadBytes();
  const int64_t bytes_max = budget.exhausted() ? 1 : std::min(kReadAheadBytesMax, budget.bytes_max() / kReadAheadShare);
  if (read_ahead_bytes_ >= bytes_max) return;
  sub.state = Subscription::State::kReading;
  read_ahead_bytes_ += bytes;
  budget.Take(bytes);
  ReadPartition(broker_, sub.partition, sub.next, bytes, sub.link, executor_,
                [self = self_, id, bytes, &budget](ReadOutcome outcome) {
                  budget.Return(bytes);
                  if (*self == nullptr) return;
                  (*self)->read_ahead_bytes_ -= bytes;
                  (*self)->OnRead(id, std::move(outcome));
                });
}

void FetchCall::OnRead(uint64_t id, ReadOutcome outcome) {
  SchedulePump();
  auto it = subscriptions_.find(id);
  if (it == subscriptions_.end()) return;
  Subscription& sub = it->second;
  sub.bounds = outcome.bounds;
  if (outcome.error.code == Error::OFFSET_OUT_OF_RANGE) {  // retention overtook it
    std::optional<GapFrame> gap;
    if (!CheckRange(id, sub, &gap)) return;
    FetchPartitionFrame news = FrameOf(id, sub);
    news.gap = gap;
    news_.push_back(std::move(news));
    return Enqueue(id, sub);
  }
  if (!outcome.error.ok()) return EndWithError(id, std::move(outcome.error));
  if (outcome.entries.empty()) {  // at the high watermark: the read left our link with the partition
    sub.state = Subscription::State::kWaiting;
    return;
  }
  if (!sub.paused) AddReadAhead(sub, std::move(outcome.entries));
  Enqueue(id, sub);
}

// Entries without records (a leader's first, a moved log start) are passed over here.
void FetchCall::AddReadAhead(Subscription& sub, std::vector<Entry> entries) {
  for (Entry& entry : entries) {
    if (entry.header.record_count == 0) continue;
    HoldReadAhead(sub, static_cast<int64_t>(entry.payload.size()));
    sub.read_ahead.push_back(std::move(entry));
  }
}

void FetchCall::HoldReadAhead(Subscription& sub, int64_t bytes) {
  sub.read_ahead_bytes += bytes;
  read_ahead_bytes_ += bytes;
  bytes > 0 ? shard_.fetch_budget.Take(bytes) : shard_.fetch_budget.Return(-bytes);
}

FetchCall::Turn FetchCall::Take(uint64_t id, Subscription& sub, FetchPartitionFrame* out, int64_t* room) {
  while (!sub.read_ahead.empty()) {
    if (credit_ <= 0) return Turn::kMore;
    Entry& entry = sub.read_ahead.front();
    const int64_t bytes = static_cast<int64_t>(entry.payload.size());
    const int64_t framed = bytes + kFetchedBatchOverheadBytes;
    // A batch that does not fit goes first into the next frame; one that does not fit there either never will.
    if (framed > *room && framed + 2 * kFetchPartitionOverheadBytes > reply_bytes_max_) {
      ErrorFrame error =
          MakeError(Error::REPLY_TOO_LARGE, sub.request.topic, sub.request.partition,
                    absl::StrCat("the batch at offset ", entry.header.base_offset.value(), " has ", bytes,
                                 " bytes, this stream takes replies of ", reply_bytes_max_,
                                 "; set max_reply_bytes in the first FetchRequest and the channel's option "
                                 "grpc.max_receive_message_length to at least ",
                                 framed + 2 * kFetchPartitionOverheadBytes));
      error.limit = reply_bytes_max_;
      error.size = bytes;
      EndWithError(id, std::move(error));
      return Turn::kEnded;
    }
    const int64_t budget = *room;
    if (framed > budget && budget < frame_bytes_max_ - 2 * kFetchPartitionOverheadBytes) return Turn::kFull;
    credit_ -= PayloadBytes(entry.payload);
    *room -= framed;
    sub.next = entry.header.end_offset();
    out->batches.push_back({entry.header.base_offset.value(), static_cast<int32_t>(entry.header.term.value()),
                            entry.header.append_time, std::move(entry.payload)});
    shard_.metrics.batches_out.Add();
    shard_.metrics.records_out.Add(entry.header.record_count);
    HoldReadAhead(sub, -bytes);
    sub.read_ahead.pop_front();
    if (*room <= 0 || (sub.request.end_offset > 0 && sub.next.value() >= sub.request.end_offset)) break;
  }
  return Turn::kMore;
}

void FetchCall::OnWritten() {
  writing_ = false;
  shard_.metrics.fetch_seconds.Record(broker_.clock().Monotonic() - write_started_);
  shard_.fetch_budget.Return(std::exchange(frame_bytes_, 0));
  SchedulePump();
}

void FetchCall::OnReadsDone() {
  reads_done_ = true;  // what is subscribed goes on until the client cancels, or every end_offset is reached
  SchedulePump();
}

void FetchCall::OnClosed(CallEnd) {
  stream_ = nullptr;
  shard_.fetch_budget.Return(std::exchange(frame_bytes_, 0));
  shard_.metrics.fetch_streams.Add(-1);
  while (!subscriptions_.empty()) Drop(subscriptions_.begin()->first);
}

}  // namespace millrace::server
