#include "millrace/consumer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "client/address.h"
#include "client/consumer_core.h"
#include "client/consumer_reader.h"
#include "client/control_client.h"
#include "client/fetch_queue.h"
#include "client/group_consumer.h"
#include "client/group_control.h"
#include "client/group_session.h"
#include "client/handler_run.h"
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
      : options_(options),
        addresses_(std::move(addresses)),
        foundation_(std::move(foundation)),
        env_(foundation_->environment()),
        reader_(options, queue_, this) {
    foundation_->thread().RunAndWait([&] {
      core_ = std::make_unique<ConsumerCore>(env_, options, addresses_, queue_);
      control_ = std::make_unique<ControlClient>(env_, options.client, addresses_);
    });
  }

  ~ConsumerImpl() override {
    if (!foundation_->OnThread()) (void)Close();
    foundation_->thread().RunAndWait([&] {
      session_.reset();
      control_.reset();
      core_.reset();
    });
  }

  absl::Status Assign(std::vector<Assignment> assignments) override {
    if (foundation_->OnThread()) return OnIoThread("Assign()");
    if (absl::Status status = LeaveGroup(); !status.ok()) return status;
    if (absl::Status status = BeginWhereCommitted(assignments); !status.ok()) return status;
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

  absl::Status Subscribe(Subscription subscription) override {
    if (foundation_->OnThread()) return OnIoThread("Subscribe()");
    if (options_.group_id.empty()) return NoGroup("Subscribe()");
    if (subscription.topics.empty() && subscription.pattern.empty()) {
      return InvalidRequest("Subscribe() names neither a topic nor a pattern");
    }
    if (absl::Status status = LeaveGroup(); !status.ok()) return status;
    foundation_->thread().RunAndWait([&] { core_->Start({}, {}); });
    group_ = std::make_unique<GroupConsumer>(
        env_, options_, reader_, queue_, [this](std::function<void()> task) { env_.executor.Post(std::move(task)); });
    foundation_->thread().RunAndWait([&] {
      session_ = std::make_unique<GroupSession>(env_, options_, addresses_, std::move(subscription), group_->owner());
      group_->SetSession(session_.get());
      session_->Start();
    });
    return absl::OkStatus();
  }

  absl::StatusOr<PollResult> Poll(milliseconds timeout) override {
    if (foundation_->OnThread()) return OnIoThread("Poll()");
    if (!reader_.assigned()) {
      return InvalidRequest("nothing is assigned to this consumer; call Assign() or Subscribe() first");
    }
    iterated_ = nullptr;
    if (session_ != nullptr) session_->NotePolling(true);
    absl::StatusOr<PollResult> result = Await(timeout);
    if (session_ != nullptr) session_->NotePolling(false);
    return result;
  }

  absl::Status Seek(const TopicPartition& partition, Position position) override {
    return reader_.Seek(partition, position, env_.clock.Wall());
  }
  absl::Status Pause(std::span<const TopicPartition> partitions) override { return reader_.Pause(partitions); }
  absl::Status Resume(std::span<const TopicPartition> partitions) override { return reader_.Resume(partitions); }
  void Wakeup() override { queue_.Wake(); }
  std::vector<PartitionProgress> progress() const override { return reader_.progress(); }

  absl::Status Run(Handler handler, RunOptions options) override {
    if (foundation_->OnThread()) return OnIoThread("Run()");
    if (options.attempts < 1) return InvalidRequest("Run() with fewer than one attempt handles nothing");
    if (options.on_corrupt == OnCorrupt::kSkip && options_.on_gap == OnGap::kError) {
      return InvalidRequest("Run() that skips damaged batches needs on.gap=report");
    }
    return HandlerRun(*this, env_.clock, options_.client, std::move(handler), std::move(options)).Run();
  }

  absl::Status Commit() override { return Store(PositionsNow()); }

  absl::Status Commit(std::span<const CommittedOffset> offsets) override {
    std::vector<control::OffsetToStore> commits;
    for (const CommittedOffset& each : offsets) {
      commits.push_back({.topic = each.topic,
                         .partition = each.partition,
                         .epoch = group_ == nullptr ? 0 : group_->EpochOf({each.topic, each.partition}),
                         .offset = each.offset,
                         .leader_epoch = each.leader_epoch,
                         .metadata = each.metadata});
    }
    return Store(std::move(commits));
  }

  void CommitAsync(std::function<void(const absl::Status&)> done) override {
    if (!done) done = [](const absl::Status&) {};
    std::vector<control::OffsetToStore> offsets = PositionsNow();
    if (group_ != nullptr) group_->NoteStored(offsets);
    env_.executor.Post([this, offsets = std::move(offsets), done = std::move(done)]() mutable {
      StoreOnThread(std::move(offsets), std::move(done));
    });
  }

  absl::StatusOr<std::vector<CommittedOffset>> Committed(std::span<const TopicPartition> partitions) override {
    if (foundation_->OnThread()) return OnIoThread("Committed()");
    if (options_.group_id.empty()) return NoGroup("Committed()");
    const auto request =
        control::FetchOffsetsRequest(options_.group_id, std::vector(partitions.begin(), partitions.end()));
    absl::StatusOr<absl::Cord> reply =
        foundation_->thread().Await<absl::StatusOr<absl::Cord>>([&](ControlClient::Done done) {
          control_->Call(control::kFetchOffsets, request, {.timeout = options_.client.request_timeout},
                         std::move(done));
        });
    if (!reply.ok()) return reply.status();
    return control::ParseFetchOffsets(*reply);
  }

  absl::Status Close() override {
    if (foundation_->OnThread()) return OnIoThread("Close()");
    const absl::Status status = LeaveGroup();
    foundation_->thread().RunAndWait([&] { core_->Start({}, {}); });
    reader_.Assign({}, {}, 0);
    return status;
  }

  std::optional<Trouble> trouble() const override {
    if (foundation_->OnThread()) return TroubleOnThread();
    std::optional<Trouble> trouble;
    foundation_->thread().RunAndWait([&] { trouble = TroubleOnThread(); });
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
  static absl::Status NoGroup(std::string call) {
    return InvalidRequest(call + " needs the name of a group; set group.id");
  }
  static absl::Status Woken() {
    return ToStatus({.code = ErrorCode::kCancelled, .message = "Wakeup() was called", .retriable = true});
  }

  absl::StatusOr<PollResult> Await(milliseconds timeout) {
    if (queue_.TakeWake()) return Woken();
    const SteadyTime now = std::chrono::steady_clock::now();
    const SteadyTime deadline = timeout > std::chrono::hours(24 * 365) ? SteadyTime::max() : now + timeout;
    for (;;) {
      if (group_ != nullptr) {
        if (absl::Status status = group_->Step(); !status.ok()) return status;
      }
      if (group_ == nullptr || group_->MayDeliver()) {
        if (std::optional<absl::StatusOr<PollResult>> result = reader_.Next()) return *std::move(result);
      }
      if (std::chrono::steady_clock::now() >= deadline) return PollResult{};
      if (queue_.Wait(WaitUntil(deadline))) return Woken();
    }
  }

  // A member has to commit now and then, though nothing comes.
  SteadyTime WaitUntil(SteadyTime deadline) const {
    if (group_ == nullptr || !options_.auto_commit) return deadline;
    return std::min(deadline, std::chrono::steady_clock::now() + options_.auto_commit_interval);
  }

  std::vector<control::OffsetToStore> PositionsNow() const {
    if (group_ != nullptr) return group_->Positions(iterated_);
    std::vector<control::OffsetToStore> offsets;
    for (const PartitionProgress& each : reader_.progress()) {
      if (each.position < 0) continue;
      const bool stands_here =
          iterated_ != nullptr && iterated_->topic == each.topic && iterated_->partition == each.partition;
      offsets.push_back({.topic = each.topic,
                         .partition = each.partition,
                         .offset = stands_here ? iterated_->offset + 1 : each.position});
    }
    return offsets;
  }

  absl::Status Store(std::vector<control::OffsetToStore> offsets) {
    if (foundation_->OnThread()) return OnIoThread("Commit()");
    if (options_.group_id.empty()) return NoGroup("Commit()");
    if (offsets.empty()) return absl::OkStatus();
    absl::Status stored = foundation_->thread().Await<absl::Status>(
        [&](const std::function<void(absl::Status)>& done) { StoreOnThread(offsets, done); });
    if (stored.ok() && group_ != nullptr) group_->NoteStored(offsets);
    return stored;
  }

  void StoreOnThread(std::vector<control::OffsetToStore> offsets, std::function<void(absl::Status)> done) {
    if (offsets.empty()) return done(absl::OkStatus());
    if (session_ != nullptr) return session_->Commit(std::move(offsets), std::move(done));
    control_->Call(control::kCommitOffsets, control::CommitOffsetsRequest(options_.group_id, offsets),
                   {.timeout = options_.client.request_timeout},
                   [done = std::move(done)](const absl::StatusOr<absl::Cord>& reply) {
                     if (!reply.ok()) return done(reply.status());
                     const auto errors = control::ParseCommitOffsets(*reply);
                     if (!errors.ok()) return done(errors.status());
                     for (const ErrorFrame& error : *errors) {
                       if (!error.ok()) return done(ToStatus(FromFrame(error)));
                     }
                     done(absl::OkStatus());
                   });
  }

  // A consumer that has a group and no membership goes on where the group has come.
  absl::Status BeginWhereCommitted(std::vector<Assignment>& assignments) {
    if (options_.group_id.empty()) return absl::OkStatus();
    const auto is_open = [](const Assignment& each) { return !each.from && each.partition; };
    if (std::none_of(assignments.begin(), assignments.end(), is_open)) return absl::OkStatus();
    std::vector<TopicPartition> partitions;
    for (const Assignment& each : assignments) {
      if (is_open(each)) partitions.push_back({each.topic, *each.partition});
    }
    const absl::StatusOr<std::vector<CommittedOffset>> committed = Committed(partitions);
    if (!committed.ok()) return committed.status();
    auto next = committed->begin();
    for (Assignment& each : assignments) {
      if (!is_open(each) || next == committed->end()) continue;
      if (next->offset >= 0) each.from = Position::Offset(next->offset);
      ++next;
    }
    return absl::OkStatus();
  }

  // What was handled is committed first.
  absl::Status LeaveGroup() {
    if (session_ == nullptr) return absl::OkStatus();
    absl::Status status;
    if (options_.auto_commit && group_->MayDeliver()) status = Store(group_->Handled(iterated_));
    foundation_->thread().Await<bool>(
        [&](const std::function<void(bool)>& left) { session_->Leave([left] { left(true); }); });
    foundation_->thread().RunAndWait([&] { session_.reset(); });
    group_.reset();
    return status;
  }

  std::optional<Trouble> TroubleOnThread() const {
    if (session_ != nullptr && session_->trouble()) return session_->trouble();
    return core_->trouble();
  }

  void Reposition(const std::shared_ptr<FetchPartition>& partition, uint64_t generation, Position position) override {
    env_.executor.Post([=, this] { core_->Reposition(partition, generation, position); });
  }
  void Halt(const std::shared_ptr<FetchPartition>& partition, uint64_t generation) override {
    env_.executor.Post([=, this] { core_->Halt(partition, generation); });
  }
  void Add(const std::shared_ptr<FetchPartition>& partition, uint64_t generation, Position position) override {
    env_.executor.Post([=, this] { core_->Add(partition, generation, position); });
  }
  void Remove(const std::shared_ptr<FetchPartition>& partition, uint64_t generation) override {
    env_.executor.Post([=, this] { core_->Remove(partition, generation); });
  }
  void GrantCredit() override {
    env_.executor.Post([this] { core_->GrantCredit(); });
  }

  const ConsumerOptions options_;
  const std::vector<std::string> addresses_;
  std::unique_ptr<Foundation> foundation_;
  const ClientEnvironment env_;
  FetchQueue queue_;
  ConsumerReader reader_;
  std::unique_ptr<ConsumerCore> core_;
  std::unique_ptr<ControlClient> control_;
  std::unique_ptr<GroupConsumer> group_;   // of who has subscribed
  std::unique_ptr<GroupSession> session_;  // likewise; used on the executor
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
    consumer_->iterated_ = next_;
    return;
  }
}

}  // namespace millrace
