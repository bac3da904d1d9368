// What the cluster consists of, as of one point in the metadata log: brokers, topics, partitions, settings, ids given out.
//
// An image never changes. A Builder replays records over one and gives the next, which shares with it all that stayed:
//
//     MetadataImage::Builder next(*image);
//     if (absl::Status status = next.Replay(record); !status.ok()) return status;
//     next.SetVersion(entry.header.index);
//     image = std::move(next).Build();
//
// Readers on any thread keep the shared_ptr they have; what they are given as a plain pointer lives as long as the image.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "raft/membership.h"
#include "raft/types.h"
#include "server/broker_info.h"
#include "server/shared_map.h"
#include "server/topic_config.h"

namespace millrace::internal::v1 {
class MetadataRecord;
}

namespace millrace::server {

struct PartitionInfo {
  raft::GroupId group;
  std::vector<raft::ReplicaId> replicas;  // the first one leads when it can

  bool operator==(const PartitionInfo&) const = default;
};

struct TopicInfo {
  std::string name;
  uint64_t topic_id = 0;
  int32_t replication_factor = 1;
  std::map<std::string, std::string> overrides;  // what was set on the topic
  std::shared_ptr<const TopicConfig> config;     // in effect: overrides over this broker's defaults
  std::vector<PartitionInfo> partitions;

  bool operator==(const TopicInfo& other) const;
};

// Whose log a group is.
struct GroupInfo {
  std::shared_ptr<const TopicInfo> topic;
  int32_t partition = 0;

  const std::vector<raft::ReplicaId>& replicas() const { return topic->partitions[partition].replicas; }
};

// What was given to the last producer of a name.
struct NamedProducer {
  int64_t id = 0;
  int32_t epoch = 0;
  uint64_t session = 0;   // what it drew
  raft::LogIndex made;    // the image's version by then
  int64_t former_id = 0;  // whose epochs were used up; 0: none

  bool operator==(const NamedProducer&) const = default;
};

class MetadataImage {
 public:
  class Builder;
  using Topics = SharedMap<std::string, std::shared_ptr<const TopicInfo>>;
  using Brokers = SharedMap<raft::BrokerId, BrokerInfo>;

  // Before the first record.
  explicit MetadataImage(TopicConfig defaults) : defaults_(std::move(defaults)) {}

  // Of the last entry of the log that is in it.
  raft::LogIndex version() const { return version_; }
  // The version in which a topic, a partition or a broker last changed.
  raft::LogIndex layout_version() const { return layout_version_; }
  const std::string& cluster_id() const { return cluster_id_; }
  const raft::ReplicaSet& founders() const { return founders_; }
  int32_t feature_level() const { return feature_level_; }

  const Brokers& brokers() const { return brokers_; }
  const BrokerInfo* FindBroker(raft::BrokerId id) const { return brokers_.Find(id); }
  // Whether this very disk of the broker takes part.
  bool Counts(raft::ReplicaId id) const;
  // Founders that have not registered yet: of the cluster, though not among brokers().
  raft::ReplicaSet Unregistered() const;

  const Topics& topics() const { return topics_; }  // by name
  std::shared_ptr<const TopicInfo> FindTopic(const std::string& name) const;
  std::shared_ptr<const TopicInfo> FindTopic(uint64_t topic_id) const;
  std::optional<GroupInfo> FindGroup(raft::GroupId group) const;
  int64_t partitions() const { return static_cast<int64_t>(groups_.size()); }

  int64_t producer_ids_end() const { return producer_ids_end_; }
  using NamedProducers = SharedMap<std::string, NamedProducer>;
  const NamedProducers& named_producers() const { return named_producers_; }
  // Of a producer with a name: batches of epochs below are of an earlier one. nullptr: it has none.
  const int32_t* EpochOfNamed(int64_t producer_id) const { return named_epochs_.Find(producer_id); }
  raft::GroupId next_group() const { return next_group_; }

  // Settings in effect count, too: two brokers with other defaults have other images.
  bool operator==(const MetadataImage& other) const;

 private:
  struct PartitionName {
    uint64_t topic_id = 0;
    int32_t partition = 0;

    bool operator==(const PartitionName&) const = default;
  };

  TopicConfig defaults_;
  raft::LogIndex version_;
  raft::LogIndex layout_version_;
  std::string cluster_id_;
  raft::ReplicaSet founders_;
  int32_t feature_level_ = kFeatureLevels.min;
  Brokers brokers_;
  Topics topics_;
  SharedMap<uint64_t, std::shared_ptr<const TopicInfo>> topics_by_id_;  // the same
  SharedMap<raft::GroupId, PartitionName> groups_;
  int64_t producer_ids_end_ = 1;  // ids below were given out; 0 means "not idempotent" on the wire
  NamedProducers named_producers_;
  SharedMap<int64_t, int32_t> named_epochs_;  // by id
  raft::GroupId next_group_{2};               // 1 is the metadata log's own
};

class MetadataImage::Builder {
 public:
  explicit Builder(const MetadataImage& base) : image_(base) {}
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  // kUnimplemented for what this release does not know, kDataLoss for a record that does not fit what came before; the builder
  // is of no use then.
  absl::Status Replay(const millrace::internal::v1::MetadataRecord& record);
  void SetVersion(raft::LogIndex version) {
    image_.version_ = version;
    if (layout_changed_) image_.layout_version_ = version;
  }

  // As far as it was replayed.
  const MetadataImage& image() const { return image_; }

  std::shared_ptr<const MetadataImage> Build() && { return std::make_shared<const MetadataImage>(std::move(image_)); }

 private:
  TopicInfo* MutableTopic(uint64_t topic_id);
  absl::Status ReplayCluster(const millrace::internal::v1::MetadataRecord& record);
  absl::Status ReplayBroker(const millrace::internal::v1::MetadataRecord& record);
  absl::Status ReplayFeatureLevel(const millrace::internal::v1::MetadataRecord& record);
  absl::Status ReplayTopic(const millrace::internal::v1::MetadataRecord& record);
  absl::Status ReplayPartition(const millrace::internal::v1::MetadataRecord& record);
  absl::Status ReplayRemoveTopic(const millrace::internal::v1::MetadataRecord& record);
  absl::Status ReplayProducer(const millrace::internal::v1::MetadataRecord& record);
  bool ForgetProducer(const std::string& name);

  MetadataImage image_;
  bool layout_changed_ = false;
  // Topics of image_ that were copied or made here and that nobody else has yet.
  std::unordered_map<uint64_t, std::shared_ptr<TopicInfo>> own_topics_;
};

inline constexpr raft::GroupId kMetadataGroup{1};

}  // namespace millrace::server
