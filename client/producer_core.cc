#include "client/producer_core.h"

#include <algorithm>

#include "client/connect_timeouts.h"
#include "client/status.h"

namespace millrace::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr milliseconds kExpiryPeriodMax(1'000);
constexpr milliseconds kExpiryPeriodMin(10);

RecordAccumulator::Options AccumulatorOptions(const ProducerOptions& options, Random& random) {
  return {.batch_size = options.batch_size,
          .buffer_memory = options.buffer_memory,
          .codec = static_cast<Codec>(options.compression),
          .linger = options.linger,
          .first_partition = static_cast<int32_t>(random.Next() & 0xffff)};
}

}  // namespace

ProducerCore::ProducerCore(const ClientEnvironment& env, const ProducerOptions& options,
                           std::vector<std::string> bootstrap)
    : env_(env),
      options_(options),
      idempotent_(options.idempotence && options.acks != AckLevel::kNone),
      control_(env, options.client, std::move(bootstrap)),
      accumulator_(AccumulatorOptions(options, env.random), env.clock,
                   [this](BrokerQueue* queue) { env_.executor.Post([this, queue] { OnWake(queue); }); }),
      metadata_(env, options.client, control_, [this] { OnMetadata(); }),
      identity_backoff_(env.random, options.client.retry_backoff, options.client.retry_backoff_max) {
  if (options_.name.empty()) return;
  name_ = {.name = options_.name, .session = env.random.Next() | 1};
  AskIdentity();  // whoever had the name is fenced from now on, not from the first record on
}

ProducerCore::~ProducerCore() {
  if (expiry_timer_ != 0) env_.executor.Cancel(expiry_timer_);
  if (identity_timer_ != 0) env_.executor.Cancel(identity_timer_);
  for (auto& [queue, sender] : senders_) {
    if (sender->pause != 0) env_.executor.Cancel(sender->pause);
  }
}

void ProducerCore::EnsureTopic(const std::string& topic) {
  if (stopped_) return;
  if (const TopicMetadata* known = metadata_.Find(topic)) {
    TakeTopic(topic, *known);
    accumulator_.MetadataChanged();
  } else {
    metadata_.Track(topic);
  }
  if (idempotent_ && !identity_) AskIdentity();
  if (expiry_timer_ == 0) Expire();
}

void ProducerCore::PumpAll() {
  for (auto& [target, session] : sessions_) session->PumpAtOnce();
}

void ProducerCore::OnWake(BrokerQueue* queue) {
  for (auto& [target, session] : sessions_) {
    if (session->queue() == queue) session->Pump();
  }
}

// --- Topics and routes ---

void ProducerCore::OnMetadata() {
  if (stopped_) return;
  std::vector<std::string> names;
  for (auto& [name, queues] : topics_) names.push_back(name);
  for (const std::string& name : metadata_.tracked()) {
    if (!topics_.contains(name)) names.push_back(name);
  }
  for (const std::string& name : names) {
    if (const TopicMetadata* metadata = metadata_.Find(name)) TakeTopic(name, *metadata);
  }
  for (const Error& error : metadata_.missing()) FailTopic(error.topic, error);
  LeaveSilentSessions();
  accumulator_.MetadataChanged();
  std::erase_if(sessions_, [this](const auto& entry) {
    return std::none_of(senders_.begin(), senders_.end(),
                        [&](const auto& sender) { return sender.second->session == entry.second.get(); });
  });
}

void ProducerCore::TakeTopic(const std::string& name, const TopicMetadata& metadata) {
  TopicQueues* queues = accumulator_.UpdateTopic(metadata);
  topics_[name] = queues;
  for (auto& queue : queues->partitions) {
    std::unique_ptr<PartitionSender>& sender = senders_[queue.get()];
    if (!sender) {
      // Without acks nothing is sent twice, so nothing comes out of order.
      const bool keeps_order = idempotent_ || options_.acks == AckLevel::kNone;
      sender = std::make_unique<PartitionSender>(
          queue.get(), PartitionSender::Options{.idempotent = idempotent_, .in_flight_max = keeps_order ? 5 : 1},
          Backoff(env_.random, options_.client.retry_backoff, options_.client.retry_backoff_max));
      senders_by_age_.push_back(sender.get());
    }
    RouteSender(sender.get());
  }
}

void ProducerCore::FailTopic(const std::string& name, const Error& error) {
  TopicQueues* queues = accumulator_.FailTopic(name, ToStatus(error));
  if (queues == nullptr) return;
  topics_.erase(name);
  for (auto& queue : queues->partitions) {
    for (auto& batch : accumulator_.TakeAll(queue.get())) accumulator_.Done(std::move(batch), ToStatus(error));
    PartitionSender* sender = SenderOf(queue.get());
    while (!sender->unacked().empty()) {
      ProducerBatch* batch = sender->unacked().front().get();
      Error of_batch = error;
      of_batch.may_have_happened = batch->maybe_stored || batch->in_flight;
      Finish(sender, batch, ToStatus(of_batch));
    }
    Advance(sender);
  }
}

// A partition changes its session only when nothing of it is in flight, or order would be lost.
void ProducerCore::RouteSender(PartitionSender* sender) {
  const PartitionQueue& queue = *sender->queue();
  const std::optional<Route> route = metadata_.RouteTo(queue.topic->name, queue.partition);
  ProduceSession* session = route ? SessionFor(*route) : sender->session;
  if (session != sender->session && sender->in_flight() == 0) {
    if (sender->session != nullptr) sender->session->RemoveRetry(sender);
    sender->session = session;
    accumulator_.MoveTo(sender->queue(), session->queue());
    if (sender->retry_wanted() && sender->pause == 0) EndPause(sender);
    session->PumpSoon();
  }
  sender->queue()->room = session == sender->session && session != nullptr ? std::max(sender->room(), 0) : 0;
}

// What is in flight to a broker that stands still would wait for it for ever, and all behind it, though another leads by now.
void ProducerCore::LeaveSilentSessions() {
  std::vector<ProduceSession*> left;
  for (PartitionSender* const sender : senders_by_age_) {
    const PartitionQueue* const queue = sender->queue();
    if (sender->in_flight() == 0 || sender->session == nullptr || !sender->session->silent()) continue;
    const std::optional<Route> route = metadata_.RouteTo(queue->topic->name, queue->partition);
    if (!route || SessionFor(*route) == sender->session) continue;
    if (std::find(left.begin(), left.end(), sender->session) == left.end()) left.push_back(sender->session);
  }
  for (ProduceSession* session : left) session->GiveUp();
}

ProduceSession* ProducerCore::SessionFor(const Route& route) {
  std::unique_ptr<ProduceSession>& session = sessions_[{route.address, route.routing}];
  if (!session) {
    session = std::make_unique<ProduceSession>(
        env_,
        ProduceSession::Target{
            .address = route.address,
            .routing = route.routing,
            .connect_timeout = metadata_.IsAdvertised(route.address) ? kAdvertisedConnectTimeout : kConnectTimeout},
        static_cast<Acks>(options_.acks),
        Backoff(env_.random, options_.client.retry_backoff, options_.client.retry_backoff_max), accumulator_,
        static_cast<ProduceSession::Owner*>(this));
  }
  return session.get();
}

PartitionSender* ProducerCore::SenderOf(PartitionQueue* queue) { return senders_.at(queue).get(); }

uint64_t ProducerCore::TopicIdOf(const PartitionSender& sender) {
  const TopicMetadata* metadata = metadata_.Find(sender.queue()->topic->name);
  return metadata == nullptr ? 0 : metadata->topic_id;
}

// --- Acks and retries ---

void ProducerCore::OnStarted(PartitionSender* sender) { sender->queue()->room = std::max(sender->room(), 0); }

void ProducerCore::OnAck(ProducerBatch* batch, const ProduceAckFrame& ack) {
  PartitionSender* sender = SenderOf(batch->partition);
  switch (sender->OnAnswer(batch, ack.error)) {
    case PartitionSender::Verdict::kStored:
      Finish(sender, batch,
             RecordMetadata{.partition = batch->partition->partition,
                            .offset = ack.error.ok() ? ack.base_offset : -1,
                            .append_time = ack.append_time,
                            .leader_epoch = ack.leader_epoch,
                            .durability = static_cast<DurabilityReached>(ack.durability)});
      break;
    case PartitionSender::Verdict::kFailed:
      Finish(sender, batch, ToStatus(sender->last_error()));
      break;
    case PartitionSender::Verdict::kRetry:
      sender->session->RemoveRetry(sender);
      metadata_.TakeHint(batch->partition->topic->name, batch->partition->partition, ack.error);
      metadata_.Refresh();
      break;
  }
  Advance(sender);
}

void ProducerCore::OnSentUnacked(ProducerBatch* batch) {
  PartitionSender* sender = SenderOf(batch->partition);
  sender->OnAnswer(batch, {});
  Finish(sender, batch, RecordMetadata{.partition = batch->partition->partition});
  Advance(sender);
}

void ProducerCore::OnSessionLost(ProduceSession* session, const std::vector<ProducerBatch*>& in_flight,
                                 const Error& error, bool was_established) {
  session_errors_[session->target().address] = error;
  for (ProducerBatch* batch : in_flight) {
    PartitionSender* sender = SenderOf(batch->partition);
    sender->OnLost(batch, error);
    session->RemoveRetry(sender);
    if (options_.acks == AckLevel::kNone) {
      Error lost = error;
      lost.may_have_happened = true;
      Finish(sender, batch, ToStatus(lost));
    }
    Advance(sender);
  }
  if (!was_established && metadata_.IsAdvertised(session->target().address)) {
    metadata_.MarkUnreachable(session->target().address);
  } else {
    metadata_.Refresh();
  }
}

void ProducerCore::Finish(PartitionSender* sender, ProducerBatch* batch, const absl::StatusOr<RecordMetadata>& result) {
  if (batch->in_flight && sender->session != nullptr) sender->session->Forget(batch);
  accumulator_.Done(sender->Remove(batch), result);
}

// After anything about a partition changed: what may be sent next?
void ProducerCore::Advance(PartitionSender* sender) {
  if (stopped_) return;
  if (sender->in_flight() == 0) {
    if (sender->retry_wanted() && !sender->restarting() && sender->pause == 0) {
      sender->pause = env_.executor.After(sender->NextPause(), [this, sender] {
        sender->pause = 0;
        EndPause(sender);
      });
    }
    if (!sender->retry_wanted() && sender->pause != 0) {
      env_.executor.Cancel(sender->pause);
      sender->pause = 0;
    }
  }
  RouteSender(sender);
}

void ProducerCore::EndPause(PartitionSender* sender) {
  if (stopped_ || !sender->retry_wanted() || sender->in_flight() > 0 || sender->session == nullptr) return;
  if (sender->refused_identity() && identity_ == sender->refused_identity()) {
    if (name_) name_->latest = *identity_;
    identity_.reset();
    AskIdentity();
  }
  sender->session->AddRetry(sender);  // waits for the identity, if need be
}

// --- Producer id ---

const control::ProducerIdentity* ProducerCore::Identity() {
  static constexpr control::ProducerIdentity kNone;
  if (!idempotent_) return &kNone;
  return identity_ ? &*identity_ : nullptr;
}

void ProducerCore::AskIdentity() {
  if (asking_identity_ || identity_timer_ != 0) return;
  asking_identity_ = true;
  control_.Call(control::kInitProducer, control::InitProducerRequest(name_),
                {.timeout = options_.client.request_timeout, .repeat = Repeat::kSafe},
                [this](absl::StatusOr<absl::Cord> reply) { OnIdentity(std::move(reply)); });
}

void ProducerCore::OnIdentity(absl::StatusOr<absl::Cord> reply) {
  asking_identity_ = false;
  absl::StatusOr<control::ProducerIdentity> identity =
      reply.ok() ? control::ParseInitProducer(*reply) : absl::StatusOr<control::ProducerIdentity>(reply.status());
  if (!identity.ok()) {
    session_errors_[control_.address()] = ErrorFrom(identity.status());
    identity_timer_ = env_.executor.After(identity_backoff_.Next(), [this] {
      identity_timer_ = 0;
      AskIdentity();
    });
    return;
  }
  identity_backoff_.Reset();
  identity_ = *identity;
  PumpAll();
}

// --- Giving up ---

void ProducerCore::Expire() {
  const nanoseconds now = env_.clock.Monotonic();
  const nanoseconds cutoff = now - options_.delivery_timeout;
  std::optional<nanoseconds> oldest;
  for (auto& batch : accumulator_.TakeOlderThan(cutoff, &oldest)) {
    const Error& cause = SenderOf(batch->partition)->last_error();
    const absl::Status status = TimedOut(*batch, cause);
    accumulator_.Done(std::move(batch), status);
  }
  for (PartitionSender* const sender : senders_by_age_) {
    for (ProducerBatch* batch : sender->OlderThan(cutoff)) {
      const absl::Status status = TimedOut(*batch, sender->last_error());
      Finish(sender, batch, status);
      Advance(sender);
    }
    if (std::optional<nanoseconds> left = sender->oldest(); left && (!oldest || *left < *oldest)) oldest = left;
  }
  nanoseconds pause = std::clamp<nanoseconds>(options_.delivery_timeout / 8, kExpiryPeriodMin, kExpiryPeriodMax);
  if (oldest) pause = std::clamp<nanoseconds>(*oldest - cutoff + nanoseconds(1), kExpiryPeriodMin, pause);
  expiry_timer_ = env_.executor.After(pause, [this] { Expire(); });
}

absl::Status ProducerCore::TimedOut(const ProducerBatch& batch, const Error& cause) const {
  const PartitionQueue& queue = *batch.partition;
  const bool maybe_stored = batch.maybe_stored || batch.in_flight;
  std::string text = "records for " + queue.topic->name + "[" + std::to_string(queue.partition) +
                     "] were not stored within delivery.timeout.ms (" +
                     std::to_string(options_.delivery_timeout.count()) + ")";
  const Error* why = cause.code != ErrorCode::kNone ? &cause : nullptr;
  if (why == nullptr && metadata_.last_error()) why = &*metadata_.last_error();
  if (why == nullptr && !session_errors_.empty()) why = &session_errors_.begin()->second;
  if (why != nullptr) text += "; last: " + why->message;
  text += maybe_stored ? "; they were sent and may be stored" : "; they were not stored, sending them again is safe";
  return ToStatus({.code = ErrorCode::kRequestTimedOut,
                   .message = std::move(text),
                   .retriable = true,
                   .may_have_happened = maybe_stored,
                   .topic = queue.topic->name,
                   .partition = queue.partition,
                   .address = why != nullptr ? why->address : std::string()});
}

void ProducerCore::Stop() {
  if (stopped_) return;
  stopped_ = true;
  for (auto& [queue, sender] : senders_) {
    auto fail = [&](bool maybe_stored) {
      return ToStatus({.code = ErrorCode::kCancelled,
                       .message = "the producer was closed before the record was stored",
                       .retriable = true,
                       .may_have_happened = maybe_stored,
                       .topic = queue->topic->name,
                       .partition = queue->partition});
    };
    while (!sender->unacked().empty()) {
      ProducerBatch* batch = sender->unacked().front().get();
      Finish(sender.get(), batch, fail(batch->maybe_stored || batch->in_flight));
    }
    for (auto& batch : accumulator_.TakeAll(queue)) accumulator_.Done(std::move(batch), fail(false));
    queue->room = 0;
  }
}

}  // namespace millrace::client
