// What the cluster consists of, as of one point in the metadata log: topics, partitions, settings, ids given out.
//
// An image never changes; replaying records gives the next one. Readers on any thread keep the shared_ptr they have.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "raft/types.h"
#include "server/topic_config.h"

namespace millrace::internal::v1 {
class MetadataRecord;
}

namespace millrace::server {

struct PartitionInfo {
  raft::GroupId group;
  std::vector<int32_t> replicas;
};

struct TopicInfo {
  std::string name;
  uint64_t topic_id = 0;
  int32_t replication_factor = 1;
  std::map<std::string, std::string> overrides;  // what was set on the topic
  std::shared_ptr<const TopicConfig> config;     // in effect: overrides over this broker's defaults
  std::vector<PartitionInfo> partitions;
};

class MetadataImage {
 public:
  explicit MetadataImage(TopicConfig defaults) : defaults_(std::move(defaults)) {}

  // The image after `record`. kUnimplemented for a record that this release does not know.
  absl::StatusOr<std::shared_ptr<const MetadataImage>> Replay(
      const millrace::internal::v1::MetadataRecord& record) const;

  // Replays into this image, while it is not shared yet.
  absl::Status Apply(const millrace::internal::v1::MetadataRecord& record);

  const std::string& cluster_id() const { return cluster_id_; }
  const std::map<std::string, std::shared_ptr<const TopicInfo>>& topics() const { return topics_; }
  std::shared_ptr<const TopicInfo> FindTopic(const std::string& name) const;
  int64_t producer_ids_end() const { return producer_ids_end_; }
  raft::Term leader_epoch() const { return leader_epoch_; }
  raft::GroupId next_group() const { return next_group_; }
  int64_t partitions() const;

 private:
  std::shared_ptr<TopicInfo> MutableTopic(uint64_t topic_id);

  TopicConfig defaults_;
  std::string cluster_id_;
  std::map<std::string, std::shared_ptr<const TopicInfo>> topics_;
  std::unordered_map<uint64_t, std::string> names_;
  int64_t producer_ids_end_ = 1;  // ids below were given out; 0 means "not idempotent" on the wire
  raft::Term leader_epoch_{1};
  raft::GroupId next_group_{2};  // 1 is the metadata log's own
};

inline constexpr raft::GroupId kMetadataGroup{1};

}  // namespace millrace::server
