#include "server/describe_topic.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/errors.h"

namespace millrace::server {
namespace {

using raft::LogIndex;

constexpr std::chrono::seconds kTimeout{2};

// What the partition's executor tells of it. Lags are found in the log, which may have to be read from the disk.
struct LedPartition {
  struct Lag {
    v1::ReplicaDescription* replica;
    LogIndex missing_from;
  };
  v1::PartitionDescription description;
  std::vector<Lag> lags;
};

void AddReplica(const Partition& partition, const raft::LogState& log, const ReplicaReport& from,
                LedPartition& report) {
  v1::ReplicaDescription& out = *report.description.add_replica_lag();
  out.set_broker(static_cast<int32_t>(from.replica.broker.value()));
  out.set_in_sync(from.in_sync);
  if (from.in_sync) report.description.add_in_sync(out.broker());
  if (!from.heard) {
    out.set_lag_records(-1);
    out.set_lag_ms(-1);
  } else if (from.missing_from <= log.last_index) {
    report.lags.push_back({&out, std::max(from.missing_from, log.first_index)});
  } else if (from.replica != partition.self()) {
    // What it lacks, if anything, is so new that it is not stored here either.
    out.set_lag_records(partition.log_end().value() - log.log_end.value());
  }
}

// On the partition's executor; null: it is not led here.
std::shared_ptr<LedPartition> ReportOf(Partition& partition) {
  if (ErrorFrame error; !partition.Readable(&error)) return nullptr;
  auto report = std::make_shared<LedPartition>();
  v1::PartitionDescription& out = report->description;
  out.set_leader(static_cast<int32_t>(partition.self().broker.value()));
  out.set_leader_epoch(static_cast<int32_t>(partition.leader_epoch().value()));
  out.set_log_start_offset(partition.log_start().value());
  out.set_high_watermark(partition.high_watermark().value());
  out.set_log_end_offset(partition.log_end().value());
  out.set_bytes(partition.bytes());
  const raft::LogState log = partition.store().State(partition.group());
  for (const ReplicaReport& replica : partition.Replicas()) AddReplica(partition, log, replica, *report);
  return report;
}

// May block.
void FindLags(raft::LogStore& store, raft::GroupId group, UnixMillis now, LedPartition& report) {
  for (const LedPartition::Lag& lag : report.lags) {
    const absl::StatusOr<raft::EntryHeader> missing = store.HeaderAt(group, lag.missing_from);
    const int64_t records = missing.ok() ? report.description.log_end_offset() - missing->base_offset.value() : -1;
    lag.replica->set_lag_records(records);
    if (records > 0) lag.replica->set_lag_ms(std::max<int64_t>(now - missing->append_time, 0));
    if (records < 0) lag.replica->set_lag_ms(-1);
  }
}

// One call: asks the partitions led here and each other leader once, and answers when the last has told. Lives on the call's
// executor, as long as somebody is asked.
class TopicDescriber : public std::enable_shared_from_this<TopicDescriber> {
 public:
  TopicDescriber(Broker& broker, std::shared_ptr<const TopicInfo> topic, Reply<v1::DescribeTopicResponse> reply,
                 Executor& executor)
      : broker_(broker), topic_(std::move(topic)), reply_(std::move(reply)), executor_(executor) {
    response_.set_name(topic_->name);
    response_.set_topic_id(topic_->topic_id);
    for (const auto& [key, value] : topic_->config->ToMap()) (*response_.mutable_config())[key] = value;
    for (const auto& [key, value] : topic_->overrides) response_.add_overrides(key);
  }

  void Ask(Routing routing) {
    std::map<raft::BrokerId, std::vector<int32_t>> by_leader;
    for (size_t p = 0; p < topic_->partitions.size(); ++p) {
      const PartitionInfo& info = topic_->partitions[p];
      const auto leader = broker_.view().LeaderOf(info.group, info.replicas);
      AddUnled(static_cast<int32_t>(p));
      if (leader) by_leader[leader->broker].push_back(static_cast<int32_t>(p));
    }
    for (const auto& [leader, partitions] : by_leader) {
      if (leader == broker_.options().self.broker) {
        for (int32_t p : partitions) AskHere(p);
      } else if (routing == Routing::kAny) {
        AskThere(leader);
      }
    }
    OneAnswered();  // in case that there was nobody to ask
  }

 private:
  void AddUnled(int32_t number) {
    v1::PartitionDescription& out = *response_.add_partitions();
    out.set_partition(number);
    out.set_leader(-1);
    for (raft::ReplicaId replica : topic_->partitions[static_cast<size_t>(number)].replicas) {
      out.add_replicas(static_cast<int32_t>(replica.broker.value()));
    }
  }

  void AskHere(int32_t number) {
    ErrorFrame gone;
    auto partition = broker_.FindPartition(topic_->name, number, topic_->topic_id, &gone);
    if (partition == nullptr) return;
    ++asked_;
    RunOn(partition->executor(), [self = shared_from_this(), partition, number] {
      partition->WhenSettled([self, partition, number] { self->Report(*partition, number); });
    });
  }

  // On the partition's executor.
  void Report(Partition& partition, int32_t number) {
    const auto report = ReportOf(partition);
    const auto tell = [self = shared_from_this(), report, number] {
      RunOn(self->executor_, [self, report, number] {
        if (report != nullptr) self->Take(number, report->description);
        self->OneAnswered();
      });
    };
    if (report == nullptr || report->lags.empty()) return tell();
    broker_.pool().Submit(
        [&store = broker_.store(), group = partition.group(), now = broker_.clock().Wall(), report, tell] {
          FindLags(store, group, now, *report);
          tell();
        });
  }

  void AskThere(raft::BrokerId leader) {
    ++asked_;
    v1::DescribeTopicRequest request;
    request.set_name(topic_->name);
    broker_.ShardOf(executor_).forward.Call(
        broker_.view().PeerAddressOf(leader), "/millrace.v1.Admin/DescribeTopic", request.SerializeAsString(), kTimeout,
        [self = shared_from_this()](const ErrorFrame& error, const std::string& reply) {
          v1::DescribeTopicResponse theirs;
          const bool same = error.ok() && theirs.ParseFromString(reply) && theirs.topic_id() == self->topic_->topic_id;
          for (int i = 0; same && i < theirs.partitions_size(); ++i) self->Take(i, theirs.partitions(i));
          self->OneAnswered();
        });
  }

  // Of two that both lead, it is the one of the higher epoch.
  void Take(int32_t number, const v1::PartitionDescription& told) {
    if (told.leader() < 0 || number >= response_.partitions_size()) return;
    v1::PartitionDescription& out = *response_.mutable_partitions(number);
    if (told.leader_epoch() < out.leader_epoch()) return;
    const auto replicas = out.replicas();
    out = told;
    out.set_partition(number);
    *out.mutable_replicas() = replicas;
  }

  void OneAnswered() {
    if (--asked_ == 0) reply_.Send(response_);
  }

  Broker& broker_;
  const std::shared_ptr<const TopicInfo> topic_;
  const Reply<v1::DescribeTopicResponse> reply_;
  Executor& executor_;
  v1::DescribeTopicResponse response_;
  int asked_ = 1;
};

}  // namespace

void DescribeTopic(Broker& broker, const v1::DescribeTopicRequest& request, Reply<v1::DescribeTopicResponse> reply,
                   Executor& executor, Routing routing) {
  auto topic = broker.image()->FindTopic(request.name());
  if (topic == nullptr) return reply.Fail(NoTopic(request.name()));
  std::make_shared<TopicDescriber>(broker, std::move(topic), std::move(reply), executor)->Ask(routing);
}

}  // namespace millrace::server
