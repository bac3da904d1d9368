// Topics and the cluster.
//
//     auto admin = millrace::Admin::Create({});  // 127.0.0.1:9470
//     if (!admin.ok()) return admin.status();
//     auto created = (*admin)->CreateTopic({.name = "orders", .partitions = 16, .if_not_exists = true});
//     if (!created.ok()) return created.status();
//     std::cout << created->replication_factor << "\n";
//
// Thread safety: all methods may be called by any number of threads at once.
// Every call waits for its answer, at most request.timeout.ms, trying one bootstrap address after the other; while none
// can be connected it goes on until connect.timeout.ms, so that a restart of the broker is not noticed. What changes
// something is durable when it returns OK.
// Errors (error.h): as listed at each call; besides kNetworkException (no broker can be reached; nothing happened), and
// what is left after retrying until request.timeout.ms: kRequestTimedOut, kLeaderNotAvailable (no controller or leader, or
// it did not answer), kNotLeaderOrFollower (it moves), kNotEnoughReplicas (too few brokers keep up or are alive; nothing
// happened). may_have_happened says whether it may have taken effect: describe before repeating; CreateTopic with
// if_not_exists is safe to repeat, DeleteTopic too, but for its kUnknownTopicOrPartition. Calls from a delivery callback
// of a Producer are kInvalidRequest: they would wait for the thread that they run on.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/consumer.h"
#include "millrace/error.h"
#include "millrace/options.h"

namespace millrace {

struct NewTopic {
  std::string name = {};           // 1 to 249 of [A-Za-z0-9._-], not "." or ".."
  int32_t partitions = 1;          // at most 100,000
  int32_t replication_factor = 0;  // 0: 3, or 1 below three brokers
  // Settings that differ from the defaults, e.g. {"flush", "async"}, {"retention.ms", "1h"}, {"max.message.bytes", "4MiB"}.
  // proto/millrace/v1/admin.proto lists all with units and defaults; TopicDescription::config has all with their values.
  std::map<std::string, std::string> config = {};
  bool if_not_exists = false;  // an existing topic is no error; it is returned as it is
};

struct CreatedTopic {
  uint64_t topic_id = 0;
  int32_t partitions = 0;
  int32_t replication_factor = 0;
  bool created = false;  // false: it was there
};

struct TopicSummary {
  std::string name;
  uint64_t topic_id = 0;
  int32_t partitions = 0;
  int32_t replication_factor = 0;
};

// How far a replica is behind its partition's leader.
struct ReplicaDescription {
  int32_t broker = 0;
  bool in_sync = false;     // see PartitionDescription
  int64_t lag_records = 0;  // up to the leader's log end; -1: it has not told this leader yet
  int64_t lag_ms = 0;       // since the first record that it lacks was appended; -1: not known
};

struct PartitionDescription {
  int32_t partition = 0;
  int32_t leader = -1;            // broker id; -1: none that answers, and nothing below but `replicas` is known
  std::vector<int32_t> replicas;  // broker ids
  std::vector<int32_t> in_sync;   // those that have all that is committed, or are being sent the last of it
  int32_t leader_epoch = 0;
  int64_t log_start_offset = 0;  // of the first record that can be read
  int64_t high_watermark = 0;    // behind the last one
  int64_t log_end_offset = 0;    // behind the last one written, committed or not
  int64_t bytes = 0;             // of stored batches, on one replica
  std::vector<ReplicaDescription> replica_lag;
};

struct TopicDescription {
  std::string name;
  uint64_t topic_id = 0;
  std::vector<PartitionDescription> partitions;  // by number
  std::map<std::string, std::string> config;     // every setting with its value
  std::vector<std::string> overrides;            // names of those set on the topic
};

struct BrokerStatus {
  int32_t broker_id = 0;
  std::string address;  // advertised HOST:PORT
  std::string rack;
  bool alive = false;           // the broker that answered reaches it
  std::string version;          // of the release
  int32_t partitions = 0;       // of which it holds a replica
  int32_t leaders = 0;          // of which it leads
  int64_t disk_free_bytes = 0;  // of the file system with the data directory; all 0 of one that does not answer
  int64_t disk_total_bytes = 0;
  // Milliseconds since 1970. 0 though it is alive: it did not answer in time, and the partitions that it leads are not counted in
  // ClusterDescription::under_replicated.
  int64_t start_time = 0;
  bool disk_full = false;  // up to its disk.free.floor: it refuses records until there is room
};

struct ClusterDescription {
  std::string cluster_id;
  int32_t controller = -1;  // broker id
  std::vector<BrokerStatus> brokers;
  // Partitions with a leader that have fewer replicas caught up than they have; of brokers that did answer.
  int32_t under_replicated = 0;
  int32_t leaderless = 0;  // partitions that can be neither written nor read
};

struct TopicMetadata {
  std::string name;
  uint64_t topic_id = 0;
  int32_t partitioner = 1;        // 1: murmur2 of the key, as Kafka's
  int64_t max_message_bytes = 0;  // the topic's max.message.bytes
  struct Partition {
    int32_t partition = 0;
    int32_t leader = -1;
    int32_t leader_epoch = 0;
    std::vector<int32_t> replicas;
  };
  std::vector<Partition> partitions;  // by number
};

struct BrokerAddress {
  int32_t broker_id = 0;
  std::string address;
  std::string rack;
};

struct ClusterMetadata {
  std::string cluster_id;
  int32_t controller = -1;
  std::vector<BrokerAddress> brokers;
  std::vector<TopicMetadata> topics;
};

struct OffsetQuery {
  std::string topic = {};
  int32_t partition = 0;
  Position at = Position::End();
};

struct OffsetAnswer {
  std::string topic;
  int32_t partition = 0;
  absl::Status status;  // of this partition: kUnknownTopicOrPartition, ...
  // For Time and Ago exactly: the first record at or after the time, the high watermark if none. Where a damaged batch
  // hides which record that is, the batch's own offset: nothing before it is as late.
  int64_t offset = -1;
  int32_t leader_epoch = 0;
  int64_t log_start_offset = 0;
  int64_t high_watermark = 0;
};

struct GroupSummary {
  std::string group;
  std::string state;  // "Empty", "Assigning" or "Stable"
  int32_t members = 0;
  int32_t coordinator = -1;  // broker id
};

struct GroupList {
  std::vector<GroupSummary> groups;  // by name
  bool incomplete = false;           // some coordinator did not answer
};

struct GroupMember {
  std::string member_id;
  std::string instance_id;
  std::string client_id;
  std::string host;
  std::string rack;
  int32_t epoch = 0;
  std::vector<std::string> topics;
  std::string topic_pattern;
  std::vector<TopicPartition> assigned;
};

struct GroupPartition {
  std::string topic;
  int32_t partition = 0;
  int64_t committed = -1;       // -1: none
  int64_t high_watermark = -1;  // -1: not known, as lag and lag_ms
  int64_t lag = -1;             // records that are not handled
  int64_t lag_ms = -1;          // since the first of them was appended
  std::string member_id;        // empty: nobody's
  std::string metadata;
};

struct GroupDescription {
  std::string group;
  std::string state;
  int32_t coordinator = -1;
  int32_t epoch = 0;
  GroupAssignor assignor = GroupAssignor::kUniform;
  std::vector<GroupMember> members;        // by member id
  std::vector<GroupPartition> partitions;  // assigned or committed, by topic and partition
};

struct OffsetReset {
  std::string topic;
  int32_t partition = 0;
  absl::Status status;  // of this partition; with an error it stays as it was
  int64_t old_offset = -1;
  int64_t new_offset = -1;
};

class Admin {
 public:
  // Does not wait for a broker. kInvalidConfig: an option is out of bounds.
  static absl::StatusOr<std::unique_ptr<Admin>> Create(ClientOptions options);

  virtual ~Admin() = default;
  Admin(const Admin&) = delete;
  Admin& operator=(const Admin&) = delete;

  // kTopicAlreadyExists, kInvalidTopicException, kInvalidPartitions, kInvalidReplicationFactor, kInvalidConfig.
  virtual absl::StatusOr<CreatedTopic> CreateTopic(const NewTopic& topic) = 0;

  // The topic and its records are gone at once. kUnknownTopicOrPartition.
  virtual absl::Status DeleteTopic(std::string_view name) = 0;

  // By name. Internal ones begin with "__".
  enum class InternalTopics { kLeaveOut, kInclude };
  virtual absl::StatusOr<std::vector<TopicSummary>> ListTopics(InternalTopics internal = InternalTopics::kLeaveOut) = 0;

  // kUnknownTopicOrPartition.
  virtual absl::StatusOr<TopicDescription> DescribeTopic(std::string_view name) = 0;

  // Sets and unsets (back to the default) settings, all or nothing. kUnknownTopicOrPartition, kInvalidConfig.
  virtual absl::Status AlterTopic(std::string_view name, const std::map<std::string, std::string>& set,
                                  const std::vector<std::string>& unset) = 0;

  // Up to a total of `partitions`. Keys will then map to other partitions than before.
  // kUnknownTopicOrPartition, kInvalidPartitions.
  virtual absl::Status AddPartitions(std::string_view name, int32_t partitions) = 0;

  // Deletes what is below `before`; std::nullopt: everything up to the high watermark. Returns the new log start
  // offset. kUnknownTopicOrPartition, kOffsetOutOfRange (above the high watermark).
  virtual absl::StatusOr<int64_t> TrimPartition(const TopicPartition& partition, std::optional<int64_t> before) = 0;

  // One answer for each question, in order; each with its own status.
  virtual absl::StatusOr<std::vector<OffsetAnswer>> ListOffsets(const std::vector<OffsetQuery>& queries) = 0;

  virtual absl::StatusOr<ClusterDescription> DescribeCluster() = 0;

  // Consumer groups, their members, positions and lag. kGroupIdNotFound.
  virtual absl::StatusOr<GroupList> ListGroups() = 0;
  virtual absl::StatusOr<GroupDescription> DescribeGroup(std::string_view group) = 0;

  // What a group has committed: of all partitions, or those named, in order.
  virtual absl::StatusOr<std::vector<CommittedOffset>> GroupOffsets(
      std::string_view group, const std::vector<TopicPartition>& partitions = {}) = 0;

  // Sets what a group has committed (an offset of -1: forgets it), also while it has members: each goes on from there at once.
  // kDryRun changes nothing. One answer for each, in order.
  enum class ResetMode { kReset, kDryRun };
  virtual absl::StatusOr<std::vector<OffsetReset>> ResetOffsets(std::string_view group,
                                                                const std::vector<CommittedOffset>& offsets,
                                                                ResetMode mode = ResetMode::kReset) = 0;

  // The group and its offsets are gone. kGroupIdNotFound, kNonEmptyGroup (it has members).
  virtual absl::Status DeleteGroup(std::string_view group) = 0;

  // Brokers, and the topics named (none: all). kUnknownTopicOrPartition when one of those named is missing.
  virtual absl::StatusOr<ClusterMetadata> GetMetadata(const std::vector<std::string>& topics) = 0;

 protected:
  Admin() = default;
};

}  // namespace millrace
