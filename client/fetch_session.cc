#include "client/fetch_session.h"

#include <algorithm>
#include <utility>

#include "client/control.h"
#include "client/status.h"

namespace millrace::client {
namespace {

// The largest batch that a topic can be set to take, and its frame.
constexpr int64_t kReplyBytesMax = (int64_t{64} << 20) + (1 << 20);
// Credit is granted in so many portions.
constexpr int64_t kGrantsPerShare = 8;

void SetPosition(const FetchPartition& partition, FetchSubscriptionFrame& frame) {
  using Kind = FetchSubscriptionFrame::Position;
  if (partition.next_offset >= 0) {
    frame.position = Kind::kOffset;
    frame.position_value = partition.next_offset;
    frame.leader_epoch = partition.leader_epoch;
    return;
  }
  frame.position_value = partition.from.value();
  switch (partition.from.kind()) {
    case Position::Kind::kBeginning:
      frame.position = Kind::kSpec;
      frame.position_value = static_cast<int64_t>(OffsetSpec::kEarliest);
      break;
    case Position::Kind::kEnd:
      frame.position = Kind::kSpec;
      frame.position_value = static_cast<int64_t>(OffsetSpec::kLatest);
      break;
    case Position::Kind::kOffset:
      frame.position = Kind::kOffset;
      break;
    case Position::Kind::kTime:
    case Position::Kind::kAgo:  // was made a time
      frame.position = Kind::kTimestamp;
      break;
    case Position::Kind::kBeforeEnd:
      frame.position = Kind::kRecordsBeforeEnd;
      break;
  }
}

}  // namespace

FetchSession::FetchSession(const ClientEnvironment& env, Target target, OutOfRange out_of_range, Backoff backoff,
                           Owner* owner)
    : clock_(env.clock),
      target_(std::move(target)),
      out_of_range_(out_of_range),
      owner_(owner),
      stream_(env, {.address = target_.address, .method = control::kFetch, .connect_timeout = target_.connect_timeout},
              backoff, this) {
  stream_.Open();
}

void FetchSession::Subscribe(const std::shared_ptr<FetchPartition>& partition, uint64_t topic_id) {
  FetchSubscriptionFrame frame{
      .id = ++last_subscription_, .topic = partition->topic, .partition = partition->partition, .topic_id = topic_id};
  SetPosition(*partition, frame);
  frame.out_of_range = static_cast<int32_t>(out_of_range_);
  frame.routing = static_cast<int32_t>(target_.routing);
  frame.end_offset = partition->until.value_or(0);
  partition->subscription = frame.id;
  subscriptions_[frame.id] = partition;
  pending_.subscribe.push_back(std::move(frame));
  Send();
}

void FetchSession::Unsubscribe(FetchPartition* partition) {
  const uint64_t id = std::exchange(partition->subscription, 0);
  if (subscriptions_.erase(id) == 0) return;
  if (std::erase_if(pending_.subscribe, [&](const auto& frame) { return frame.id == id; }) > 0) return;
  pending_.unsubscribe.push_back(id);
  Send();
}

void FetchSession::SetShare(int64_t bytes) {
  share_ = bytes;
  credit_->quantum = std::max<int64_t>(1, bytes / kGrantsPerShare);
  GrantCredit();
}

void FetchSession::GrantCredit() {
  credit_->released = 0;
  if (!stream_.established()) return;
  const int64_t missing = share_ - credit_->held - outstanding_;
  if (missing <= 0 || (missing < share_ / kGrantsPerShare && outstanding_ > 0)) return;
  outstanding_ += missing;
  pending_.credit += missing;
  Send();
}

int64_t FetchSession::CreditBytes(const absl::Cord& batch, const absl::StatusOr<BatchView>& view) {
  return static_cast<int64_t>(view.ok() ? view->payload.size() : batch.size());
}

void FetchSession::NoteReceived(int64_t credit_bytes, bool held) {
  outstanding_ -= credit_bytes;
  if (held) credit_->held += credit_bytes;
}

void FetchSession::Send() {
  if (!stream_.writable()) return;
  const FetchRequestFrame request = std::exchange(pending_, {});
  if (request.subscribe.empty() && request.unsubscribe.empty() && request.credit == 0) return;
  stream_.Write(SerializeFetchRequest(request));
}

absl::Cord FetchSession::PingMessage(uint64_t ping) {
  FetchRequestFrame request{.ping = ping};
  if (ping == 1) request.max_reply_bytes = kReplyBytesMax;
  return SerializeFetchRequest(request);
}

void FetchSession::OnEstablished() {
  established_once_ = true;
  owner_->OnSessionEstablished(this);
  GrantCredit();
}

void FetchSession::OnWritable() { Send(); }

void FetchSession::OnMessage(absl::Cord message) {
  trouble_.reset();
  absl::StatusOr<FetchResponseFrame> response = ParseFetchResponse(message);
  if (!response.ok()) {
    stream_.Fail({.code = ErrorCode::kNetworkException,
                  .message = target_.address + " sent what is no FetchResponse",
                  .retriable = true,
                  .may_have_happened = true,
                  .address = target_.address});
    return;
  }
  if (response->partitions.empty()) return;
  for (FetchPartitionFrame& frame : response->partitions) {
    auto it = subscriptions_.find(frame.subscription);
    if (it == subscriptions_.end()) {
      for (const FetchedBatchFrame& batch : frame.batches) {
        NoteReceived(CreditBytes(batch.batch, ParseBatch(batch.batch)), /*held=*/false);
      }
      continue;
    }
    std::shared_ptr<FetchPartition> partition = it->second;
    if (!frame.error.ok() || frame.end_reached) {
      subscriptions_.erase(it);
      partition->subscription = 0;
    }
    owner_->OnFrame(partition, std::move(frame));
  }
  owner_->OnMessageDone();
  GrantCredit();
}

void FetchSession::OnLost(const Error& error) {
  for (auto& [id, partition] : std::exchange(subscriptions_, {})) partition->subscription = 0;
  pending_ = {};
  outstanding_ = 0;
  trouble_ = NextTrouble(trouble_, error, clock_);
  owner_->OnSessionLost(this, error, std::exchange(established_once_, false));
}

}  // namespace millrace::client
