// Consumer::Run(): records to a handler, failed ones again after a pause, hopeless ones to a topic of their own. Knows nothing of the
// library but its public classes.
//
// A partition whose record failed is paused at that record, and the others go on; when the pause is over it is read again from there.
// So the order within a partition holds, and nothing behind a record that failed is handled before that is decided. Likewise while the
// record is on its way to the dead-letter topic.
#pragma once

#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/consumer.h"
#include "millrace/options.h"
#include "millrace/producer.h"
#include "proto/wire/runtime.h"

namespace millrace::client {

class HandlerRun {
 public:
  struct Hooks {
    // Told of each record before it is handled: those before it are; nullptr: all that was polled is.
    std::function<void(const ConsumerRecord*)> stand_at;
    // Under which the partition is held: another one once it was lost in between, or its position reset.
    std::function<int32_t(const TopicPartition&)> epoch_of;
  };

  HandlerRun(Consumer& consumer, const Clock& clock, const ClientOptions& client, Handler handler, RunOptions options,
             Hooks hooks)
      : consumer_(consumer),
        clock_(clock),
        client_(client),
        handler_(std::move(handler)),
        options_(std::move(options)),
        hooks_(std::move(hooks)) {}

  // Until Wakeup() (OK), or what cannot be gone on from.
  absl::Status Run();

 private:
  using Ack = std::future<absl::StatusOr<RecordMetadata>>;
  // A record that has failed.
  struct Failed {
    int64_t offset = 0;
    int attempts = 0;
    int32_t epoch = 0;
    std::chrono::nanoseconds again{0};  // by the clock
    Ack set_aside = {};                 // valid: on its way to the dead-letter topic
  };

  absl::Status Loop();
  absl::Status CheckDeadLetterTopic() const;
  absl::Status Handle(const PollResult& polled);
  absl::Status TakeFailure(const ConsumerRecord& record, const absl::Status& why);
  absl::StatusOr<Ack> SetAside(const ConsumerRecord& record, const absl::Status& why, int attempts);
  absl::Status WaitAt(const TopicPartition& partition, int64_t offset);
  absl::Status PassSetAside();
  void ResumeDue();
  std::chrono::milliseconds UntilNextDue() const;

  Consumer& consumer_;
  const Clock& clock_;
  const ClientOptions client_;
  const Handler handler_;
  const RunOptions options_;
  const Hooks hooks_;
  std::unique_ptr<Producer> producer_;  // to the dead-letter topic; made when it is needed
  std::map<TopicPartition, Failed> failed_;
};

}  // namespace millrace::client
