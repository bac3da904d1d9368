#include "client/handler_run.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "client/status.h"

namespace millrace::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// How long a pause may keep us from noticing that others have come to be due: none, Poll() returns by itself. Of an idle run.
constexpr milliseconds kWaitMax{60'000};

TopicPartition PartitionOf(const ConsumerRecord& record) { return {std::string(record.topic), record.partition}; }

}  // namespace

absl::Status HandlerRun::Run() {
  for (;;) {
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
    return ToStatus({.code = ErrorCode::kCorruptMessage,
                     .message = "offsets " + std::to_string(gap.from) + " to " + std::to_string(gap.to - 1) +
                                " are damaged; set on_corrupt to kSkip to go on without them",
                     .topic = std::string(gap.topic),
                     .partition = gap.partition});
  }
  for (const ConsumerRecord& record : polled.records) {
    const absl::Status handled = handler_(record);
    if (handled.ok()) {
      failed_.erase(PartitionOf(record));
      continue;
    }
    // What came behind it in this partition comes again.
    return TakeFailure(record, handled);
  }
  return absl::OkStatus();
}

absl::Status HandlerRun::TakeFailure(const ConsumerRecord& record, const absl::Status& why) {
  const TopicPartition partition = PartitionOf(record);
  Failed& failed = failed_[partition];
  if (failed.offset != record.offset) failed = {.offset = record.offset};
  if (++failed.attempts < options_.attempts) {
    const int doublings = std::min(failed.attempts - 1, 20);
    failed.again = clock_.Monotonic() + std::min(options_.backoff * (int64_t{1} << doublings), options_.backoff_max);
    if (absl::Status status = consumer_.Seek(partition, Position::Offset(record.offset)); !status.ok()) return status;
    return consumer_.Pause({&partition, 1});
  }
  const int64_t offset = record.offset;
  if (absl::Status status = SetAside(record, why, failed.attempts); !status.ok()) return status;
  failed_.erase(partition);
  return consumer_.Seek(partition, Position::Offset(offset + 1));
}

// Acked before anything behind it is handled, and so before its offset can be committed.
absl::Status HandlerRun::SetAside(const ConsumerRecord& record, const absl::Status& why, int attempts) {
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
  return producer_
      ->SendAndWait({.topic = options_.dead_letter_topic,
                     .key = record.key,
                     .value = record.value,
                     .headers = headers,
                     .timestamp = record.timestamp})
      .status();
}

void HandlerRun::ResumeDue() {
  const nanoseconds now = clock_.Monotonic();
  for (auto it = failed_.begin(); it != failed_.end();) {
    const TopicPartition& partition = it->first;
    // One that is not this member's any more is its heir's to try.
    if (it->second.again <= now && !consumer_.Resume({&partition, 1}).ok()) {
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
    if (failed.again > now) wait = std::min(wait, std::chrono::ceil<milliseconds>(failed.again - now));
  }
  return wait;
}

}  // namespace millrace::client
