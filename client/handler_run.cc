#include "client/handler_run.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "client/status.h"
#include "millrace/admin.h"

namespace millrace::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// How long a pause may keep us from noticing that others have come to be due: none, Poll() returns by itself. Of an idle run.
constexpr milliseconds kWaitMax{60'000};
// How long the other partitions wait for the dead-letter topic's ack, or that is not looked for meanwhile.
constexpr milliseconds kAckSoon{20};

TopicPartition PartitionOf(const ConsumerRecord& record) { return {std::string(record.topic), record.partition}; }

}  // namespace

// Whatever it ends by: what waits is read again from the record that failed.
absl::Status HandlerRun::Run() {
  absl::Status status = CheckDeadLetterTopic();
  if (status.ok()) status = Loop();
  for (const auto& [partition, failed] : failed_) consumer_.Resume({&partition, 1}).IgnoreError();
  return status;
}

// Before the first poison record, which may be weeks away, finds that nobody has made it.
absl::Status HandlerRun::CheckDeadLetterTopic() const {
  if (options_.dead_letter_topic.empty()) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(client_);
  if (!admin.ok()) return admin.status();
  const absl::Status status = (*admin)->DescribeTopic(options_.dead_letter_topic).status();
  return ErrorFrom(status).code == ErrorCode::kUnknownTopicOrPartition ? status : absl::OkStatus();
}

absl::Status HandlerRun::Loop() {
  for (;;) {
    if (absl::Status status = PassSetAside(); !status.ok()) return status;
    ResumeDue();
    absl::StatusOr<PollResult> polled = consumer_.Poll(UntilNextDue());
    if (!polled.ok()) {
      const bool woken = ErrorFrom(polled.status()).code == ErrorCode::kCancelled;
      return woken ? absl::OkStatus() : polled.status();
    }
    if (polled->end) return absl::OkStatus();
    if (absl::Status status = Handle(*polled); !status.ok()) return status;
  }
}

absl::Status HandlerRun::Handle(const PollResult& polled) {
  for (const Gap& gap : polled.gaps) {
    if (gap.reason != Gap::Reason::kCorrupt || options_.on_corrupt == OnCorrupt::kSkip) continue;
    const TopicPartition partition{std::string(gap.topic), gap.partition};
    absl::Status damaged =
        ToStatus({.code = ErrorCode::kCorruptMessage,
                  .message = "offsets " + std::to_string(gap.from) + " to " + std::to_string(gap.to - 1) +
                             " are damaged; set on_corrupt to kSkip to go on without them",
                  .topic = partition.topic,
                  .partition = partition.partition});
    consumer_.Seek(partition, Position::Offset(gap.from)).IgnoreError();  // it is not passed over by who comes back
    return damaged;
  }
  for (const ConsumerRecord& record : polled.records) {
    hooks_.stand_at(&record);
    const absl::Status handled = handler_(record);
    if (handled.ok()) {
      failed_.erase(PartitionOf(record));
      continue;
    }
    // What came behind it in this partition comes again.
    absl::Status status = TakeFailure(record, handled);
    hooks_.stand_at(nullptr);
    return status;
  }
  hooks_.stand_at(nullptr);
  return absl::OkStatus();
}

absl::Status HandlerRun::TakeFailure(const ConsumerRecord& record, const absl::Status& why) {
  const TopicPartition partition = PartitionOf(record);
  Failed& failed = failed_[partition];
  const int32_t epoch = hooks_.epoch_of(partition);
  if (failed.offset != record.offset || failed.epoch != epoch) failed = {.offset = record.offset, .epoch = epoch};
  if (++failed.attempts < options_.attempts) {
    const int doublings = std::min(failed.attempts - 1, 20);
    failed.again = clock_.Monotonic() + std::min(options_.backoff * (int64_t{1} << doublings), options_.backoff_max);
    return WaitAt(partition, record.offset);
  }
  absl::StatusOr<Ack> ack = SetAside(record, why, failed.attempts);
  if (!ack.ok()) {
    // Not handled: it is the next to be read, by whoever.
    WaitAt(partition, failed.offset).IgnoreError();
    return ack.status();
  }
  failed.set_aside = *std::move(ack);
  failed.set_aside.wait_for(kAckSoon);
  return WaitAt(partition, failed.offset);
}

absl::Status HandlerRun::WaitAt(const TopicPartition& partition, int64_t offset) {
  if (absl::Status status = consumer_.Seek(partition, Position::Offset(offset)); !status.ok()) return status;
  return consumer_.Pause({&partition, 1});
}

// Goes on behind records that the dead-letter topic has.
absl::Status HandlerRun::PassSetAside() {
  for (auto it = failed_.begin(); it != failed_.end();) {
    Failed& failed = it->second;
    if (!failed.set_aside.valid() || failed.set_aside.wait_for(milliseconds(0)) != std::future_status::ready) {
      ++it;
      continue;
    }
    if (absl::Status status = failed.set_aside.get().status(); !status.ok()) return status;
    // What was lost meanwhile is its heir's to try; what was put elsewhere goes on there.
    if (hooks_.epoch_of(it->first) == failed.epoch) {
      consumer_.Seek(it->first, Position::Offset(failed.offset + 1)).IgnoreError();
    }
    consumer_.Resume({&it->first, 1}).IgnoreError();
    it = failed_.erase(it);
  }
  return absl::OkStatus();
}

// Acked before anything behind it is handled, and so before its offset can be committed.
absl::StatusOr<HandlerRun::Ack> HandlerRun::SetAside(const ConsumerRecord& record, const absl::Status& why,
                                                     int attempts) {
  if (options_.dead_letter_topic.empty()) return why;
  if (producer_ == nullptr) {
    absl::StatusOr<std::unique_ptr<Producer>> producer = Producer::Create({.client = client_});
    if (!producer.ok()) return producer.status();
    producer_ = *std::move(producer);
  }
  const std::string partition = std::to_string(record.partition), offset = std::to_string(record.offset);
  const std::string text(why.message()), tried = std::to_string(attempts);
  std::vector<Header> headers(record.headers.begin(), record.headers.end());
  headers.push_back({.key = "millrace.origin.topic", .value = record.topic});
  headers.push_back({.key = "millrace.origin.partition", .value = partition});
  headers.push_back({.key = "millrace.origin.offset", .value = offset});
  headers.push_back({.key = "millrace.error", .value = text});
  headers.push_back({.key = "millrace.attempts", .value = tried});
  return producer_->SendAsync({.topic = options_.dead_letter_topic,
                               .key = record.key,
                               .value = record.value,
                               .headers = headers,
                               .timestamp = record.timestamp});
}

void HandlerRun::ResumeDue() {
  const nanoseconds now = clock_.Monotonic();
  for (auto it = failed_.begin(); it != failed_.end();) {
    const TopicPartition& partition = it->first;
    // One that is not this member's any more is its heir's to try.
    if (!it->second.set_aside.valid() && it->second.again <= now && !consumer_.Resume({&partition, 1}).ok()) {
      it = failed_.erase(it);
    } else {
      ++it;
    }
  }
}

milliseconds HandlerRun::UntilNextDue() const {
  const nanoseconds now = clock_.Monotonic();
  milliseconds wait = kWaitMax;
  for (const auto& [partition, failed] : failed_) {
    if (failed.set_aside.valid()) wait = std::min(wait, kAckSoon);
    if (failed.again > now) wait = std::min(wait, std::chrono::ceil<milliseconds>(failed.again - now));
  }
  return wait;
}

}  // namespace millrace::client
