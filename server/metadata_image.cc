#include "server/metadata_image.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "millrace/internal/v1/metadata.pb.h"

namespace millrace::server {

using millrace::internal::v1::MetadataRecord;

absl::StatusOr<std::shared_ptr<const MetadataImage>> MetadataImage::Replay(const MetadataRecord& record) const {
  auto next = std::make_shared<MetadataImage>(*this);
  if (absl::Status status = next->Apply(record); !status.ok()) return status;
  return std::shared_ptr<const MetadataImage>(std::move(next));
}

std::shared_ptr<const TopicInfo> MetadataImage::FindTopic(const std::string& name) const {
  auto it = topics_.find(name);
  return it == topics_.end() ? nullptr : it->second;
}

int64_t MetadataImage::partitions() const {
  int64_t count = 0;
  for (const auto& [name, topic] : topics_) count += static_cast<int64_t>(topic->partitions.size());
  return count;
}

// The topic, to be changed: a copy in its place if other images share it. nullptr when there is none.
std::shared_ptr<TopicInfo> MetadataImage::MutableTopic(uint64_t topic_id) {
  auto name = names_.find(topic_id);
  if (name == names_.end()) return nullptr;
  std::shared_ptr<const TopicInfo>& topic = topics_.at(name->second);
  if (topic.use_count() == 1) return std::const_pointer_cast<TopicInfo>(topic);
  auto copy = std::make_shared<TopicInfo>(*topic);
  topic = copy;
  return copy;
}

absl::Status MetadataImage::Apply(const MetadataRecord& record) {
  switch (record.record_case()) {
    case MetadataRecord::kCluster:
      cluster_id_ = record.cluster().cluster_id();
      return absl::OkStatus();
    case MetadataRecord::kTopic: {
      const auto& r = record.topic();
      std::shared_ptr<TopicInfo> topic = MutableTopic(r.topic_id());
      if (topic == nullptr) topic = std::make_shared<TopicInfo>();
      topic->name = r.name();
      topic->topic_id = r.topic_id();
      topic->replication_factor = r.replication_factor();
      topic->overrides = {r.config().begin(), r.config().end()};
      absl::StatusOr<TopicConfig> config = ParseTopicConfig(topic->overrides, defaults_);
      if (!config.ok()) return config.status();
      topic->config = std::make_shared<const TopicConfig>(*config);
      topics_[topic->name] = topic;
      names_[topic->topic_id] = topic->name;
      return absl::OkStatus();
    }
    case MetadataRecord::kPartition: {
      const auto& r = record.partition();
      std::shared_ptr<TopicInfo> topic = MutableTopic(r.topic_id());
      if (topic == nullptr || r.partition() != static_cast<int32_t>(topic->partitions.size())) {
        return absl::DataLossError(absl::StrCat("metadata log: partition ", r.partition(), " of topic id ",
                                                r.topic_id(), " does not follow what came before"));
      }
      topic->partitions.push_back({raft::GroupId(r.group_id()), {r.replicas().begin(), r.replicas().end()}});
      next_group_ = std::max(next_group_, raft::GroupId(r.group_id() + 1));
      return absl::OkStatus();
    }
    case MetadataRecord::kRemoveTopic: {
      auto name = names_.find(record.remove_topic().topic_id());
      if (name == names_.end()) return absl::DataLossError("metadata log: removes a topic that is not there");
      topics_.erase(name->second);
      names_.erase(name);
      return absl::OkStatus();
    }
    case MetadataRecord::kProducerIds:
      producer_ids_end_ = std::max(producer_ids_end_, record.producer_ids().end());
      return absl::OkStatus();
    case MetadataRecord::kLeaderEpoch:
      leader_epoch_ = std::max(leader_epoch_, raft::Term(record.leader_epoch().leader_epoch()));
      return absl::OkStatus();
    case MetadataRecord::RECORD_NOT_SET:
      break;
  }
  return absl::UnimplementedError(
      "the metadata log has a record that this release does not know: it was written by a newer one; start that "
      "release");
}

}  // namespace millrace::server
