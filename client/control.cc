#include "client/control.h"

#include <string>
#include <utility>

#include "client/proto_bytes.h"
#include "client/status.h"
#include "millrace/v1/admin.pb.h"
#include "millrace/v1/broker.pb.h"
#include "millrace/v1/error.pb.h"

namespace millrace::client::control {
namespace {

// Replies are read whole, however large: only the first record of a batch is looked for, but it may be a large one.
constexpr int64_t kReadReplyBytesMax = int64_t{80} << 20;

template <typename To, typename From>
std::vector<To> Copy(const From& from) {
  return std::vector<To>(from.begin(), from.end());
}

PartitionDescription PartitionOf(const v1::PartitionDescription& from) {
  PartitionDescription partition{.partition = from.partition(),
                                 .leader = from.leader(),
                                 .replicas = Copy<int32_t>(from.replicas()),
                                 .in_sync = Copy<int32_t>(from.in_sync()),
                                 .leader_epoch = from.leader_epoch(),
                                 .log_start_offset = from.log_start_offset(),
                                 .high_watermark = from.high_watermark(),
                                 .log_end_offset = from.log_end_offset(),
                                 .bytes = from.bytes(),
                                 .replica_lag = {}};
  for (const v1::ReplicaDescription& replica : from.replica_lag()) {
    partition.replica_lag.push_back({.broker = replica.broker(),
                                     .in_sync = replica.in_sync(),
                                     .lag_records = replica.lag_records(),
                                     .lag_ms = replica.lag_ms()});
  }
  return partition;
}

TopicMetadata TopicOf(const v1::TopicMetadata& from) {
  TopicMetadata topic;
  topic.name = from.name();
  topic.topic_id = from.topic_id();
  topic.partitioner = from.partitioner();
  topic.max_message_bytes = from.max_message_bytes();
  for (const v1::PartitionMetadata& p : from.partitions()) {
    topic.partitions.push_back({.partition = p.partition(),
                                .leader = p.leader(),
                                .leader_epoch = p.leader_epoch(),
                                .replicas = Copy<int32_t>(p.replicas())});
  }
  return topic;
}

}  // namespace

absl::Cord GetMetadataRequest(const std::vector<std::string>& topics) {
  v1::GetMetadataRequest request;
  for (const std::string& topic : topics) request.add_topics(topic);
  return Bytes(request);
}

absl::StatusOr<MetadataReply> ParseMetadata(const absl::Cord& bytes) {
  auto message = Parse<v1::GetMetadataResponse>(bytes);
  if (!message.ok()) return message.status();
  MetadataReply reply;
  reply.metadata.cluster_id = message->cluster_id();
  reply.metadata.controller = message->controller();
  for (const v1::BrokerInfo& broker : message->brokers()) {
    reply.metadata.brokers.push_back(
        {.broker_id = broker.broker_id(), .address = broker.address(), .rack = broker.rack()});
  }
  for (const v1::TopicMetadata& topic : message->topics()) {
    if (topic.has_error() && topic.error().code() != v1::Error::NONE) {
      reply.missing.push_back({.topic = topic.name(), .error = FrameOf(topic.error())});
    } else {
      reply.metadata.topics.push_back(TopicOf(topic));
    }
  }
  return reply;
}

absl::Cord InitProducerRequest(const std::optional<ProducerName>& name) {
  v1::InitProducerRequest request;
  if (name) {
    request.set_name(name->name);
    request.set_session(name->session);
    request.set_producer_id(name->latest.id);
    request.set_producer_epoch(name->latest.epoch);
  }
  return Bytes(request);
}

absl::StatusOr<ProducerIdentity> ParseInitProducer(const absl::Cord& reply) {
  auto message = Parse<v1::InitProducerResponse>(reply);
  if (!message.ok()) return message.status();
  return ProducerIdentity{.id = message->producer_id(), .epoch = message->producer_epoch()};
}

absl::Cord ListOffsetsRequest(const std::vector<BrokerOffsetQuery>& queries) {
  v1::ListOffsetsRequest request;
  for (const BrokerOffsetQuery& query : queries) {
    v1::OffsetQuery& to = *request.add_queries();
    to.set_topic(query.topic);
    to.set_partition(query.partition);
    if (query.at.kind() == Position::Kind::kTime) {
      to.set_timestamp(query.at.value());
    } else {
      to.set_spec(query.at.kind() == Position::Kind::kBeginning ? v1::OFFSET_SPEC_EARLIEST : v1::OFFSET_SPEC_LATEST);
    }
  }
  return Bytes(request);
}

absl::StatusOr<std::vector<BrokerOffsetAnswer>> ParseListOffsets(const absl::Cord& reply) {
  auto message = Parse<v1::ListOffsetsResponse>(reply);
  if (!message.ok()) return message.status();
  std::vector<BrokerOffsetAnswer> answers;
  for (const v1::OffsetResult& result : message->results()) {
    answers.push_back({.error = FrameOf(result.error()),
                       .offset = result.offset(),
                       .leader_epoch = result.leader_epoch(),
                       .log_start_offset = result.log_start_offset(),
                       .high_watermark = result.high_watermark()});
  }
  return answers;
}

absl::Cord ReadRequest(const std::string& topic, int32_t partition, int64_t offset) {
  v1::ReadRequest request;
  request.set_topic(topic);
  request.set_partition(partition);
  request.set_offset(offset);
  request.set_max_reply_bytes(kReadReplyBytesMax);
  return Bytes(request);
}

absl::StatusOr<ReadAnswer> ParseRead(const absl::Cord& reply) {
  auto message = Parse<v1::ReadResponse>(reply);
  if (!message.ok()) return message.status();
  ReadAnswer answer{.records = {}, .next_offset = message->next_offset(), .high_watermark = message->high_watermark()};
  for (const v1::PlainRecord& record : message->records()) {
    answer.records.push_back({.offset = record.offset(), .timestamp = record.timestamp()});
  }
  return answer;
}

absl::Cord CreateTopicRequest(const NewTopic& topic) {
  v1::CreateTopicRequest request;
  request.set_name(topic.name);
  request.set_partitions(topic.partitions);
  request.set_replication_factor(topic.replication_factor);
  request.set_if_not_exists(topic.if_not_exists);
  for (const auto& [name, value] : topic.config) (*request.mutable_config())[name] = value;
  return Bytes(request);
}

absl::StatusOr<CreatedTopic> ParseCreateTopic(const absl::Cord& reply) {
  auto message = Parse<v1::CreateTopicResponse>(reply);
  if (!message.ok()) return message.status();
  return CreatedTopic{.topic_id = message->topic_id(),
                      .partitions = message->partitions(),
                      .replication_factor = message->replication_factor(),
                      .created = message->created()};
}

absl::Cord DeleteTopicRequest(std::string_view name) {
  v1::DeleteTopicRequest request;
  request.set_name(std::string(name));
  return Bytes(request);
}

absl::Cord ListTopicsRequest(Admin::InternalTopics internal) {
  v1::ListTopicsRequest request;
  request.set_include_internal(internal == Admin::InternalTopics::kInclude);
  return Bytes(request);
}

absl::StatusOr<std::vector<TopicSummary>> ParseListTopics(const absl::Cord& reply) {
  auto message = Parse<v1::ListTopicsResponse>(reply);
  if (!message.ok()) return message.status();
  std::vector<TopicSummary> topics;
  for (const v1::TopicSummary& topic : message->topics()) {
    topics.push_back({.name = topic.name(),
                      .topic_id = topic.topic_id(),
                      .partitions = topic.partitions(),
                      .replication_factor = topic.replication_factor()});
  }
  return topics;
}

absl::Cord DescribeTopicRequest(std::string_view name) {
  v1::DescribeTopicRequest request;
  request.set_name(std::string(name));
  return Bytes(request);
}

absl::StatusOr<TopicDescription> ParseDescribeTopic(const absl::Cord& reply) {
  auto message = Parse<v1::DescribeTopicResponse>(reply);
  if (!message.ok()) return message.status();
  TopicDescription topic;
  topic.name = message->name();
  topic.topic_id = message->topic_id();
  for (const v1::PartitionDescription& p : message->partitions()) topic.partitions.push_back(PartitionOf(p));
  topic.config = {message->config().begin(), message->config().end()};
  topic.overrides = Copy<std::string>(message->overrides());
  return topic;
}

absl::Cord AlterTopicRequest(std::string_view name, const std::map<std::string, std::string>& set,
                             const std::vector<std::string>& unset) {
  v1::AlterTopicRequest request;
  request.set_name(std::string(name));
  for (const auto& [setting, value] : set) (*request.mutable_set())[setting] = value;
  for (const std::string& setting : unset) request.add_unset(setting);
  return Bytes(request);
}

absl::Cord AddPartitionsRequest(std::string_view name, int32_t partitions) {
  v1::AddPartitionsRequest request;
  request.set_name(std::string(name));
  request.set_partitions(partitions);
  return Bytes(request);
}

absl::Cord TrimPartitionRequest(const TopicPartition& partition, std::optional<int64_t> before) {
  v1::TrimPartitionRequest request;
  request.set_name(partition.topic);
  request.set_partition(partition.partition);
  request.set_before(before.value_or(-1));
  return Bytes(request);
}

absl::StatusOr<int64_t> ParseTrimPartition(const absl::Cord& reply) {
  auto message = Parse<v1::TrimPartitionResponse>(reply);
  if (!message.ok()) return message.status();
  return message->log_start_offset();
}

absl::Cord DescribeClusterRequest() { return Bytes(v1::DescribeClusterRequest()); }

absl::StatusOr<ClusterDescription> ParseDescribeCluster(const absl::Cord& reply) {
  auto message = Parse<v1::DescribeClusterResponse>(reply);
  if (!message.ok()) return message.status();
  ClusterDescription cluster;
  cluster.cluster_id = message->cluster_id();
  cluster.controller = message->controller();
  cluster.under_replicated = message->under_replicated();
  cluster.leaderless = message->leaderless();
  for (const v1::BrokerStatus& broker : message->brokers()) {
    cluster.brokers.push_back({.broker_id = broker.broker_id(),
                               .address = broker.address(),
                               .rack = broker.rack(),
                               .alive = broker.alive(),
                               .version = broker.version(),
                               .partitions = broker.partitions(),
                               .leaders = broker.leaders(),
                               .disk_free_bytes = broker.disk_free_bytes(),
                               .disk_total_bytes = broker.disk_total_bytes(),
                               .start_time = broker.start_time(),
                               .disk_full = broker.disk_full()});
  }
  return cluster;
}

}  // namespace millrace::client::control
