#include "millrace/producer.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "client/address.h"
#include "client/producer_core.h"
#include "client/runtime_thread.h"
#include "client/status.h"
#include "proto/wire/check.h"

namespace millrace {
namespace client {
namespace {

using std::chrono::milliseconds;
using SteadyTime = std::chrono::steady_clock::time_point;

SteadyTime DeadlineAfter(milliseconds timeout) {
  const SteadyTime now = std::chrono::steady_clock::now();
  return timeout > std::chrono::hours(24 * 365) ? SteadyTime::max() : now + timeout;
}

// The thread-safe face of a ProducerCore.
class ProducerImpl : public Producer {
 public:
  ProducerImpl(const ProducerOptions& options, std::unique_ptr<Foundation> foundation,
               std::vector<std::string> addresses)
      : options_(options), foundation_(std::move(foundation)), env_(foundation_->environment()) {
    foundation_->thread().RunAndWait(
        [&] { core_ = std::make_unique<ProducerCore>(env_, options_, std::move(addresses)); });
  }

  ~ProducerImpl() override {
    Close(milliseconds::max()).IgnoreError();
    foundation_->thread().RunAndWait([&] { core_.reset(); });
  }

  absl::Status Send(const ProducerRecord& record, DeliveryCallback callback) override {
    return Take(record, &callback, WaitLimit());
  }

  absl::Status TrySend(const ProducerRecord& record, DeliveryCallback callback) override {
    return Take(record, &callback, milliseconds(0));
  }

  absl::Status Send(std::string_view topic, std::string_view value) override {
    const RecordView view{.timestamp = env_.clock.Wall(), .key = std::nullopt, .value = value};
    return Append({.topic = topic, .partition = std::nullopt, .record = view}, nullptr, WaitLimit());
  }

  absl::Status Send(std::string_view topic, std::optional<std::string_view> key, std::string_view value) override {
    const RecordView view{.timestamp = env_.clock.Wall(), .key = key, .value = value};
    return Append({.topic = topic, .partition = std::nullopt, .record = view}, nullptr, WaitLimit());
  }

  absl::StatusOr<RecordMetadata> SendAndWait(const ProducerRecord& record) override {
    if (foundation_->OnThread()) {
      return InvalidRequest("SendAndWait() waits and must not be called by a delivery callback");
    }
    std::promise<absl::StatusOr<RecordMetadata>> outcome;
    DeliveryCallback callback = [&outcome](const absl::StatusOr<RecordMetadata>& result) { outcome.set_value(result); };
    if (absl::Status taken = Take(record, &callback, WaitLimit(), true); !taken.ok()) return taken;
    return outcome.get_future().get();
  }

  absl::Status Flush(milliseconds timeout) override {
    if (foundation_->OnThread()) return InvalidRequest("Flush() waits and must not be called by a delivery callback");
    RecordAccumulator& accumulator = core_->accumulator();
    const uint64_t flush = accumulator.BeginFlush();
    if (!accumulator.Flushed(flush)) {
      env_.executor.Post([this] { core_->PumpAll(); });
      if (!accumulator.WaitForFlush(flush, DeadlineAfter(timeout))) {
        return ToStatus({.code = ErrorCode::kRequestTimedOut,
                         .message = "not every record was stored within " + std::to_string(timeout.count()) +
                                    " ms; they go on being sent",
                         .retriable = true,
                         .may_have_happened = true});
      }
    }
    return accumulator.TakeFirstError();
  }

  absl::Status Close(milliseconds timeout) override {
    if (foundation_->OnThread()) return InvalidRequest("Close() waits and must not be called by a delivery callback");
    if (closed_.exchange(true)) return absl::OkStatus();
    core_->accumulator().Close();
    absl::Status flushed = Flush(timeout);
    foundation_->thread().RunAndWait([&] { core_->Stop(); });
    return flushed;
  }

  ProducerCounters counters() const override { return core_->accumulator().counters(); }

 private:
  // Delivery callbacks run on the I/O thread, which would wait for itself.
  milliseconds WaitLimit() const {
    if (foundation_->OnThread()) return milliseconds(0);
    return options_.max_block;
  }

  absl::Status Take(const ProducerRecord& record, DeliveryCallback* callback, milliseconds limit,
                    bool awaited = false) {
    const int64_t now = env_.clock.Wall();
    if (record.timestamp && *record.timestamp < 0) {
      return ToStatus({.code = ErrorCode::kInvalidTimestamp,
                       .message = "a record's timestamp must not be negative",
                       .topic = std::string(record.topic)});
    }
    RecordView view{.timestamp = record.timestamp.value_or(now), .key = record.key, .value = record.value};
    for (const Header& header : record.headers) view.headers.push_back({.key = header.key, .value = header.value});
    return Append({.topic = record.topic, .partition = record.partition, .record = view, .awaited = awaited}, callback,
                  limit);
  }

  absl::Status Append(const RecordAccumulator::Input& input, DeliveryCallback* callback, milliseconds limit) {
    absl::Status refusal;
    const RecordAccumulator::Outcome outcome = core_->accumulator().Append(input, callback, &refusal);
    if (outcome == RecordAccumulator::Outcome::kTaken) [[likely]]
      return absl::OkStatus();
    return AppendSlowly(outcome, std::move(refusal), input, callback, limit);
  }

  // The record was not taken at once.
  absl::Status AppendSlowly(RecordAccumulator::Outcome outcome, absl::Status refusal,
                            const RecordAccumulator::Input& input, DeliveryCallback* callback, milliseconds limit) {
    RecordAccumulator& accumulator = core_->accumulator();
    const SteadyTime deadline = DeadlineAfter(limit);
    for (;;) {
      switch (outcome) {
        case RecordAccumulator::Outcome::kTaken:
          return absl::OkStatus();
        case RecordAccumulator::Outcome::kRefused:
          return refusal;
        case RecordAccumulator::Outcome::kFull:
          if (limit == milliseconds(0) || !accumulator.WaitForRoom(input.record, deadline)) return BufferFull(limit);
          break;
        case RecordAccumulator::Outcome::kNoMetadata:
          if (absl::Status status = WaitForTopic(input.topic, limit, deadline); !status.ok()) return status;
          break;
      }
      outcome = accumulator.Append(input, callback, &refusal);
    }
  }

  absl::Status WaitForTopic(std::string_view topic, milliseconds limit, SteadyTime deadline) {
    RecordAccumulator& accumulator = core_->accumulator();
    if (topic.empty()) return InvalidRequest("a record needs a topic");
    const uint64_t seen = accumulator.BeginMetadataWait(topic);
    env_.executor.Post([this, name = std::string(topic)] { core_->EnsureTopic(name); });
    if (limit == milliseconds(0)) {
      return ToStatus({.code = ErrorCode::kLeaderNotAvailable,
                       .message = "the metadata of topic '" + std::string(topic) + "' is being fetched; try again",
                       .retriable = true,
                       .topic = std::string(topic)});
    }
    bool timed_out = false;
    absl::Status failure = accumulator.WaitForMetadata(topic, seen, deadline, &timed_out);
    if (!failure.ok() || !timed_out) return failure;
    Error error{.code = ErrorCode::kRequestTimedOut,
                .message = "no metadata of topic '" + std::string(topic) + "' within max.block.ms",
                .retriable = true,
                .topic = std::string(topic)};
    foundation_->thread().RunAndWait([&] {
      if (std::optional<Error> trouble = core_->trouble()) {
        error.code = trouble->code;
        error.address = trouble->address;
        error.message += ": " + trouble->message;
      }
    });
    return ToStatus(error);
  }

  absl::Status BufferFull(milliseconds limit) const {
    return ToStatus(
        {.code = ErrorCode::kThrottlingQuotaExceeded,
         .message = "buffer.memory (" + std::to_string(options_.buffer_memory) + " bytes) is full" +
                    (limit == milliseconds(0) ? std::string() : " for " + std::to_string(limit.count()) + " ms") +
                    ": records come faster than brokers take them",
         .retriable = true});
  }

  const ProducerOptions options_;
  std::unique_ptr<Foundation> foundation_;
  const ClientEnvironment env_;
  std::unique_ptr<ProducerCore> core_;
  std::atomic<bool> closed_{false};
};

}  // namespace
}  // namespace client

absl::StatusOr<std::unique_ptr<Producer>> Producer::Create(ProducerOptions options) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  auto addresses = client::ParseAddresses(options.client.bootstrap_servers);
  if (!addresses.ok()) return addresses.status();
  auto foundation = client::Foundation::Create(options.client);
  if (!foundation.ok()) return foundation.status();
  return std::make_unique<client::ProducerImpl>(options, *std::move(foundation), *std::move(addresses));
}

std::future<absl::StatusOr<RecordMetadata>> Producer::SendAsync(const ProducerRecord& record) {
  auto promise = std::make_shared<std::promise<absl::StatusOr<RecordMetadata>>>();
  std::future<absl::StatusOr<RecordMetadata>> future = promise->get_future();
  absl::Status taken =
      Send(record, [promise](const absl::StatusOr<RecordMetadata>& result) { promise->set_value(result); });
  if (!taken.ok()) promise->set_value(taken);
  return future;
}

}  // namespace millrace
