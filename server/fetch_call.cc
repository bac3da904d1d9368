#include "server/fetch_call.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "millrace/v1/broker.pb.h"
#include "proto/wire/check.h"
#include "server/errors.h"

namespace millrace::server {
namespace {

using raft::Entry;
using raft::Offset;
using v1::Error;
using v1::Gap;

// What stock gRPC clients take (their limit is 4 MiB).
constexpr int64_t kReplyBytesDefault = 4'000'000;
// A frame is closed at this size, so that partitions take turns and the client can start on it early. A larger batch travels
// alone, once the budget allows.
constexpr int64_t kFrameBytesTarget = 1 << 20;
// Instead when other streams use the budget up.
constexpr int64_t kScarceBytes = 64 << 10;
// One partition's share of a frame, and the size of a read from disk.
constexpr int64_t kReadBytes = 1 << 20;
// Reads under way and read ahead, of one stream: at most this, and this share of the budget.
constexpr int64_t kReadAheadBytesMax = 8 << 20;
constexpr int64_t kReadAheadShare = 8;
constexpr size_t kSubscriptionsMax = 100'000;

int64_t PayloadBytes(const absl::Cord& batch) {
  absl::StatusOr<BatchView> view = ParseBatch(batch);
  return static_cast<int64_t>(view.ok() ? view->payload.size() : batch.size());
}

int64_t FramedBytes(const Entry& entry) {
  return static_cast<int64_t>(entry.payload.size()) + kFetchedBatchOverheadBytes;
}

// nullopt: a `spec` that is not known.
std::optional<PositionSpec> PositionOf(const FetchSubscriptionFrame& request) {
  using Position = FetchSubscriptionFrame::Position;
  switch (request.position) {
    case Position::kNone:
    case Position::kOffset:
      return PositionSpec{PositionSpec::kOffset, request.position_value};
    case Position::kTimestamp:
      return PositionSpec{PositionSpec::kTimestamp, request.position_value};
    case Position::kRecordsBeforeEnd:
      return PositionSpec{PositionSpec::kRecordsBeforeEnd, request.position_value};
    case Position::kSpec:
      break;
  }
  if (request.position_value == static_cast<int64_t>(OffsetSpec::kEarliest))
    return PositionSpec{PositionSpec::kEarliest};
  if (request.position_value == static_cast<int64_t>(OffsetSpec::kLatest)) return PositionSpec{PositionSpec::kLatest};
  return std::nullopt;
}

}  // namespace

FetchCall::FetchCall(Broker& broker, Executor& executor)
    : broker_(broker),
      executor_(executor),
      shard_(broker.ShardOf(executor)),
      reply_bytes_max_(kReplyBytesDefault),
      write_deadline_(executor, broker.clock(), stream_),
      self_(std::make_shared<FetchCall*>(this)) {}

FetchCall::~FetchCall() {
  *self_ = nullptr;
  shard_.fetch_budget.Forget(this);
}

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
  if (credit_ <= 0) credit_since_ = broker_.clock().Monotonic();
  credit_ += request.credit;
  if (request.ping != 0) pong_ = request.ping;
  return true;
}

void FetchCall::Subscribe(const FetchSubscriptionFrame& request) {
  if (subscriptions_.contains(request.id)) {
    return EndWithError(request.id,
                        MakeError(Error::INVALID_REQUEST, request.topic, request.partition,
                                  absl::StrCat("subscription id ", request.id,
                                               " is in use on this stream and was ended: frames of the two could not "
                                               "be told apart; subscribe both again under ids of their own")));
  }
  ErrorFrame error;
  std::shared_ptr<Partition> partition =
      broker_.FindPartition(request.topic, request.partition, request.topic_id, &error);
  if (partition == nullptr) return TellError(request.id, std::move(error));
  if (ErrorFrame unknown = CheckRouting(request.routing); !unknown.ok())
    return TellError(request.id, std::move(unknown));
  const std::optional<PositionSpec> spec = PositionOf(request);
  if (!spec || request.position_value < 0 || request.end_offset < 0) {
    return TellError(
        request.id,
        MakeError(Error::INVALID_REQUEST, request.topic, request.partition,
                  spec ? "positions, times and end_offset must not be negative"
                       : "`spec` is neither OFFSET_SPEC_EARLIEST nor OFFSET_SPEC_LATEST; send one of them"));
  }
  Subscription& sub = subscriptions_[request.id];
  sub.request = request;
  sub.partition = std::move(partition);
  sub.link = std::make_shared<WakeOn>(executor_, [self = self_, id = request.id] {
    if (*self != nullptr) (*self)->OnAdvanced(id);
  });
  ResolvePosition(broker_, sub.partition, *spec, sub.routing(), executor_,
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
  if (const std::optional<Loss> loss = LossOutside(sub.next, sub.bounds)) {
    if (!Miss(id, sub, loss, OutOfRangeError(sub.partition->name(), sub.next.value(), sub.bounds), &gap)) return;
  }
  if (sub.request.leader_epoch != 0 && !gap && sub.next > sub.bounds.log_start) return CheckEpoch(id, sub);
  Begin(id, sub, gap);
}

// Whether the record before the position is still the one the client read: its entry has the same leader epoch.
void FetchCall::CheckEpoch(uint64_t id, Subscription& sub) {
  ReadPartition(broker_, sub.partition, {sub.next - 1, 1, sub.routing()}, nullptr, executor_,
                [self = self_, id](ReadOutcome outcome) {
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
                      error.message =
                          absl::StrCat("the log was truncated below offset ", sub.next.value(),
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
  news.leader = sub.bounds.leader;
  news.gap = gap;
  news_.push_back(std::move(news));
  SchedulePump();
  if (!EndIfReached(id, sub)) Enqueue(id, sub);
}

// Records that this reader does not get: told as a gap behind which it goes on, or an error, as the client chose. False: the
// subscription ended.
bool FetchCall::Miss(uint64_t id, Subscription& sub, const std::optional<Loss>& loss, ErrorFrame error,
                     std::optional<GapFrame>* gap) {
  if (!loss || sub.request.out_of_range != static_cast<int32_t>(OutOfRange::kGap)) {
    EndWithError(id, std::move(error));
    return false;
  }
  sub.next = loss->resume;
  *gap = loss->gap;
  return true;
}

bool FetchCall::EndReached(const Subscription& sub) {
  return sub.request.end_offset > 0 && sub.next.value() >= sub.request.end_offset;
}

// An end needs no credit to be told. True: the subscription is over.
bool FetchCall::EndIfReached(uint64_t id, const Subscription& sub) {
  if (!EndReached(sub)) return false;
  FetchPartitionFrame& news = news_.emplace_back(FrameOf(id, sub));
  news.end_reached = true;
  Drop(id);
  return true;
}

void FetchCall::Enqueue(uint64_t id, Subscription& sub) {
  sub.state = Subscription::State::kReady;
  sub.ready_since = broker_.clock().Monotonic();
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
  Drop(id);
  TellError(id, std::move(error));
}

void FetchCall::TellError(uint64_t id, ErrorFrame error) {
  broker_.NoteFailure(executor_, error);
  FetchPartitionFrame& news = news_.emplace_back();
  news.subscription = id;
  news.error = std::move(error);
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
  CheckInvariants();
  if (writing_ || stream_ == nullptr) return;
  FetchResponseFrame frame;
  Room room;
  if (!BuildFrame(&frame, &room)) {
    if (reads_done_ && subscriptions_.empty()) stream_->Finish({});
    return;
  }
  absl::Cord message = SerializeFetchResponse(frame);
  frame_bytes_ = static_cast<int64_t>(message.size());
  frame_ready_since_ = std::max(room.ready_since, credit_since_);
  shard_.fetch_budget.Take(frame_bytes_);
  shard_.metrics.fetch_queue_bytes.Set(shard_.fetch_budget.bytes());
  writing_ = true;
  write_deadline_.Begin();
  stream_->Write(std::move(message));
}

// False: nothing to send now.
bool FetchCall::BuildFrame(FetchResponseFrame* frame, Room* room) {
  const auto now = broker_.clock().Monotonic();
  room->bytes_max = std::min(shard_.fetch_budget.exhausted() ? kScarceBytes : kFrameBytesTarget, reply_bytes_max_);
  room->bytes = room->bytes_max;
  room->ready_since = now;
  frame->ping = std::exchange(pong_, 0);
  frame->partitions = TakeNews(room);
  room->empty = frame->partitions.empty();
  for (size_t turns = ready_.size(); turns > 0 && room->bytes > 0 && credit_ > 0; --turns) {
    const uint64_t id = ready_.front();
    ready_.pop_front();
    auto it = subscriptions_.find(id);
    if (it == subscriptions_.end()) continue;
    Subscription& sub = it->second;
    sub.queued = false;
    if (sub.paused || sub.state != Subscription::State::kReady) continue;
    FetchPartitionFrame out = FrameOf(id, sub);
    const Turn turn = Serve(id, sub, &out, room);
    if (!out.batches.empty() || out.gap || out.end_reached) {
      frame->partitions.push_back(std::move(out));
      room->empty = false;
    }
    if (turn != Turn::kMore && turn != Turn::kFull) continue;
    sub.queued = true;
    sub.ready_since = now;
    turn == Turn::kFull ? ready_.push_front(id) : ready_.push_back(id);
    if (turn == Turn::kFull) break;
  }
  return frame->ping != 0 || !frame->partitions.empty();
}

// As much as fits; batches, which come after the news of their subscription, wait until all of it is on its way.
std::vector<FetchPartitionFrame> FetchCall::TakeNews(Room* room) {
  size_t count = 0;
  for (; count < news_.size(); ++count) {
    const ErrorFrame& error = news_[count].error;
    const auto texts =
        error.message.size() + error.topic.size() + (news_[count].leader ? news_[count].leader->address.size() : 0);
    const int64_t bytes = kFetchPartitionOverheadBytes + static_cast<int64_t>(texts);
    if (count > 0 && bytes > room->bytes) break;
    room->bytes -= bytes;
  }
  if (count == news_.size()) return std::exchange(news_, {});
  room->bytes = 0;
  const auto end = news_.begin() + static_cast<ptrdiff_t>(count);
  std::vector<FetchPartitionFrame> taken(std::make_move_iterator(news_.begin()), std::make_move_iterator(end));
  news_.erase(news_.begin(), end);
  return taken;
}

// One subscription's turn: puts batches into `out` while there is room and credit.
FetchCall::Turn FetchCall::Serve(uint64_t id, Subscription& sub, FetchPartitionFrame* out, Room* room) {
  room->bytes -= kFetchPartitionOverheadBytes;
  if (sub.read_ahead.empty() && !Load(id, sub, &out->gap, room->bytes)) return Turn::kEnded;
  out->high_watermark = sub.bounds.high_watermark.value();
  out->log_start_offset = sub.bounds.log_start.value();
  Turn turn = Turn::kMore;
  if (!EndReached(sub)) turn = Take(id, sub, out, room);
  if (turn == Turn::kEnded) return turn;
  if (EndReached(sub)) {
    out->end_reached = true;
    Drop(id);
    return Turn::kEnded;
  }
  return sub.state == Subscription::State::kReady ? turn : Turn::kIdle;
}

// Fills read_ahead, if there is anything; what happens next is arranged otherwise. False: the subscription ended.
bool FetchCall::Load(uint64_t id, Subscription& sub, std::optional<GapFrame>* gap, int64_t room) {
  const int64_t bytes = std::clamp<int64_t>(room, 1, kReadBytes);
  ReadOutcome outcome;
  if (sub.partition->executor().OnThread() &&
      ReadNow(*sub.partition, {sub.next, static_cast<size_t>(bytes), sub.routing()}, sub.link, &outcome)) {
    return Accept(id, sub, std::move(outcome), gap);
  }
  StartRead(id, sub);
  return true;
}

// Leaves the subscription ready when too much is read ahead already: it is served again after the next frame.
void FetchCall::StartRead(uint64_t id, Subscription& sub) {
  FlowBudget& budget = shard_.read_ahead_budget;
  const bool scarce = budget.exhausted();
  const int64_t bytes_max = scarce ? 1 : std::min(kReadAheadBytesMax, budget.bytes_max() / kReadAheadShare);
  if (read_ahead_bytes_ >= bytes_max) return;
  const int64_t bytes = scarce ? kScarceBytes : kReadBytes;
  sub.state = Subscription::State::kReading;
  read_ahead_bytes_ += bytes;
  budget.Take(bytes);
  ReadPartition(broker_, sub.partition, {sub.next, static_cast<size_t>(bytes), sub.routing()}, sub.link, executor_,
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
  std::optional<GapFrame> gap;
  sub.state = Subscription::State::kReady;
  if (!Accept(id, sub, std::move(outcome), &gap)) return;
  if (gap) {
    FetchPartitionFrame& news = news_.emplace_back(FrameOf(id, sub));
    news.gap = gap;
    if (EndIfReached(id, sub)) return;
  }
  if (sub.state == Subscription::State::kReady) Enqueue(id, sub);
  CheckInvariants(sub);
}

// What a read from `next` found. False: the subscription ended.
bool FetchCall::Accept(uint64_t id, Subscription& sub, ReadOutcome outcome, std::optional<GapFrame>* gap) {
  const bool moved = outcome.bounds.leader && outcome.bounds.leader != sub.bounds.leader;
  sub.bounds = outcome.bounds;
  if (moved) TellLeader(id, sub);
  if (!outcome.error.ok()) return Miss(id, sub, outcome.loss, std::move(outcome.error), gap);
  if (outcome.entries.empty()) {  // at the high watermark: the read left our link with the partition
    sub.state = Subscription::State::kWaiting;
  } else if (!sub.paused) {
    AddReadAhead(sub, std::move(outcome.entries));
  }
  return true;
}

void FetchCall::TellLeader(uint64_t id, const Subscription& sub) {
  FetchPartitionFrame& news = news_.emplace_back(FrameOf(id, sub));
  news.leader = sub.bounds.leader;
  SchedulePump();
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
  bytes > 0 ? shard_.read_ahead_budget.Take(bytes) : shard_.read_ahead_budget.Return(-bytes);
}

// Whether the batch goes into the frame now. One that does not fit goes first into the next frame; one larger than a frame
// travels alone.
bool FetchCall::Fits(const Entry& entry, const Room& room) const {
  const int64_t framed = FramedBytes(entry);
  if (framed <= room.bytes) return true;
  return room.empty && (framed <= kFrameBytesTarget || !shard_.fetch_budget.exhausted());
}

FetchCall::Turn FetchCall::Take(uint64_t id, Subscription& sub, FetchPartitionFrame* out, Room* room) {
  while (!sub.read_ahead.empty() && !EndReached(sub) && room->bytes > 0) {
    if (credit_ <= 0) return Turn::kMore;
    Entry& entry = sub.read_ahead.front();
    const int64_t bytes = static_cast<int64_t>(entry.payload.size());
    if (FramedBytes(entry) + 2 * kFetchPartitionOverheadBytes > reply_bytes_max_) {
      EndWithError(id, ReplyTooLarge(sub, entry));
      return Turn::kEnded;
    }
    if (!Fits(entry, *room)) {
      if (!room->empty) return Turn::kFull;
      shard_.fetch_budget.Wait(this, [this] { SchedulePump(); });
      return Turn::kMore;
    }
    credit_ -= PayloadBytes(entry.payload);
    room->bytes -= FramedBytes(entry);
    room->empty = false;
    room->ready_since = std::min(room->ready_since, sub.ready_since);
    sub.next = entry.header.end_offset();
    out->batches.push_back({entry.header.base_offset.value(), static_cast<int32_t>(entry.header.term.value()),
                            entry.header.append_time, std::move(entry.payload)});
    shard_.metrics.batches_out.Add();
    shard_.metrics.records_out.Add(entry.header.record_count);
    shard_.metrics.bytes_out.Add(static_cast<uint64_t>(bytes));
    HoldReadAhead(sub, -bytes);
    sub.read_ahead.pop_front();
  }
  return Turn::kMore;
}

ErrorFrame FetchCall::ReplyTooLarge(const Subscription& sub, const Entry& entry) const {
  const int64_t bytes = static_cast<int64_t>(entry.payload.size());
  ErrorFrame error = MakeError(Error::REPLY_TOO_LARGE, sub.request.topic, sub.request.partition,
                               absl::StrCat("the batch at offset ", entry.header.base_offset.value(), " has ", bytes,
                                            " bytes, this stream takes replies of ", reply_bytes_max_,
                                            "; set max_reply_bytes in the first FetchRequest and the channel's option "
                                            "grpc.max_receive_message_length to at least ",
                                            FramedBytes(entry) + 2 * kFetchPartitionOverheadBytes));
  error.limit = reply_bytes_max_;
  error.size = bytes;
  return error;
}

void FetchCall::OnWritten() {
  writing_ = false;
  write_deadline_.End();
  shard_.metrics.fetch_seconds.Record(broker_.clock().Monotonic() - frame_ready_since_);
  ReturnFrame();
  SchedulePump();
}

void FetchCall::ReturnFrame() {
  shard_.fetch_budget.Return(std::exchange(frame_bytes_, 0));
  shard_.metrics.fetch_queue_bytes.Set(shard_.fetch_budget.bytes());
}

void FetchCall::OnReadsDone() {
  reads_done_ = true;  // what is subscribed goes on until the client cancels, or every end_offset is reached
  SchedulePump();
}

void FetchCall::OnClosed(CallEnd end) {
  stream_ = nullptr;
  ReturnFrame();
  shard_.metrics.fetch_streams.Add(-1);
  broker_.NoteFailure(executor_, end.error);
  while (!subscriptions_.empty()) Drop(subscriptions_.begin()->first);
}

void FetchCall::CheckInvariants() const {
  MILLRACE_CHECK(read_ahead_bytes_ >= 0) << read_ahead_bytes_;
  MILLRACE_CHECK(writing_ == (frame_bytes_ > 0)) << frame_bytes_;
}

void FetchCall::CheckInvariants(const Subscription& sub) const {
  using State = Subscription::State;
  MILLRACE_CHECK(sub.read_ahead.empty() || sub.state == State::kReady) << static_cast<int>(sub.state);
  MILLRACE_CHECK(sub.state != State::kReady || sub.paused || sub.queued) << sub.request.id;
  MILLRACE_CHECK(sub.state == State::kResolving || sub.next >= raft::Offset(0)) << sub.next;
}

}  // namespace millrace::server
