#include "tests/client/fake_broker.h"

#include <algorithm>

#include "client/control.h"
#include "millrace/v1/admin.pb.h"
#include "millrace/v1/broker.pb.h"

namespace millrace {
namespace {

namespace control = client::control;

constexpr int32_t kOffsetOutOfRange = 1;
constexpr int32_t kUnknownTopic = 3;
constexpr int32_t kOutOfOrder = 45;
constexpr int32_t kDuplicate = 46;
constexpr int32_t kInvalidEpoch = 47;
constexpr size_t kWindow = 5;

absl::Cord Bytes(const google::protobuf::MessageLite& message) { return absl::Cord(message.SerializeAsString()); }

}  // namespace

struct FakeBroker::Session {
  std::string method;
  StreamHandler* handler = nullptr;  // nullptr: the client let go
  bool read_wanted = false;
  bool ended = false;
  std::deque<absl::Cord> outgoing;
  // Fetch
  bool first = true;
  int64_t credit = 0;
  std::map<uint64_t, Subscription> subscriptions;
};

class FakeBroker::Handle : public Stream {
 public:
  Handle(FakeBroker* broker, std::shared_ptr<Session> session) : broker_(broker), session_(std::move(session)) {}
  ~Handle() override {
    session_->handler = nullptr;
    session_->ended = true;
    broker_->sessions_.erase(session_);
  }
  void Read() override {
    session_->read_wanted = true;
    broker_->Deliver(session_);
  }
  void Write(absl::Cord message) override {
    broker_->executor_.Post([broker = broker_, session = session_, message = std::move(message)] {
      if (session->ended) return;
      if (broker->silent_) return;
      session->handler->OnWritten();
      if (broker->frozen_) return;
      if (!session->ended) broker->Receive(session, message);
    });
  }
  void Finish(CallEnd) override {}

 private:
  FakeBroker* const broker_;
  const std::shared_ptr<Session> session_;
};

FakeBroker::FakeBroker(SimExecutor& executor, std::string address) : executor_(executor), address_(std::move(address)) {
  brokers_[1] = address_;
}

FakeBroker::~FakeBroker() { *alive_ = false; }

void FakeBroker::AddTopic(const std::string& name, int32_t partitions, int64_t message_bytes_max) {
  topics_[name] = {.partitions = partitions, .message_bytes_max = message_bytes_max, .id = ++last_topic_id_};
}

void FakeBroker::DeleteTopic(const std::string& name) { topics_.erase(name); }

void FakeBroker::Append(const std::string& topic, int32_t partition, const std::vector<std::string>& values,
                        int64_t timestamp) {
  BatchBuilder builder;
  for (const std::string& value : values) {
    builder.Add({.timestamp = timestamp++, .key = std::nullopt, .value = value, .headers = {}});
  }
  AppendRaw(topic, partition, builder.Finish({}));
}

void FakeBroker::AppendRaw(const std::string& topic, int32_t partition, absl::Cord batch) {
  Log& log = logs_[{topic, partition}];
  absl::StatusOr<BatchView> view = ParseBatch(batch);
  BatchHeader header;
  if (view.ok()) header = view->header;
  log.batches.push_back({.base_offset = log.end,
                         .leader_epoch = leader_epoch,
                         .append_time = executor_.clock().Wall(),
                         .batch = std::move(batch),
                         .header = header});
  log.end += std::max(header.record_count, 1);
  ServeSoon();
}

std::vector<std::string> FakeBroker::Values(const std::string& topic, int32_t partition) const {
  std::vector<std::string> values;
  auto it = logs_.find({topic, partition});
  if (it == logs_.end()) return values;
  for (const Stored& stored : it->second.batches) {
    RecordReader reader(*ParseBatch(stored.batch));
    while (reader.Next()) values.emplace_back(reader.record().value.value_or("(null)"));
  }
  return values;
}

// --- Connections ---

std::unique_ptr<Stream> FakeBroker::OpenStream(const std::string& address, const std::string& method,
                                               StreamHandler* handler) {
  stream_addresses.push_back(address);
  auto session = std::make_shared<Session>();
  session->method = method;
  session->handler = handler;
  if (Reachable(address)) {
    ++streams_opened;
    sessions_.insert(session);
  } else {
    session->ended = true;
    ++connects_refused;
    if (address == address_) {  // other addresses do not even refuse
      executor_.Post([session] {
        if (session->handler != nullptr) session->handler->OnClosed({absl::UnavailableError("connection refused"), {}});
      });
    }
  }
  return std::make_unique<Handle>(this, session);
}

void FakeBroker::End(const std::shared_ptr<Session>& session, CallEnd end) {
  if (session->ended) return;
  session->ended = true;
  sessions_.erase(session);
  executor_.Post([session, end = std::move(end)] {
    if (session->handler != nullptr) session->handler->OnClosed(end);
  });
}

void FakeBroker::BreakStreams() {
  const auto sessions = sessions_;
  for (const auto& session : sessions) End(session, {absl::UnavailableError("connection reset"), {}});
}

void FakeBroker::GoDown() {
  up_ = false;
  held_acks_.clear();
  BreakStreams();
}

void FakeBroker::Send(const std::shared_ptr<Session>& session, absl::Cord message) {
  session->outgoing.push_back(std::move(message));
  executor_.Post([this, session] { Deliver(session); });
}

void FakeBroker::Deliver(const std::shared_ptr<Session>& session) {
  if (session->ended || !session->read_wanted || session->outgoing.empty()) return;
  session->read_wanted = false;
  absl::Cord message = std::move(session->outgoing.front());
  session->outgoing.pop_front();
  executor_.Post([session, message = std::move(message)] {
    if (!session->ended) session->handler->OnMessage(message);
  });
}

void FakeBroker::Receive(const std::shared_ptr<Session>& session, absl::Cord message) {
  if (session->method == control::kProduce) ReceiveProduce(session, message);
  if (session->method == control::kFetch) ReceiveFetch(session, message);
}

// --- Produce ---

void FakeBroker::ReceiveProduce(const std::shared_ptr<Session>& session, const absl::Cord& message) {
  const ProduceRequestFrame request = *ParseProduceRequest(message);
  ProduceResponseFrame response;
  if (request.ping != 0) {
    ++pings;
    Send(session, SerializeProduceResponse({.ping = request.ping, .acks = {}}));
  }
  if (request.batches.empty()) return;
  request_batches.push_back(request.batches.size());
  routings.push_back(request.routing);
  for (const PartitionBatchFrame& batch : request.batches) {
    if (on_batch) on_batch(batch);
    if (session->ended) return;
    ProduceAckFrame ack = Judge(batch);
    if (std::exchange(lose_next_ack_, false)) return End(session, {absl::UnavailableError("connection reset"), {}});
    if (request.acks == static_cast<int32_t>(Acks::kNone)) continue;
    if (hold_acks_) {
      held_acks_.emplace_back(session, std::move(ack));
    } else {
      response.acks.push_back(std::move(ack));
    }
  }
  if (!response.acks.empty()) Send(session, SerializeProduceResponse(response));
}

void FakeBroker::ReleaseAcks() {
  hold_acks_ = false;
  for (auto& [session, ack] : std::exchange(held_acks_, {})) {
    if (!session->ended) Send(session, SerializeProduceResponse({.ping = 0, .acks = {ack}}));
  }
}

void FakeBroker::ForgetAcks() {
  hold_acks_ = false;
  held_acks_.clear();
}

ProduceAckFrame FakeBroker::Judge(const PartitionBatchFrame& batch) {
  ProduceAckFrame ack{.id = batch.id};
  ack.leader_epoch = leader_epoch;
  ack.durability = Durability::kQuorumDisk;
  const auto fail = [&](int32_t code, bool retriable) {
    ack.error.code = code;
    ack.error.message = "scripted";
    ack.error.retriable = retriable;
    return ack;
  };
  if (!script_.empty()) {
    ack.error = script_.front();
    script_.pop_front();
    if (!ack.error.ok()) return ack;
  }
  auto topic = topics_.find(batch.topic);
  if (topic == topics_.end() || batch.partition >= topic->second.partitions) return fail(kUnknownTopic, true);
  const BatchView view = *ParseBatch(batch.batch);
  Log& log = logs_[{batch.topic, batch.partition}];
  if (view.header.producer_id != 0) {
    Log::Producer& producer = log.producers[view.header.producer_id];
    ack.error.producer_epoch = producer.epoch;
    ack.error.expected_sequence = producer.expected;
    if (view.header.producer_epoch < producer.epoch) return fail(kInvalidEpoch, false);
    const bool given_out = view.header.producer_epoch / kEpochsRaised > producer.epoch / kEpochsRaised;
    if (given_out && view.header.base_sequence == 0) producer.expected = 0;
    const int32_t ahead = view.header.base_sequence - producer.expected;
    if (view.header.producer_epoch == producer.epoch) {
      for (const Log::Sequence& sequence : producer.window) {
        if (sequence.first == view.header.base_sequence) {
          ack.base_offset = sequence.offset;
          ack.duplicate = true;
          return ack;
        }
      }
      if (ahead < 0) return fail(kDuplicate, false);
    }
    if (ahead != 0) return fail(kOutOfOrder, false);
    if (view.header.producer_epoch > producer.epoch) producer.window.clear();
    producer.epoch = view.header.producer_epoch;
    producer.expected += view.header.record_count;
    producer.window.push_back({view.header.base_sequence, log.end, view.header.record_count});
    if (producer.window.size() > kWindow) producer.window.pop_front();
  }
  ack.base_offset = log.end;
  ack.append_time = executor_.clock().Wall();
  AppendRaw(batch.topic, batch.partition, batch.batch);
  return ack;
}

// --- Fetch ---

void FakeBroker::ReceiveFetch(const std::shared_ptr<Session>& session, const absl::Cord& message) {
  const FetchRequestFrame request = *ParseFetchRequest(message);
  if (std::exchange(session->first, false)) max_reply_bytes = request.max_reply_bytes;
  if (request.ping != 0) {
    ++pings;
    Send(session, SerializeFetchResponse({.ping = request.ping, .partitions = {}}));
  }
  for (uint64_t id : request.unsubscribe) session->subscriptions.erase(id);
  FetchResponseFrame response;
  for (const FetchSubscriptionFrame& frame : request.subscribe) {
    Subscription& subscription = session->subscriptions[frame.id];
    subscription.request = frame;
    if (std::optional<FetchPartitionFrame> failed = Subscribe(subscription)) {
      session->subscriptions.erase(frame.id);
      response.partitions.push_back(*std::move(failed));
    }
  }
  if (!response.partitions.empty()) Send(session, SerializeFetchResponse(response));
  session->credit += request.credit;
  ServeSoon();
}

std::optional<FetchPartitionFrame> FakeBroker::Subscribe(Subscription& subscription) {
  using Position = FetchSubscriptionFrame::Position;
  const FetchSubscriptionFrame& request = subscription.request;
  FetchPartitionFrame failed{.subscription = request.id};
  failed.error.message = "fake";
  auto topic = topics_.find(request.topic);
  if (topic == topics_.end() || request.partition >= topic->second.partitions) {
    failed.error.code = kUnknownTopic;
    failed.error.retriable = true;
    return failed;
  }
  const Log& log = logs_[{request.topic, request.partition}];
  int64_t next = request.position_value;
  if (request.position == Position::kOffset || request.position == Position::kNone) {
    subscribed_offsets.push_back(next);
  } else if (request.position == Position::kSpec) {
    next = next == static_cast<int64_t>(OffsetSpec::kLatest) ? log.end : log.log_start;
  } else if (request.position == Position::kRecordsBeforeEnd) {
    next = std::max(log.log_start, log.end - request.position_value);
  } else {
    next = log.end;
    for (const Stored& stored : log.batches) {
      const bool late_enough = stored.header.EffectiveMaxTimestamp() >= request.position_value;
      if (stored.base_offset + stored.header.record_count > log.log_start && late_enough) {
        next = std::max(stored.base_offset, log.log_start);
        break;
      }
    }
  }
  if (next < log.log_start || next > log.end) {
    if (request.out_of_range != static_cast<int32_t>(OutOfRange::kGap)) {
      failed.error.code = kOffsetOutOfRange;
      failed.error.log_start_offset = log.log_start;
      failed.error.high_watermark = log.end;
      return failed;
    }
    subscription.gap = next < log.log_start ? GapFrame{next, log.log_start, 1} : GapFrame{log.end, next, 2};
    next = std::clamp(next, log.log_start, log.end);
  }
  subscription.next = next;
  return std::nullopt;
}

void FakeBroker::ServeSoon() {
  if (std::exchange(serve_posted_, true)) return;
  executor_.Post([this, alive = alive_] {
    if (!*alive) return;
    serve_posted_ = false;
    Serve();
  });
}

void FakeBroker::Serve() {
  const auto sessions = sessions_;
  for (const auto& session : sessions) {
    FetchResponseFrame response;
    for (auto it = session->subscriptions.begin(); it != session->subscriptions.end();) {
      const bool ended = ServeOne(*session, it->first, it->second, response);
      it = ended ? session->subscriptions.erase(it) : std::next(it);
    }
    if (!response.partitions.empty()) Send(session, SerializeFetchResponse(response));
  }
}

bool FakeBroker::ServeOne(Session& session, uint64_t id, Subscription& subscription, FetchResponseFrame& response) {
  const FetchSubscriptionFrame& request = subscription.request;
  const Log& log = logs_[{request.topic, request.partition}];
  FetchPartitionFrame frame{.subscription = id};
  frame.high_watermark = log.end;
  frame.log_start_offset = log.log_start;
  frame.leader_epoch = leader_epoch;
  frame.log_append_time = log_append_time;
  if (!std::exchange(subscription.announced, true)) {
    frame.start_offset = subscription.next;
    frame.gap = subscription.gap;
  }
  for (const Stored& stored : log.batches) {
    const int64_t end = stored.base_offset + std::max(stored.header.record_count, 1);
    if (end <= subscription.next || session.credit <= 0) continue;
    if (request.end_offset != 0 && subscription.next >= request.end_offset) break;
    const absl::StatusOr<BatchView> view = ParseBatch(stored.batch);
    session.credit -= static_cast<int64_t>(view.ok() ? view->payload.size() : stored.batch.size());
    subscription.next = end;
    frame.batches.push_back({.base_offset = stored.base_offset,
                             .leader_epoch = stored.leader_epoch,
                             .append_time = stored.append_time,
                             .batch = stored.batch});
  }
  frame.end_reached = request.end_offset != 0 && subscription.next >= request.end_offset;
  const bool ended = frame.end_reached;
  if (frame.start_offset || !frame.batches.empty() || ended) response.partitions.push_back(std::move(frame));
  return ended;
}

void FakeBroker::FailSubscriptions(const ErrorFrame& error) {
  for (const auto& session : sessions_) {
    FetchResponseFrame response;
    for (auto& [id, subscription] : std::exchange(session->subscriptions, {})) {
      FetchPartitionFrame frame{.subscription = id};
      frame.error = error;
      response.partitions.push_back(std::move(frame));
    }
    if (!response.partitions.empty()) Send(session, SerializeFetchResponse(response));
  }
}

int64_t FakeBroker::fetch_credit() const {
  int64_t credit = 0;
  for (const auto& session : sessions_) credit += session->credit;
  return credit;
}

// --- Unary calls ---

void FakeBroker::Call(const std::string& address, const std::string& method, absl::Cord request,
                      std::chrono::nanoseconds timeout, std::function<void(CallReply)> done) {
  if (silent_) {
    executor_.After(timeout, [done] { done({{absl::DeadlineExceededError("deadline"), {}}, {}}); });
    return;
  }
  executor_.Post([this, address, method, request, done, alive = alive_] {
    if (!*alive) return;
    if (!Reachable(address)) {
      return done({{.status = absl::UnavailableError("connection refused"), .never_sent = true}, {}});
    }
    done({{}, Answer(method, request)});
  });
}

absl::Cord FakeBroker::Answer(const std::string& method, const absl::Cord& request) {
  if (method == control::kInitProducer) {
    v1::InitProducerRequest asked;
    asked.ParseFromString(std::string(request));
    v1::InitProducerResponse reply;
    if (const auto known = named.find(asked.name()); known != named.end()) {
      reply.set_producer_id(known->second.first);
      reply.set_producer_epoch(known->second.second + kEpochsRaised);
    } else {
      reply.set_producer_id(1000 + ++producer_ids_given);
    }
    if (!asked.name().empty()) named[asked.name()] = {reply.producer_id(), reply.producer_epoch()};
    return Bytes(reply);
  }
  if (method == control::kListOffsets) {
    v1::ListOffsetsRequest asked;
    asked.ParseFromString(std::string(request));
    v1::ListOffsetsResponse reply;
    for (const v1::OffsetQuery& query : asked.queries()) {
      const Log& log = logs_[{query.topic(), query.partition()}];
      v1::OffsetResult& result = *reply.add_results();
      result.set_topic(query.topic());
      result.set_partition(query.partition());
      result.set_high_watermark(log.end);
      result.set_log_start_offset(log.log_start);
      result.set_offset(query.spec() == v1::OFFSET_SPEC_EARLIEST ? log.log_start : log.end);
    }
    return Bytes(reply);
  }
  ++metadata_calls;
  v1::GetMetadataRequest asked;
  asked.ParseFromString(std::string(request));
  v1::GetMetadataResponse reply;
  for (const auto& [id, address] : brokers_) {
    v1::BrokerInfo& broker = *reply.add_brokers();
    broker.set_broker_id(id);
    broker.set_address(address);
  }
  for (const std::string& name : asked.topics()) {
    v1::TopicMetadata& topic = *reply.add_topics();
    topic.set_name(name);
    auto it = topics_.find(name);
    if (it == topics_.end()) {
      topic.mutable_error()->set_code(v1::Error::UNKNOWN_TOPIC_OR_PARTITION);
      topic.mutable_error()->set_message("no topic '" + name + "'");
      continue;
    }
    topic.set_topic_id(it->second.id);
    topic.set_partitioner(1);
    topic.set_max_message_bytes(it->second.message_bytes_max);
    for (int32_t p = 0; p < it->second.partitions; ++p) {
      v1::PartitionMetadata& partition = *topic.add_partitions();
      partition.set_partition(p);
      auto leader = leaders_.find({name, p});
      partition.set_leader(leader == leaders_.end() ? 1 : leader->second);
      partition.set_leader_epoch(leader_epoch);
    }
  }
  return Bytes(reply);
}

}  // namespace millrace
