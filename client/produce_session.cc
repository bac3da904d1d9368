#include "client/produce_session.h"

#include <algorithm>
#include <map>
#include <utility>

#include "client/status.h"

namespace millrace::client {
namespace {

using std::chrono::nanoseconds;

constexpr int64_t kRequestBytesTarget = 1 << 20;
// What keeps the broker busy while this side's threads wait for a core: with 5 it was idle a fifth of the time on two cores.
constexpr size_t kRequestsInFlightMax = 12;
// A further request beside one that is under way has to be worth it.
constexpr int64_t kWorthwhileBytes = 256 << 10;
// ... or this one has no answer for so long.
constexpr std::chrono::milliseconds kAnotherAfter{10};
// A broker without any answer for so long is given no records that can go elsewhere.
constexpr std::chrono::milliseconds kStandsStillAfter{50};
// While each answer finds records waiting, smaller requests leave twice the time apart that the last answer took, but no more than
// this: a batch costs three brokers four messages, whatever is in it. At 25 MB/s of 1 KiB records a round trip's worth of records in
// each took all of two cores, for a p99 that was no better. With acks=none there are no answers, and nothing keeps apart.
constexpr std::chrono::milliseconds kSmallRequestsApartMax{1};
// With acks=none, request N asks for this number plus N to be echoed.
constexpr uint64_t kFirstEcho = uint64_t{1} << 32;

uint64_t EchoOf(uint64_t request) { return kFirstEcho + request; }

}  // namespace

ProduceSession::ProduceSession(const ClientEnvironment& env, Target target, Acks acks, Backoff backoff,
                               RecordAccumulator& accumulator, Owner* owner)
    : env_(env),
      target_(std::move(target)),
      acks_(acks),
      accumulator_(accumulator),
      owner_(owner),
      stream_(env,
              {.address = target_.address, .method = control::kProduce, .connect_timeout = target_.connect_timeout},
              backoff, this) {
  stream_.Open();
}

ProduceSession::~ProduceSession() {
  if (pump_timer_ != 0) env_.executor.Cancel(pump_timer_);
  if (due_timer_ != 0) env_.executor.Cancel(due_timer_);
  if (answer_timer_ != 0) env_.executor.Cancel(answer_timer_);
}

void ProduceSession::AddRetry(PartitionSender* sender) {
  if (std::find(retries_.begin(), retries_.end(), sender) == retries_.end()) retries_.push_back(sender);
  PumpSoon();
}

void ProduceSession::RemoveRetry(PartitionSender* sender) { std::erase(retries_, sender); }

void ProduceSession::Forget(ProducerBatch* batch) {
  for (auto& [id, entry] : in_flight_) {
    if (entry.batch == batch) entry.batch = nullptr;
  }
}

void ProduceSession::GiveUp() {
  stream_.Fail({.code = ErrorCode::kNetworkException,
                .message = target_.address + " does not answer, and another broker leads by now",
                .retriable = true,
                .may_have_happened = true,
                .address = target_.address});
}

void ProduceSession::AddBatch(ProducerBatch* batch, const PartitionSender& sender, ProduceRequestFrame& request) {
  const uint64_t id = ++last_batch_id_;
  in_flight_[id] = {batch, last_request_};
  request.batches.push_back({.id = id,
                             .topic = batch->partition->topic->name,
                             .partition = batch->partition->partition,
                             .topic_id = owner_->TopicIdOf(sender),
                             .leader_epoch = 0,
                             .batch = batch->bytes()});
}

void ProduceSession::Pump() {
  const control::ProducerIdentity* identity = owner_->Identity();
  if (identity == nullptr || !stream_.writable() || unanswered_.size() >= kRequestsInFlightMax) return;
  ProduceRequestFrame request{.acks = static_cast<int32_t>(acks_), .routing = static_cast<int32_t>(target_.routing)};
  ++last_request_;

  int64_t bytes = 0;
  int64_t retried = 0;
  while (!retries_.empty() && bytes < kRequestBytesTarget) {
    PartitionSender* sender = retries_.front();
    for (ProducerBatch* batch : sender->Restart(*identity, kRequestBytesTarget - bytes)) {
      AddBatch(batch, *sender, request);
      bytes += static_cast<int64_t>(batch->bytes().size());
      ++retried;
    }
    if (!sender->restarting()) retries_.erase(retries_.begin());
    owner_->OnStarted(sender);
  }

  int64_t started = 0;
  if (bytes < kRequestBytesTarget) {
    RecordAccumulator::Taken taken = TakeNew(bytes);
    for (std::unique_ptr<ProducerBatch>& batch : taken.batches) {
      PartitionSender* sender = owner_->SenderOf(batch->partition);
      AddBatch(sender->Start(std::move(batch), *identity), *sender, request);
      owner_->OnStarted(sender);
      ++started;
    }
    if (taken.due) SetDueTimer(*taken.due);
  }
  if (request.batches.empty()) return;
  if (acks_ == Acks::kNone) request.ping = EchoOf(last_request_);
  last_sent_ = env_.clock.Monotonic();
  if (unanswered_.empty()) last_answer_ = last_sent_;
  unanswered_[last_request_] = {request.batches.size(), last_sent_};
  accumulator_.CountRequest(started, retried);
  WatchAnswers();
  stream_.Write(SerializeProduceRequest(request));
}

// For a request that has so many bytes already.
RecordAccumulator::Taken ProduceSession::TakeNew(int64_t bytes) {
  const bool any_size = bytes > 0 || unanswered_.empty() || env_.clock.Monotonic() >= last_sent_ + kAnotherAfter;
  RecordAccumulator::Want want{.min_bytes = any_size ? 1 : kWorthwhileBytes, .max_bytes = kRequestBytesTarget - bytes};
  if (any_size && loaded_) {
    want.min_bytes = kWorthwhileBytes;
    want.any_size_at = last_sent_ + std::min<nanoseconds>(2 * last_took_, kSmallRequestsApartMax);
  }
  RecordAccumulator::Taken taken = accumulator_.Take(&queue_, want);
  if (any_size && !taken.waited) loaded_ = false;
  return taken;
}

void ProduceSession::PumpAtOnce() {
  loaded_ = false;
  Pump();
}

// Once everything that arrived was handled, so that acks of one message make one request.
void ProduceSession::PumpSoon() {
  if (pump_timer_ != 0) return;
  pump_timer_ = env_.executor.After(nanoseconds(0), [this] {
    pump_timer_ = 0;
    Pump();
  });
}

void ProduceSession::SetDueTimer(nanoseconds due) {
  if (due_timer_ != 0) env_.executor.Cancel(due_timer_);
  due_timer_ = env_.executor.After(std::max(due - env_.clock.Monotonic(), nanoseconds(0)), [this] {
    due_timer_ = 0;
    Pump();
  });
}

void ProduceSession::SetStandsStill(bool stands_still) {
  if (std::exchange(stands_still_, stands_still) != stands_still) accumulator_.SetStandsStill(&queue_, stands_still);
}

void ProduceSession::WatchAnswers() {
  if (answer_timer_ != 0) return;
  answer_timer_ = env_.executor.After(kAnotherAfter, [this] {
    answer_timer_ = 0;
    if (unanswered_.empty()) return;
    if (env_.clock.Monotonic() >= last_answer_ + kStandsStillAfter) SetStandsStill(true);
    WatchAnswers();
    Pump();
  });
}

// Of several pings the broker may echo the last alone: with acks=none each must say how far it has read.
absl::Cord ProduceSession::PingMessage(uint64_t ping) {
  return SerializeProduceRequest({.ping = acks_ == Acks::kNone ? EchoOf(last_request_) : ping});
}

// The broker has read the requests up to the one whose echo this is, which is all that acks=none asks of it. (That they were
// written says less: a process that ends then takes them along.)
void ProduceSession::OnEcho(uint64_t echo) {
  if (acks_ != Acks::kNone || echo < kFirstEcho) return;
  const uint64_t read = echo - kFirstEcho;
  std::erase_if(unanswered_, [read](const auto& request) { return request.first <= read; });
  std::map<uint64_t, ProducerBatch*> sent;  // in their order
  std::erase_if(in_flight_, [&](const auto& entry) {
    if (entry.second.request > read) return false;
    if (entry.second.batch != nullptr) sent[entry.first] = entry.second.batch;
    return true;
  });
  for (const auto& [id, batch] : sent) owner_->OnSentUnacked(batch);
  Pump();
}

void ProduceSession::OnEstablished() {
  established_once_ = true;
  SetStandsStill(false);
  Pump();
}

void ProduceSession::OnWritable() { Pump(); }

void ProduceSession::OnMessage(absl::Cord message) {
  absl::StatusOr<ProduceResponseFrame> response = ParseProduceResponse(message);
  if (!response.ok()) {
    stream_.Fail({.code = ErrorCode::kNetworkException,
                  .message = target_.address + " sent what is no ProduceResponse",
                  .retriable = true,
                  .may_have_happened = true,
                  .address = target_.address});
    return;
  }
  OnEcho(response->ping);
  const nanoseconds now = env_.clock.Monotonic();
  if (!response->acks.empty() || acks_ == Acks::kNone) {
    last_answer_ = now;
    SetStandsStill(false);
  }
  // Before the senders are told: what they send next is no load, for it waited for the ack.
  if (!response->acks.empty()) loaded_ = accumulator_.AnyWaits(queue_);
  for (const ProduceAckFrame& ack : response->acks) {
    auto it = in_flight_.find(ack.id);
    if (it == in_flight_.end()) continue;
    const InFlight entry = it->second;
    in_flight_.erase(it);
    auto request = unanswered_.find(entry.request);
    if (request != unanswered_.end() && --request->second.batches == 0) {
      last_took_ = now - request->second.sent;
      unanswered_.erase(request);
    }
    if (entry.batch != nullptr) owner_->OnAck(entry.batch, ack);
  }
  if (!response->acks.empty()) Pump();
}

void ProduceSession::OnLost(const Error& error) {
  std::vector<ProducerBatch*> lost;
  for (auto& [id, entry] : std::exchange(in_flight_, {})) {
    if (entry.batch != nullptr) lost.push_back(entry.batch);
  }
  unanswered_.clear();
  SetStandsStill(true);
  owner_->OnSessionLost(this, lost, error, std::exchange(established_once_, false));
}

}  // namespace millrace::client
