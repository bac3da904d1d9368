#include "server/metadata_image.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "millrace/internal/v1/metadata.pb.h"

namespace millrace::server {

using millrace::internal::v1::MetadataRecord;

std::shared_ptr<const TopicInfo> MetadataImage::FindTopic(const std::string& name) const {
  auto it = topics_.find(name);
  return it == topics_.end() ? nullptr : it->second;
}

int64_t MetadataImage::partitions() const {
  int64_t count = 0;
  for (const auto& [name, topic] : topics_) count += static_cast<int64_t>(topic->partitions.size());
  return count;
}

// nullptr when there is no such topic.
TopicInfo* MetadataImage::Builder::MutableTopic(uint64_t topic_id) {
  auto name = image_.names_.find(topic_id);
  if (name == image_.names_.end()) return nullptr;
  std::shared_ptr<TopicInfo>& own = own_topics_[topic_id];
  if (own == nullptr) {
    std::shared_ptr<const TopicInfo>& topic = image_.topics_.at(name->second);
    own = std::make_shared<TopicInfo>(*topic);
    topic = own;
  }
  return own.get();
}

absl::Status MetadataImage::Builder::Replay(const MetadataRecord& record) {
  switch (record.record_case()) {
    case MetadataRecord::kCluster:
      image_.cluster_id_ = record.cluster().cluster_id();
      return absl::OkStatus();
    case MetadataRecord::kTopic:
      return ReplayTopic(record);
    case MetadataRecord::kPartition:
      return ReplayPartition(record);
    case MetadataRecord::kRemoveTopic:
      return ReplayRemoveTopic(record);
    case MetadataRecord::kProducerIds:
      image_.producer_ids_end_ = std::max(image_.producer_ids_end_, record.producer_ids().end());
      return absl::OkStatus();
    case MetadataRecord::kLeaderEpoch:
      image_.leader_epoch_ = std::max(image_.leader_epoch_, raft::Term(record.leader_epoch().leader_epoch()));
      return absl::OkStatus();
    case MetadataRecord::RECORD_NOT_SET:
      break;
  }
  return absl::UnimplementedError(
      "the metadata log has a record that this release does not know: it was written by a newer one; start that "
      "release");
}

absl::Status MetadataImage::Builder::ReplayTopic(const MetadataRecord& record) {
  const auto& r = record.topic();
  std::map<std::string, std::string> overrides{r.config().begin(), r.config().end()};
  absl::StatusOr<TopicConfig> config = ParseTopicConfig(overrides, image_.defaults_);
  if (!config.ok()) return config.status();
  TopicInfo* topic = MutableTopic(r.topic_id());
  if (topic == nullptr) {
    std::shared_ptr<TopicInfo> made = own_topics_[r.topic_id()] = std::make_shared<TopicInfo>();
    image_.topics_[r.name()] = made;
    image_.names_[r.topic_id()] = r.name();
    topic = made.get();
  }
  topic->name = r.name();
  topic->topic_id = r.topic_id();
  topic->replication_factor = r.replication_factor();
  topic->overrides = std::move(overrides);
  topic->config = std::make_shared<const TopicConfig>(*std::move(config));
  return absl::OkStatus();
}

absl::Status MetadataImage::Builder::ReplayPartition(const MetadataRecord& record) {
  const auto& r = record.partition();
  TopicInfo* topic = MutableTopic(r.topic_id());
  if (topic == nullptr || r.partition() != static_cast<int32_t>(topic->partitions.size())) {
    return absl::DataLossError(absl::StrCat("metadata log: partition ", r.partition(), " of topic id ", r.topic_id(),
                                            " does not follow what came before"));
  }
  topic->partitions.push_back({raft::GroupId(r.group_id()), {r.replicas().begin(), r.replicas().end()}});
  image_.next_group_ = std::max(image_.next_group_, raft::GroupId(r.group_id() + 1));
  return absl::OkStatus();
}

absl::Status MetadataImage::Builder::ReplayRemoveTopic(const MetadataRecord& record) {
  auto name = image_.names_.find(record.remove_topic().topic_id());
  if (name == image_.names_.end()) return absl::DataLossError("metadata log: removes a topic that is not there");
  image_.topics_.erase(name->second);
  own_topics_.erase(name->first);
  image_.names_.erase(name);
  return absl::OkStatus();
}

}  // namespace millrace::server
