#include "client/group_session.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "client/connect_timeouts.h"
#include "client/status.h"
#include "proto/wire/partitioner.h"

namespace millrace::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr int64_t kPolling = std::numeric_limits<int64_t>::max();
// A coordinator that does not answer a member that leaves finds out by itself.
constexpr milliseconds kLeaveTimeout{1'000};

std::string HostName() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

// Of errors that a member gets over by joining anew.
bool IsFenced(ErrorCode code) { return code == ErrorCode::kUnknownMemberId || code == ErrorCode::kFencedMemberEpoch; }

}  // namespace

GroupSession::GroupSession(const ClientEnvironment& env, const ConsumerOptions& options,
                           std::vector<std::string> bootstrap, Subscription subscription, Owner* owner)
    : env_(env),
      options_(options),
      subscription_(std::move(subscription)),
      owner_(owner),
      control_(env, options.client, std::move(bootstrap)),
      metadata_(env, options.client, control_, [this] { Route(); }),
      backoff_(env.random, options.client.retry_backoff, options.client.retry_backoff_max),
      host_(HostName()),
      member_id_(NewMemberId()),
      away_since_(env.clock.Monotonic().count()) {}

GroupSession::~GroupSession() {
  for (const Executor::TimerId timer : {timer_, rejoin_timer_}) {
    if (timer != 0) env_.executor.Cancel(timer);
  }
  after_commits_.clear();
  while (!commitments_.empty()) {
    FinishCommit(commitments_.begin()->first,
                 ToStatus({.code = ErrorCode::kCancelled,
                           .message = "the consumer was closed before its commit was answered",
                           .may_have_happened = true}));
  }
}

std::string GroupSession::NewMemberId() {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string id;
  for (int word = 0; word < 2; ++word) {
    for (uint64_t bits = env_.random.Next(), digit = 0; digit < 16; ++digit, bits >>= 4) id += kDigits[bits & 15];
  }
  return id;
}

void GroupSession::Start() {
  metadata_.Track(control::kGroupsTopic);
  Route();
}

// ---- The way to the coordinator

void GroupSession::Route() {
  if (ended_) return;
  const TopicMetadata* topic = metadata_.Find(control::kGroupsTopic);
  if (topic == nullptr) {
    const bool missing = std::any_of(metadata_.missing().begin(), metadata_.missing().end(), [](const Error& error) {
      return error.topic == control::kGroupsTopic && error.code == ErrorCode::kUnknownTopicOrPartition;
    });
    if (!missing || std::exchange(making_topic_, true)) return;
    // Whatever is asked of a group makes the topic.
    control_.Call(control::kFetchOffsets, control::FetchOffsetsRequest(options_.group_id, {}),
                  {.timeout = options_.client.request_timeout}, [this](const absl::StatusOr<absl::Cord>& reply) {
                    making_topic_ = false;
                    if (!reply.ok()) trouble_ = NextTrouble(trouble_, ErrorFrom(reply.status()), env_.clock);
                    metadata_.Track(control::kGroupsTopic);
                  });
    return;
  }
  const auto partitions = static_cast<int32_t>(topic->partitions.size());
  const int32_t partition = PartitionForKey(options_.group_id, partitions);
  const std::optional<client::Route> route = metadata_.RouteTo(control::kGroupsTopic, partition);
  if (!route || (stream_ != nullptr && route->address == address_ && route->routing == routing_)) return;
  address_ = route->address;
  routing_ = route->routing;
  if (stream_ != nullptr) stream_->Close();
  old_stream_ = std::move(stream_);
  established_ = false;
  for (auto& [id, commitment] : commitments_) commitment.sent = false;
  beat_sent_ = 0;
  stream_ = std::make_unique<BrokerStream>(
      env_,
      BrokerStream::Target{
          .address = address_,
          .method = control::kJoin,
          .connect_timeout = metadata_.IsAdvertised(address_) ? kAdvertisedConnectTimeout : kConnectTimeout},
      backoff_, static_cast<BrokerStream::Owner*>(this));
  stream_->Open();
}

void GroupSession::OnEstablished() {
  established_ = true;
  for (auto& [id, commitment] : commitments_) commitment.sent = false;
  beat_sent_ = 0;
  Beat();
}

void GroupSession::OnLost(const Error& error) {
  trouble_ = NextTrouble(trouble_, error, env_.clock);
  const bool was_established = std::exchange(established_, false);
  if (!was_established && metadata_.IsAdvertised(address_)) return metadata_.MarkUnreachable(address_);
  metadata_.Refresh();
}

// ---- Out

void GroupSession::Hold(int32_t epoch, std::vector<control::HeldPartition> held) {
  if (epoch > told_epoch_) return;  // of a session that is over
  const bool news = epoch != held_epoch_;
  held_epoch_ = epoch;
  held_ = std::move(held);
  if (news) Beat();
}

void GroupSession::LetGo(int32_t epoch, std::vector<control::HeldPartition> held,
                         std::vector<control::OffsetToStore> commits, std::vector<control::HeldPartition> leaving) {
  if (epoch > told_epoch_) return;
  leaving_.insert(leaving_.end(), leaving.begin(), leaving.end());
  Hold(epoch, std::move(held));
  const auto gone = [this, leaving = std::move(leaving)] {
    std::erase_if(leaving_, [&leaving](const control::HeldPartition& each) {
      return std::find(leaving.begin(), leaving.end(), each) != leaving.end();
    });
    Beat();
  };
  // What was committed of them earlier may still be on its way: let go of, it would be refused.
  const auto gone_then = [this, gone](const absl::Status&) { AfterCommits(gone); };
  commits.empty() ? gone_then(absl::OkStatus()) : Commit(std::move(commits), gone_then);
}

void GroupSession::Commit(std::vector<control::OffsetToStore> offsets, Committed done) {
  const uint64_t id = ++last_id_;
  Commitment& commitment = commitments_[id];
  commitment.offsets = std::move(offsets);
  commitment.done = std::move(done);
  commitment.timer = env_.executor.After(options_.client.request_timeout, [this, id] {
    FinishCommit(id, ToStatus({.code = ErrorCode::kRequestTimedOut,
                               .message = "the coordinator of group " + options_.group_id +
                                          " has not answered a commit within request.timeout.ms",
                               .retriable = true,
                               .may_have_happened = true,
                               .address = address_}));
  });
  Send();
}

void GroupSession::Leave(std::function<void()> done) {
  const bool joins = told_epoch_ == 0 && beat_sent_ != 0;
  if ((told_epoch_ == 0 && !joins) || stream_ == nullptr || !stream_->established()) {
    ended_ = true;
    return done();
  }
  left_ = std::move(done);
  AfterCommits([this] {
    leaves_now_ = true;
    Beat();
  });
  if (timer_ != 0) env_.executor.Cancel(timer_);
  timer_ = env_.executor.After(kLeaveTimeout, [this] {
    timer_ = 0;
    ended_ = true;
    if (const auto left = std::exchange(left_, nullptr)) left();
  });
}

void GroupSession::NotePolling(bool polling) {
  const int64_t before = away_since_.exchange(polling ? kPolling : env_.clock.Monotonic().count());
  if (!polling || before == kPolling) return;
  const milliseconds away = std::chrono::duration_cast<milliseconds>(env_.clock.Monotonic() - nanoseconds(before));
  if (away >= options_.max_poll_interval)
    env_.executor.Post([this] {
      if (std::exchange(idle_, false)) Beat();
    });
}

control::Heartbeat GroupSession::Heartbeat(int32_t epoch) const {
  control::Heartbeat heartbeat{.group = options_.group_id,
                               .member_id = member_id_,
                               .member_epoch = epoch,
                               .instance_id = options_.group_instance_id,
                               .client_id = options_.client.client_id,
                               .rack = options_.client_rack,
                               .host = host_,
                               .session_timeout_ms = options_.session_timeout.count(),
                               .topics = subscription_.topics,
                               .topic_pattern = subscription_.pattern,
                               .assignor = options_.assignor,
                               .held = held_,
                               .routing = routing_};
  heartbeat.held.insert(heartbeat.held.end(), leaving_.begin(), leaving_.end());
  return heartbeat;
}

// At the latest once the stream takes it.
void GroupSession::Beat() {
  beat_due_ = true;
  next_beat_ = env_.clock.Monotonic() + interval_;
  Send();
}

// Commits first: what they are of may be let go by the heartbeat behind them.
void GroupSession::Send() {
  if (ended_ || stream_ == nullptr || !stream_->writable()) return;
  for (auto& [id, commitment] : commitments_) {
    if (std::exchange(commitment.sent, true)) continue;
    return stream_->Write(control::MemberCommit(id, options_.group_id, member_id_, commitment.offsets, routing_));
  }
  if (!beat_due_ || (idle_ && left_ == nullptr) || (JoinIsUnderWay() && !leaves_now_)) return;
  beat_due_ = false;
  beat_sent_ = ++last_id_;
  beat_sent_at_ = env_.clock.Monotonic();
  const bool for_a_while = !options_.group_instance_id.empty();
  const int32_t leaves = for_a_while ? control::kLeavesForAWhile : control::kLeaves;
  const int32_t epoch = leaves_now_ ? leaves : told_epoch_ == 0 ? control::kJoins : std::max(held_epoch_, 1);
  stream_->Write(control::MemberHeartbeat(beat_sent_, Heartbeat(epoch)));
  ArmTimer();
}

// Another one would be a member that begins anew once more, and the answer to the first would be of one that is none any more.
bool GroupSession::JoinIsUnderWay() const {
  return told_epoch_ == 0 && beat_sent_ != 0 && env_.clock.Monotonic() < beat_sent_at_ + options_.session_timeout;
}

void GroupSession::ArmTimer() {
  if (left_ != nullptr) return;
  if (timer_ != 0) env_.executor.Cancel(timer_);
  nanoseconds at = next_beat_;
  if (told_epoch_ != 0) at = std::min(at, valid_until());
  timer_ = env_.executor.After(std::max(at - env_.clock.Monotonic(), nanoseconds(0)), [this] {
    timer_ = 0;
    CheckTime();
  });
}

void GroupSession::CheckTime() {
  const nanoseconds now = env_.clock.Monotonic();
  const int64_t away_since = away_since_.load();
  if (told_epoch_ != 0 && now >= valid_until()) {
    Lose({.code = ErrorCode::kUnknownMemberId,
          .message = "the coordinator of group " + options_.group_id +
                     " has not answered for session.timeout.ms; what was assigned is given up until it does",
          .retriable = true,
          .address = address_});
  } else if (told_epoch_ != 0 && away_since != kPolling &&
             now - nanoseconds(away_since) >= options_.max_poll_interval) {
    idle_ = true;
    if (stream_ != nullptr && stream_->writable()) {
      stream_->Write(control::MemberHeartbeat(++last_id_, Heartbeat(control::kLeaves)));
    }
    Lose({.code = ErrorCode::kUnknownMemberId,
          .message = "the application has not asked for records for max.poll.interval.ms: it left group " +
                     options_.group_id + " so that others go on; poll more often, or raise max.poll.interval.ms",
          .retriable = true});
  }
  if (now >= next_beat_) Beat();
  ArmTimer();
}

// ---- In

void GroupSession::OnMessage(absl::Cord message) {
  absl::StatusOr<control::MemberAnswer> answer = control::ParseMemberAnswer(message);
  if (!answer.ok()) return stream_->Fail(ErrorFrom(answer.status()));
  if (answer->ping != 0 || ended_) return;
  if (commitments_.contains(answer->answers)) return TakeCommitted(answer->answers, *answer);
  const bool answers_beat = answer->answers == beat_sent_ && beat_sent_ != 0;
  if (answer->answers != 0 && !answers_beat) return;  // of a heartbeat that a later one has taken the place of
  if (answers_beat) beat_sent_ = 0;
  if (leaves_now_) {
    if (!answers_beat) return;
    if (!answer->error.ok() && answer->error.retriable) return TakeError(*answer);  // the coordinator moves
    ended_ = true;
    return std::exchange(left_, nullptr)();
  }
  if (!answer->error.ok()) return TakeError(*answer);
  // News of what it was not told to be a member of yet.
  if (!answer->assignment || (told_epoch_ == 0 && !answers_beat)) return;
  trouble_.reset();
  if (answers_beat) {
    valid_until_ = (beat_sent_at_ + options_.session_timeout).count();
    ArmTimer();
  }
  TakeAssignment(*std::move(answer->assignment));
}

void GroupSession::TakeAssignment(control::Assignment assignment) {
  interval_ = std::clamp(milliseconds(assignment.heartbeat_interval_ms), milliseconds(1), options_.session_timeout);
  next_beat_ = std::min(next_beat_, env_.clock.Monotonic() + interval_);
  if (assignment.member_epoch <= told_epoch_ || idle_) return;
  told_epoch_ = assignment.member_epoch;
  ArmTimer();
  owner_->OnAssignment(std::move(assignment));
}

void GroupSession::TakeError(const control::MemberAnswer& answer) {
  const Error error = FromFrame(answer.error);
  trouble_ = NextTrouble(trouble_, error, env_.clock);
  if (IsFenced(error.code)) {
    Lose(error);
    return Beat();
  }
  if (!error.retriable) {
    ended_ = true;
    valid_until_ = 0;
    if (timer_ != 0) env_.executor.Cancel(std::exchange(timer_, 0));
    while (!commitments_.empty()) FinishCommit(commitments_.begin()->first, ToStatus(error));
    return owner_->OnRefused(error);
  }
  if (const TopicMetadata* topic = metadata_.Find(control::kGroupsTopic)) {
    const int32_t partition = PartitionForKey(options_.group_id, static_cast<int32_t>(topic->partitions.size()));
    metadata_.TakeHint(control::kGroupsTopic, partition, answer.error);
  }
  metadata_.Refresh();
  RejoinSoon();
  Route();
}

// Asks again after a pause, here or where the metadata says by then.
void GroupSession::RejoinSoon() {
  if (rejoin_timer_ != 0) return;
  rejoin_timer_ = env_.executor.After(options_.client.retry_backoff, [this] {
    rejoin_timer_ = 0;
    for (auto& [id, commitment] : commitments_) commitment.sent = false;
    Beat();
  });
}

void GroupSession::Lose(const Error& why) {
  if (told_epoch_ == 0) return;
  trouble_ = NextTrouble(trouble_, why, env_.clock);
  told_epoch_ = held_epoch_ = 0;
  beat_sent_ = 0;
  valid_until_ = 0;
  held_.clear();
  leaving_.clear();
  member_id_ = NewMemberId();
  while (!commitments_.empty()) FinishCommit(commitments_.begin()->first, ToStatus(why));
  owner_->OnLost(why);
}

void GroupSession::TakeCommitted(uint64_t id, const control::MemberAnswer& answer) {
  if (!answer.error.ok() && answer.error.retriable) {
    metadata_.Refresh();
    return RejoinSoon();
  }
  absl::Status status = answer.error.ok() ? absl::OkStatus() : ToStatus(FromFrame(answer.error));
  if (answer.committed) status = control::FirstNotStored(*answer.committed);
  FinishCommit(id, std::move(status));
}

void GroupSession::FinishCommit(uint64_t id, absl::Status status) {
  const auto found = commitments_.find(id);
  if (found == commitments_.end()) return;
  const Commitment commitment = std::move(found->second);
  commitments_.erase(found);
  env_.executor.Cancel(commitment.timer);
  commitment.done(std::move(status));
  while (!after_commits_.empty() &&
         (commitments_.empty() || commitments_.begin()->first > after_commits_.front().first)) {
    const auto then = std::move(after_commits_.front().second);
    after_commits_.pop_front();
    then();
  }
}

// Once those that are on their way now are answered, or given up.
void GroupSession::AfterCommits(std::function<void()> then) {
  if (commitments_.empty()) return then();
  after_commits_.emplace_back(commitments_.rbegin()->first, std::move(then));
}

}  // namespace millrace::client
