#include "client/metadata_cache.h"

#include <vector>

#include "client/status.h"

namespace millrace::client {
namespace {

using std::chrono::nanoseconds;

// Two questions are at least so far apart, however many partitions complain.
constexpr std::chrono::milliseconds kPaceMin(20);
constexpr std::chrono::seconds kUnreachableFor(10);
// Brokers answer from memory: one that takes longer stands still.
constexpr std::chrono::seconds kAttemptLimit(1);

}  // namespace

MetadataCache::MetadataCache(const ClientEnvironment& env, const ClientOptions& options, ControlClient& control,
                             std::function<void()> changed)
    : env_(env),
      options_(options),
      control_(control),
      changed_(std::move(changed)),
      bootstrap_("," + options.bootstrap_servers + ","),
      backoff_(env.random, options.retry_backoff, options.retry_backoff_max) {}

MetadataCache::~MetadataCache() {
  if (timer_ != 0) env_.executor.Cancel(timer_);
}

void MetadataCache::Track(const std::string& topic) {
  std::erase_if(missing_, [&](const Error& error) { return error.topic == topic; });
  if (!tracked_.insert(topic).second && topics_.contains(topic)) return;
  if (asking_) {
    ask_again_ = true;
  } else {
    Ask();
  }
}

void MetadataCache::Refresh() {
  if (asking_) {
    ask_again_ = true;
    return;
  }
  ScheduleAsk(std::max<nanoseconds>(asked_at_ + kPaceMin - env_.clock.Monotonic(), nanoseconds(0)));
}

void MetadataCache::RefreshElsewhere(const std::string& address) {
  control_.Avoid(address);
  Refresh();
}

void MetadataCache::ScheduleAsk(nanoseconds delay) {
  const nanoseconds at = env_.clock.Monotonic() + delay;
  if (timer_ != 0 && timer_at_ <= at) return;
  if (timer_ != 0) env_.executor.Cancel(timer_);
  timer_at_ = at;
  timer_ = env_.executor.After(delay, [this] {
    timer_ = 0;
    Ask();
  });
}

void MetadataCache::Ask() {
  if (asking_ || tracked_.empty()) return;
  asking_ = true;
  ask_again_ = false;
  asked_at_ = env_.clock.Monotonic();
  control_.Call(control::kGetMetadata, control::GetMetadataRequest({tracked_.begin(), tracked_.end()}),
                {.timeout = options_.request_timeout, .repeat = Repeat::kSafe, .attempt_limit = kAttemptLimit},
                [this](absl::StatusOr<absl::Cord> reply) { OnAnswer(std::move(reply)); });
}

void MetadataCache::OnAnswer(absl::StatusOr<absl::Cord> reply) {
  asking_ = false;
  absl::StatusOr<control::MetadataReply> metadata =
      reply.ok() ? control::ParseMetadata(*reply) : absl::StatusOr<control::MetadataReply>(reply.status());
  if (!metadata.ok()) {
    last_error_ = ErrorFrom(metadata.status());
    ScheduleAsk(backoff_.Next());
  } else {
    last_error_.reset();
    backoff_.Reset();
    Take(*std::move(metadata));
    if (ask_again_) {
      Refresh();
    } else {
      ScheduleAsk(options_.metadata_max_age);
    }
  }
  changed_();
}

void MetadataCache::Take(control::MetadataReply reply) {
  brokers_.clear();
  std::vector<std::string> addresses;
  for (BrokerAddress& broker : reply.metadata.brokers) {
    addresses.push_back(broker.address);
    brokers_[broker.broker_id] = std::move(broker.address);
  }
  // The only broker is the one that answered: the address given for it stays in use, whatever it advertises.
  if (brokers_.size() > 1) control_.SetAdvertised(addresses);

  topics_.clear();
  missing_.clear();
  bool leaderless = false;
  for (TopicMetadata& topic : reply.metadata.topics) {
    for (const TopicMetadata::Partition& partition : topic.partitions) leaderless |= partition.leader < 0;
    topics_[topic.name] = std::move(topic);
  }
  for (control::MetadataReply::Missing& missing : reply.missing) {
    Error error = FromFrame(missing.error);
    error.topic = missing.topic;
    missing_.push_back(std::move(error));
    tracked_.erase(missing.topic);
  }
  if (leaderless) ScheduleAsk(backoff_.Next());
}

const TopicMetadata* MetadataCache::Find(const std::string& topic) const {
  auto it = topics_.find(topic);
  return it == topics_.end() ? nullptr : &it->second;
}

const std::string* MetadataCache::AddressOf(int32_t broker_id) const {
  auto it = brokers_.find(broker_id);
  return it == brokers_.end() ? nullptr : &it->second;
}

bool MetadataCache::IsAdvertised(const std::string& address) const {
  return bootstrap_.find("," + address + ",") == std::string::npos;
}

std::optional<Route> MetadataCache::RouteTo(const std::string& topic, int32_t partition) const {
  const TopicMetadata* metadata = Find(topic);
  if (metadata == nullptr || partition >= static_cast<int32_t>(metadata->partitions.size())) return std::nullopt;
  const TopicMetadata::Partition& p = metadata->partitions[static_cast<size_t>(partition)];
  if (p.leader < 0) return std::nullopt;
  Route route{.address = control_.address(), .routing = Routing::kLeaderOnly, .topic_id = metadata->topic_id};
  if (brokers_.size() <= 1) return route;

  const std::string* address = AddressOf(p.leader);
  auto unreachable = address == nullptr ? unreachable_until_.end() : unreachable_until_.find(*address);
  if (address == nullptr || (unreachable != unreachable_until_.end() && unreachable->second > env_.clock.Monotonic())) {
    route.routing = Routing::kAny;
  } else {
    route.address = *address;
  }
  return route;
}

void MetadataCache::TakeHint(const std::string& topic, int32_t partition, const ErrorFrame& error) {
  auto it = topics_.find(topic);
  if (!error.leader || error.leader->broker_id < 0 || it == topics_.end() ||
      partition >= static_cast<int32_t>(it->second.partitions.size())) {
    return;
  }
  TopicMetadata::Partition& p = it->second.partitions[static_cast<size_t>(partition)];
  const LeaderHintFrame& leader = *error.leader;
  if (leader.leader_epoch < p.leader_epoch) return;
  p.leader = leader.broker_id;
  p.leader_epoch = leader.leader_epoch;
  if (!leader.address.empty()) brokers_[leader.broker_id] = leader.address;
}

void MetadataCache::MarkUnreachable(const std::string& address) {
  unreachable_until_[address] = env_.clock.Monotonic() + kUnreachableFor;
  Refresh();
}

}  // namespace millrace::client
