#include "millrace/consumer.h"

#include <algorithm>
#include <atomic>
#include <map>
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
    if (absl::Status status = MayCall("Assign()"); !status.ok()) return status;
    if (absl::Status status = LeaveGroup(); !status.ok()) return status;
    auto partitions = foundation_->thread().Await<absl::StatusOr<ConsumerCore::Partitions>>(
        [&](ConsumerCore::Resolved done) { core_->Resolve(assignments, std::move(done)); });
    if (!partitions.ok()) return partitions.status();
    const auto committed = CommittedOf(assignments, *partitions);
    if (!committed.ok()) return committed.status();
    iterated_ = nullptr;
    handled_.clear();
    // Both halves change over in one step: nothing comes in between that belongs to neither.
    foundation_->thread().RunAndWait([&] {
      reader_.Assign(assignments, *partitions, env_.clock.Wall(), *committed);
      core_->Start(assignments, *partitions);
    });
    return absl::OkStatus();
  }

  absl::Status Subscribe(Subscription subscription) override {
    if (absl::Status status = MayCall("Subscribe()"); !status.ok()) return status;
    if (options_.group_id.empty()) return NoGroup("Subscribe()");
    if (subscription.topics.empty() && subscription.pattern.empty()) {
      return InvalidRequest("Subscribe() names neither a topic nor a pattern");
    }
    if (absl::Status status = LeaveGroup(); !status.ok()) return status;
    iterated_ = nullptr;
    handled_.clear();
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
    if (absl::Status status = MayCall("Poll()"); !status.ok()) return status;
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
    const bool iterated = IsIterated({&partition, 1});
    absl::Status status = reader_.Seek(partition, position, env_.clock.Wall());
    if (status.ok() && iterated) iterated_ = nullptr;
    return status;
  }
  absl::Status Pause(std::span<const TopicPartition> partitions) override {
    if (!IsIterated(partitions)) return reader_.Pause(partitions);
    // What is behind the record that the iteration stands at comes again.
    const TopicPartition partition{std::string(iterated_->topic), iterated_->partition};
    const int64_t next = iterated_->offset + 1;
    absl::Status status = reader_.Pause(partitions);
    if (status.ok()) {
      reader_.Rewind(partition, next);
      iterated_ = nullptr;
    }
    return status;
  }
  absl::Status Resume(std::span<const TopicPartition> partitions) override { return reader_.Resume(partitions); }
  void Wakeup() override { queue_.Wake(); }
  std::vector<PartitionProgress> progress() const override { return reader_.progress(); }

  absl::Status Run(Handler handler, RunOptions options) override {
    if (absl::Status status = MayCall("Run()"); !status.ok()) return status;
    if (options.attempts < 1) return InvalidRequest("Run() with fewer than one attempt handles nothing");
    if (options.on_corrupt == OnCorrupt::kSkip && options_.on_gap == OnGap::kError) {
      return InvalidRequest("Run() that skips damaged batches needs on.gap=report");
    }
    return HandlerRun(*this, env_.clock, options_.client, std::move(handler), std::move(options),
                      {.stand_at = [this](const ConsumerRecord* record) { iterated_ = record; },
                       .epoch_of =
                           [this](const TopicPartition& partition) {
                             return group_ == nullptr ? 0 : group_->EpochOf(partition);
                           }})
        .Run();
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
    env_.executor.Post([this, group = group_.get(), offsets = std::move(offsets), done = std::move(done)] {
      StoreOnThread(offsets, [group, offsets, done](const absl::Status& status) {
        if (!status.ok() && group != nullptr) group->NoteNotStored(offsets);
        done(status);
      });
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
    if (absl::Status status = MayCall("Close()"); !status.ok()) return status;
    const absl::Status status = LeaveGroup();
    iterated_ = nullptr;
    handled_.clear();
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

  absl::Status MayCall(const std::string& call) const {
    if (foundation_->OnThread()) return OnIoThread(call);
    if (!telling_) return absl::OkStatus();
    return InvalidRequest(call + " must not be called by on_assigned, on_revoked or on_lost");
  }
  bool IsIterated(std::span<const TopicPartition> partitions) const {
    if (iterated_ == nullptr || partitions.empty()) return iterated_ != nullptr;
    return std::ranges::any_of(
        partitions, [this](const TopicPartition& each) { return StandsAt(iterated_, each.topic, each.partition); });
  }

  // What was given before is handled, and there may be news of the group.
  absl::Status Step() {
    if (group_ == nullptr) {
      NoteHandled();
      return absl::OkStatus();
    }
    telling_ = true;
    absl::Status status = group_->Step();
    telling_ = false;
    return status;
  }

  // Of who assigns partitions to itself and commits to a group.
  bool commits_by_itself() const { return group_ == nullptr && options_.auto_commit && !options_.group_id.empty(); }
  void NoteHandled() {
    if (!commits_by_itself()) return;
    handled_.resize(reader_.partitions().size(), {-1, -1});
    for (size_t i = 0; i < handled_.size(); ++i) handled_[i].position = reader_.partitions()[i]->position;
    const auto now = env_.clock.Monotonic();
    if (now - committed_at_ < options_.auto_commit_interval) return;
    committed_at_ = now;
    // What fails comes again with the next.
    env_.executor.Post([this, offsets = TakeHandled()]() mutable {
      StoreOnThread(std::move(offsets), [this](const absl::Status& status) {
        if (!status.ok()) take_all_ = true;
      });
    });
  }
  std::vector<control::OffsetToStore> TakeHandled() {
    std::vector<control::OffsetToStore> offsets;
    const bool all = take_all_.exchange(false);
    for (size_t i = 0; i < handled_.size(); ++i) {
      Handled& handled = handled_[i];
      const FetchPartition& partition = *reader_.partitions()[i];
      if (StandsAt(iterated_, partition.topic, partition.partition)) {
        handled.position = std::max(handled.position, iterated_->offset);
      }
      if (handled.position < 0 || (handled.position == handled.committed && !all)) continue;
      handled.committed = handled.position;
      offsets.push_back({.topic = partition.topic, .partition = partition.partition, .offset = handled.position});
    }
    return offsets;
  }

  absl::StatusOr<PollResult> Await(milliseconds timeout) {
    if (absl::Status status = Step(); !status.ok()) return status;
    if (queue_.TakeWake()) return Woken();
    const SteadyTime now = std::chrono::steady_clock::now();
    const SteadyTime deadline = timeout > std::chrono::hours(24 * 365) ? SteadyTime::max() : now + timeout;
    for (;;) {
      if (group_ == nullptr || group_->MayDeliver()) {
        if (std::optional<absl::StatusOr<PollResult>> result = reader_.Next()) return *std::move(result);
      }
      if (std::chrono::steady_clock::now() >= deadline) return PollResult{};
      if (queue_.Wait(WaitUntil(deadline))) return Woken();
      if (absl::Status status = Step(); !status.ok()) return status;
    }
  }

  // A member has to commit now and then, though nothing comes.
  SteadyTime WaitUntil(SteadyTime deadline) const {
    if (options_.group_id.empty() || !options_.auto_commit) return deadline;
    return std::min(deadline, std::chrono::steady_clock::now() + options_.auto_commit_interval);
  }

  std::vector<control::OffsetToStore> PositionsNow() const {
    if (group_ != nullptr) return group_->Positions(iterated_);
    std::vector<control::OffsetToStore> offsets;
    for (const PartitionProgress& each : reader_.progress()) {
      if (each.position < 0) continue;
      const bool stands_here = StandsAt(iterated_, each.topic, each.partition);
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
                     done(errors.ok() ? control::FirstNotStored(*errors) : errors.status());
                   });
  }

  // A consumer that has a group and no membership goes on where the group has come.
  absl::StatusOr<std::map<TopicPartition, int64_t>> CommittedOf(const std::vector<Assignment>& assignments,
                                                                const ConsumerCore::Partitions& partitions) {
    std::map<TopicPartition, int64_t> committed;
    if (options_.group_id.empty()) return committed;
    std::vector<TopicPartition> open;
    for (const auto& partition : partitions) {
      if (!assignments[partition->assignment].from) open.push_back({partition->topic, partition->partition});
    }
    if (open.empty()) return committed;
    const absl::StatusOr<std::vector<CommittedOffset>> offsets = Committed(open);
    if (!offsets.ok()) return offsets.status();
    for (const CommittedOffset& each : *offsets) {
      if (each.offset >= 0) committed[{each.topic, each.partition}] = each.offset;
    }
    return committed;
  }

  // What was handled is committed first.
  absl::Status LeaveGroup() {
    if (session_ == nullptr) return commits_by_itself() ? Store(TakeHandled()) : absl::OkStatus();
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
  bool telling_ = false;                   // the application, of what becomes of its partitions

  struct Handled {
    int64_t position;
    int64_t committed;  // or on its way
  };
  std::vector<Handled> handled_;       // of reader_.partitions(), of who commits by itself
  std::atomic<bool> take_all_{false};  // of handled_: what was on its way was not stored
  std::chrono::nanoseconds committed_at_{0};
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

// What an iteration before this one has left of a poll comes first.
Consumer::Iterator::Iterator(Consumer* consumer) : consumer_(consumer) {
  const ConsumerRecord* const stands_at = consumer->iterated_;
  if (stands_at == nullptr || stands_at + 1 == consumer->iterated_end_) {
    Refill();
  } else {
    next_ = consumer->iterated_ = stands_at + 1;
    last_ = consumer->iterated_end_;
  }
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
    consumer_->iterated_end_ = last_;
    return;
  }
}

}  // namespace millrace
