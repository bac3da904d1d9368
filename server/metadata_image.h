// What the cluster consists of, as of one point in the metadata log: topics, partitions, settings, ids given out.
//
// An image never changes. A Builder replays records over one and gives the next:
//
//     MetadataImage::Builder next(*image);
//     if (absl::Status status = next.Replay(record); !status.ok()) return status;
//     image = std::move(next).Build();
//
// Readers on any thread keep the shared_ptr they have.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
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
  class Builder;

  // Before the first record.
  explicit MetadataImage(TopicConfig defaults) : defaults_(std::move(defaults)) {}

  const std::string& cluster_id() const { return cluster_id_; }
  const std::map<std::string, std::shared_ptr<const TopicInfo>>& topics() const { return topics_; }
  std::shared_ptr<const TopicInfo> FindTopic(const std::string& name) const;
  int64_t producer_ids_end() const { return producer_ids_end_; }
  raft::Term leader_epoch() const { return leader_epoch_; }
  raft::GroupId next_group() const { return next_group_; }
  int64_t partitions() const;

 private:
  TopicConfig defaults_;
  std::string cluster_id_;
  std::map<std::string, std::shared_ptr<const TopicInfo>> topics_;
  std::unordered_map<uint64_t, std::string> names_;
  int64_t producer_ids_end_ = 1;  // ids below were given out; 0 means "not idempotent" on the wire
  raft::Term leader_epoch_{1};
  raft::GroupId next_group_{2};  // 1 is the metadata log's own
};

class MetadataImage::Builder {
 public:
  explicit Builder(const MetadataImage& base) : image_(base) {}

  // kUnimplemented for a record that this release does not know, kDataLoss for one that does not fit what came before;
  // the builder is of no use then.
  absl::Status Replay(const millrace::internal::v1::MetadataRecord& record);

  // As far as it was replayed.
  const MetadataImage& image() const { return image_; }

  std::shared_ptr<const MetadataImage> Build() && { return std::make_shared<const MetadataImage>(std::move(image_)); }

 private:
  TopicInfo* MutableTopic(uint64_t topic_id);
  absl::Status ReplayTopic(const millrace::internal::v1::MetadataRecord& record);
  absl::Status ReplayPartition(const millrace::internal::v1::MetadataRecord& record);
  absl::Status ReplayRemoveTopic(const millrace::internal::v1::MetadataRecord& record);

  MetadataImage image_;
  // Topics of image_ that were copied or made here and that nobody else has yet.
  std::unordered_map<uint64_t, std::shared_ptr<TopicInfo>> own_topics_;
};

inline constexpr raft::GroupId kMetadataGroup{1};

}  // namespace millrace::server
