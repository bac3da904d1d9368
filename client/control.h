// The unary calls of proto/millrace/v1: requests to bytes and replies from bytes, between the library's own types and
// generated code, which nothing else in client/ sees but group_control.h.
//
// Parsing fails with kInternal when a reply is no such message.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "millrace/admin.h"
#include "proto/wire/frames.h"

namespace millrace::client::control {

inline constexpr char kProduce[] = "/millrace.v1.Broker/Produce";
inline constexpr char kFetch[] = "/millrace.v1.Broker/Fetch";
inline constexpr char kRead[] = "/millrace.v1.Broker/Read";
inline constexpr char kListOffsets[] = "/millrace.v1.Broker/ListOffsets";
inline constexpr char kInitProducer[] = "/millrace.v1.Broker/InitProducer";
inline constexpr char kCreateTopic[] = "/millrace.v1.Admin/CreateTopic";
inline constexpr char kDeleteTopic[] = "/millrace.v1.Admin/DeleteTopic";
inline constexpr char kListTopics[] = "/millrace.v1.Admin/ListTopics";
inline constexpr char kDescribeTopic[] = "/millrace.v1.Admin/DescribeTopic";
inline constexpr char kAlterTopic[] = "/millrace.v1.Admin/AlterTopic";
inline constexpr char kAddPartitions[] = "/millrace.v1.Admin/AddPartitions";
inline constexpr char kTrimPartition[] = "/millrace.v1.Admin/TrimPartition";
inline constexpr char kGetMetadata[] = "/millrace.v1.Admin/GetMetadata";
inline constexpr char kDescribeCluster[] = "/millrace.v1.Admin/DescribeCluster";

// Topics that the broker does not know are in `missing` instead of in metadata.topics.
struct MetadataReply {
  struct Missing {
    std::string topic;
    ErrorFrame error;
  };
  ClusterMetadata metadata;
  std::vector<Missing> missing;
};
absl::Cord GetMetadataRequest(const std::vector<std::string>& topics);
absl::StatusOr<MetadataReply> ParseMetadata(const absl::Cord& reply);

struct ProducerIdentity {
  int64_t id = 0;
  int32_t epoch = 0;
  bool operator==(const ProducerIdentity&) const = default;
};
// Of a producer with a name.
struct ProducerName {
  std::string name;
  uint64_t session = 0;
  ProducerIdentity latest = {};  // what it has, if it needs another
};
absl::Cord InitProducerRequest(const std::optional<ProducerName>& name);
absl::StatusOr<ProducerIdentity> ParseInitProducer(const absl::Cord& reply);

// What a broker can answer by itself: kBeginning, kEnd or kTime.
struct BrokerOffsetQuery {
  std::string topic;
  int32_t partition = 0;
  Position at = Position::End();
};
struct BrokerOffsetAnswer {
  ErrorFrame error;
  int64_t offset = 0;
  int32_t leader_epoch = 0;
  int64_t log_start_offset = 0;
  int64_t high_watermark = 0;
};
absl::Cord ListOffsetsRequest(const std::vector<BrokerOffsetQuery>& queries);
absl::StatusOr<std::vector<BrokerOffsetAnswer>> ParseListOffsets(const absl::Cord& reply);

// Offsets and times of plain records, in order.
struct ReadAnswer {
  struct Record {
    int64_t offset = 0;
    int64_t timestamp = 0;
  };
  std::vector<Record> records;
  int64_t next_offset = 0;
  int64_t high_watermark = 0;
};
absl::Cord ReadRequest(const std::string& topic, int32_t partition, int64_t offset);
absl::StatusOr<ReadAnswer> ParseRead(const absl::Cord& reply);

absl::Cord CreateTopicRequest(const NewTopic& topic);
absl::StatusOr<CreatedTopic> ParseCreateTopic(const absl::Cord& reply);
absl::Cord DeleteTopicRequest(std::string_view name);
absl::Cord ListTopicsRequest(Admin::InternalTopics internal);
absl::StatusOr<std::vector<TopicSummary>> ParseListTopics(const absl::Cord& reply);
absl::Cord DescribeTopicRequest(std::string_view name);
absl::StatusOr<TopicDescription> ParseDescribeTopic(const absl::Cord& reply);
absl::Cord AlterTopicRequest(std::string_view name, const std::map<std::string, std::string>& set,
                             const std::vector<std::string>& unset);
absl::Cord AddPartitionsRequest(std::string_view name, int32_t partitions);
absl::Cord TrimPartitionRequest(const TopicPartition& partition, std::optional<int64_t> before);
absl::StatusOr<int64_t> ParseTrimPartition(const absl::Cord& reply);
absl::Cord DescribeClusterRequest();
absl::StatusOr<ClusterDescription> ParseDescribeCluster(const absl::Cord& reply);

}  // namespace millrace::client::control
