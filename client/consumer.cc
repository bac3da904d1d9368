#include "millrace/consumer.h"

#include <string>
#include <utility>

#include "client/address.h"
#include "client/consumer_core.h"
#include "client/consumer_reader.h"
#include "client/fetch_queue.h"
#include "client/runtime_thread.h"
#include "client/status.h"

namespace millrace {
namespace client {
namespace {

using std::chrono::milliseconds;
using SteadyTime = std::chrono::steady_clock::time_point;

// Both halves of a consumer, and the waiting between them.
class ConsumerImpl : public Consumer, private ConsumerReader::Core {
 public:
  ConsumerImpl(const ConsumerOptions& options, std::unique_ptr<Foundation> foundation,
               std::vector<std::string> addresses)
      : foundation_(std::move(foundation)), env_(foundation_->environment()), reader_(options, queue_, this) {
    foundation_->thread().RunAndWait(
        [&] { core_ = std::make_unique<ConsumerCore>(env_, options, std::move(addresses), queue_); });
  }

  ~ConsumerImpl() override {
    foundation_->thread().RunAndWait([&] { core_.reset(); });
  }

  absl::Status Assign(std::vector<Assignment> assignments) override {
    if (foundation_->OnThread()) return OnIoThread("Assign()");
    auto partitions = foundation_->thread().Await<absl::StatusOr<ConsumerCore::Partitions>>(
        [&](ConsumerCore::Resolved done) { core_->Resolve(assignments, std::move(done)); });
    if (!partitions.ok()) return partitions.status();
    // Both halves change over in one step: nothing comes in between that belongs to neither.
    foundation_->thread().RunAndWait([&] {
      reader_.Assign(assignments, *partitions, env_.clock.Wall());
      core_->Start(assignments, *partitions);
    });
    return absl::OkStatus();
  }

  absl::StatusOr<PollResult> Poll(milliseconds timeout) override {
    if (foundation_->OnThread()) return OnIoThread("Poll()");
    if (!reader_.assigned()) return InvalidRequest("nothing is assigned to this consumer; call Assign() first");
    if (queue_.TakeWake()) return Woken();
    if (std::optional<absl::StatusOr<PollResult>> result = reader_.Next()) return *std::move(result);
    const SteadyTime now = std::chrono::steady_clock::now();
    const SteadyTime deadline = timeout > std::chrono::hours(24 * 365) ? SteadyTime::max() : now + timeout;
    while (std::chrono::steady_clock::now() < deadline) {
      if (queue_.Wait(deadline)) return Woken();
      if (std::optional<absl::StatusOr<PollResult>> result = reader_.Next()) return *std::move(result);
    }
    return PollResult{};
  }

  absl::Status Seek(const TopicPartition& partition, Position position) override {
    return reader_.Seek(partition, position, env_.clock.Wall());
  }
  absl::Status Pause(std::span<const TopicPartition> partitions) override { return reader_.Pause(partitions); }
  absl::Status Resume(std::span<const TopicPartition> partitions) override { return reader_.Resume(partitions); }
  void Wakeup() override { queue_.Wake(); }
  std::vector<PartitionProgress> progress() const override { return reader_.progress(); }

  std::optional<Trouble> trouble() const override {
    if (foundation_->OnThread()) return core_->trouble();
    std::optional<Trouble> trouble;
    foundation_->thread().RunAndWait([&] { trouble = core_->trouble(); });
    return trouble;
  }

  ConsumerCounters counters() const override {
    ConsumerCounters counters = reader_.counters();
    counters.reconnects = core_->reconnects();
    return counters;
  }

 private:
  static absl::Status OnIoThread(std::string call) {
    return InvalidRequest(call + " waits and must not be called by a delivery callback");
  }

  static absl::Status Woken() {
    return ToStatus({.code = ErrorCode::kCancelled, .message = "Wakeup() was called", .retriable = true});
  }

  void Reposition(const std::shared_ptr<FetchPartition>& partition, uint64_t generation, Position position) override {
    env_.executor.Post([=, this] { core_->Reposition(partition, generation, position); });
  }
  void Halt(const std::shared_ptr<FetchPartition>& partition, uint64_t generation) override {
    env_.executor.Post([=, this] { core_->Halt(partition, generation); });
  }
  void GrantCredit() override {
    env_.executor.Post([this] { core_->GrantCredit(); });
  }

  std::unique_ptr<Foundation> foundation_;
  const ClientEnvironment env_;
  FetchQueue queue_;
  ConsumerReader reader_;
  std::unique_ptr<ConsumerCore> core_;
};

}  // namespace
}  // namespace client

absl::StatusOr<std::unique_ptr<Consumer>> Consumer::Create(ConsumerOptions options) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  auto addresses = client::ParseAddresses(options.client.bootstrap_servers);
  if (!addresses.ok()) return addresses.status();
  auto foundation = client::Foundation::Create(options.client);
  if (!foundation.ok()) return foundation.status();
  return std::make_unique<client::ConsumerImpl>(options, *std::move(foundation), *std::move(addresses));
}

void Consumer::Iterator::Refill() {
  next_ = last_ = nullptr;
  for (;;) {
    absl::StatusOr<PollResult> result = consumer_->Poll(std::chrono::milliseconds::max());
    consumer_->status_ = result.status();
    if (!result.ok() || result->end) return;
    if (result->records.empty()) continue;
    next_ = result->records.data();
    last_ = next_ + result->records.size();
    return;
  }
}

}  // namespace millrace
