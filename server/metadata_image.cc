#include "server/metadata_image.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "millrace/internal/v1/metadata.pb.h"

namespace millrace::server {
namespace {

using millrace::internal::v1::MetadataRecord;

template <typename Replicas>
std::vector<raft::ReplicaId> ReplicasOf(const Replicas& stored) {
  std::vector<raft::ReplicaId> replicas;
  replicas.reserve(static_cast<size_t>(stored.size()));
  for (const auto& r : stored) replicas.push_back({raft::BrokerId(r.broker_id()), r.incarnation()});
  return replicas;
}

}  // namespace

bool TopicInfo::operator==(const TopicInfo& other) const {
  return name == other.name && topic_id == other.topic_id && replication_factor == other.replication_factor &&
         overrides == other.overrides && *config == *other.config && partitions == other.partitions;
}

bool MetadataImage::Counts(raft::ReplicaId id) const {
  const BrokerInfo* broker = FindBroker(id.broker);
  return broker != nullptr && broker->id == id;
}

raft::ReplicaSet MetadataImage::Unregistered() const {
  raft::ReplicaSet missing;
  for (raft::ReplicaId founder : founders_) {
    if (FindBroker(founder.broker) == nullptr) missing.push_back(founder);
  }
  return missing;
}

std::shared_ptr<const TopicInfo> MetadataImage::FindTopic(const std::string& name) const {
  const auto* topic = topics_.Find(name);
  return topic == nullptr ? nullptr : *topic;
}

std::shared_ptr<const TopicInfo> MetadataImage::FindTopic(uint64_t topic_id) const {
  const auto* topic = topics_by_id_.Find(topic_id);
  return topic == nullptr ? nullptr : *topic;
}

std::optional<GroupInfo> MetadataImage::FindGroup(raft::GroupId group) const {
  const PartitionName* name = groups_.Find(group);
  if (name == nullptr) return std::nullopt;
  return GroupInfo{*topics_by_id_.Find(name->topic_id), name->partition};
}

bool MetadataImage::operator==(const MetadataImage& other) const {
  const auto same_topic = [](const auto& a, const auto& b) { return a.first == b.first && *a.second == *b.second; };
  return version_ == other.version_ && cluster_id_ == other.cluster_id_ && founders_ == other.founders_ &&
         feature_level_ == other.feature_level_ && brokers_ == other.brokers_ &&
         topics_.size() == other.topics_.size() &&
         std::equal(topics_.begin(), topics_.end(), other.topics_.begin(), same_topic) && groups_ == other.groups_ &&
         producer_ids_end_ == other.producer_ids_end_ && named_producers_ == other.named_producers_ &&
         next_group_ == other.next_group_;
}

// nullptr when there is no such topic.
TopicInfo* MetadataImage::Builder::MutableTopic(uint64_t topic_id) {
  const auto own = own_topics_.find(topic_id);
  if (own != own_topics_.end()) return own->second.get();
  const auto* topic = image_.topics_by_id_.Find(topic_id);
  if (topic == nullptr) return nullptr;
  auto copy = std::make_shared<TopicInfo>(**topic);
  image_.topics_.Set(copy->name, copy);
  image_.topics_by_id_.Set(topic_id, copy);
  return (own_topics_[topic_id] = std::move(copy)).get();
}

absl::Status MetadataImage::Builder::Replay(const MetadataRecord& record) {
  layout_changed_ |= record.has_topic() || record.has_partition() || record.has_remove_topic() || record.has_broker() ||
                     record.has_remove_broker();
  switch (record.record_case()) {
    case MetadataRecord::kCluster:
      return ReplayCluster(record);
    case MetadataRecord::kTopic:
      return ReplayTopic(record);
    case MetadataRecord::kPartition:
      return ReplayPartition(record);
    case MetadataRecord::kRemoveTopic:
      return ReplayRemoveTopic(record);
    case MetadataRecord::kProducerIds:
      image_.producer_ids_end_ = std::max(image_.producer_ids_end_, record.producer_ids().end());
      return absl::OkStatus();
    case MetadataRecord::kBroker:
      return ReplayBroker(record);
    case MetadataRecord::kRemoveBroker:
      if (image_.brokers_.Erase(raft::BrokerId(record.remove_broker().broker_id()))) return absl::OkStatus();
      return absl::DataLossError("metadata log: removes a broker that is not there");
    case MetadataRecord::kFeatureLevel:
      return ReplayFeatureLevel(record);
    case MetadataRecord::kGroupIds:
      image_.next_group_ = std::max(image_.next_group_, raft::GroupId(record.group_ids().end()));
      return absl::OkStatus();
    case MetadataRecord::kProducer:
      return ReplayProducer(record);
    case MetadataRecord::kRemoveProducer:
      if (ForgetProducer(record.remove_producer().name())) return absl::OkStatus();
      return absl::DataLossError("metadata log: removes a producer's name that is not there");
    case MetadataRecord::RECORD_NOT_SET:
      break;
  }
  return absl::UnimplementedError(
      "the metadata log has a record that this release does not know: it was written by a newer one; start that "
      "release");
}

absl::Status MetadataImage::Builder::ReplayCluster(const MetadataRecord& record) {
  const auto& r = record.cluster();
  if (!image_.cluster_id_.empty() && image_.cluster_id_ != r.cluster_id()) {
    return absl::DataLossError(
        absl::StrCat("metadata log: it is of cluster ", image_.cluster_id_, " and of cluster ", r.cluster_id()));
  }
  image_.cluster_id_ = r.cluster_id();
  image_.founders_ = ReplicasOf(r.founders());
  return absl::OkStatus();
}

absl::Status MetadataImage::Builder::ReplayBroker(const MetadataRecord& record) {
  BrokerInfo broker = FromRecord(record.broker());
  image_.brokers_.Set(broker.id.broker, std::move(broker));
  return absl::OkStatus();
}

absl::Status MetadataImage::Builder::ReplayFeatureLevel(const MetadataRecord& record) {
  const int32_t level = record.feature_level().feature_level();
  if (level > kFeatureLevels.max) {
    return absl::UnimplementedError(absl::StrCat("the cluster was raised to feature level ", level,
                                                 ", this release goes up to ", kFeatureLevels.max,
                                                 "; start the newer release"));
  }
  image_.feature_level_ = std::max(image_.feature_level_, level);
  return absl::OkStatus();
}

absl::Status MetadataImage::Builder::ReplayTopic(const MetadataRecord& record) {
  const auto& r = record.topic();
  std::map<std::string, std::string> overrides{r.config().begin(), r.config().end()};
  absl::StatusOr<TopicConfig> config = ParseTopicConfig(overrides, image_.defaults_);
  if (!config.ok()) return config.status();
  TopicInfo* topic = MutableTopic(r.topic_id());
  const auto* namesake = image_.topics_.Find(r.name());
  if ((namesake == nullptr) != (topic == nullptr) || (topic != nullptr && namesake->get() != topic)) {
    return absl::DataLossError(
        absl::StrCat("metadata log: topic ", r.name(), " with id ", r.topic_id(), " is another than before"));
  }
  if (topic == nullptr) {
    auto made = std::make_shared<TopicInfo>();
    image_.topics_.Set(r.name(), made);
    image_.topics_by_id_.Set(r.topic_id(), made);
    topic = (own_topics_[r.topic_id()] = std::move(made)).get();
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
  const raft::GroupId group(r.group_id());
  TopicInfo* topic = MutableTopic(r.topic_id());
  const int32_t next = topic == nullptr ? 0 : static_cast<int32_t>(topic->partitions.size());
  const PartitionName name{r.topic_id(), r.partition()};
  const PartitionName* before = image_.groups_.Find(group);
  const bool is_new = r.partition() == next && before == nullptr && group > kMetadataGroup;
  const bool is_there = before != nullptr && *before == name;
  if (topic == nullptr || (!is_new && !is_there)) {
    return absl::DataLossError(absl::StrCat("metadata log: partition ", r.partition(), " of topic id ", r.topic_id(),
                                            ", group ", r.group_id(), ", does not follow what came before"));
  }
  if (is_there) {
    topic->partitions[r.partition()].replicas = ReplicasOf(r.replicas());
    return absl::OkStatus();
  }
  topic->partitions.push_back({group, ReplicasOf(r.replicas())});
  image_.groups_.Set(group, name);
  image_.next_group_ = std::max(image_.next_group_, group + 1);
  return absl::OkStatus();
}

absl::Status MetadataImage::Builder::ReplayProducer(const MetadataRecord& record) {
  const auto& r = record.producer();
  ForgetProducer(r.name());
  image_.named_producers_.Set(
      r.name(), {r.producer_id(), r.producer_epoch(), r.session(), raft::LogIndex(r.made()), r.former_id()});
  image_.named_epochs_.Set(r.producer_id(), r.producer_epoch());
  if (r.former_id() != 0) image_.named_epochs_.Set(r.former_id(), std::numeric_limits<int32_t>::max());
  return absl::OkStatus();
}

bool MetadataImage::Builder::ForgetProducer(const std::string& name) {
  const NamedProducer* known = image_.named_producers_.Find(name);
  if (known == nullptr) return false;
  image_.named_epochs_.Erase(known->id);
  if (known->former_id != 0) image_.named_epochs_.Erase(known->former_id);
  image_.named_producers_.Erase(name);
  return true;
}

absl::Status MetadataImage::Builder::ReplayRemoveTopic(const MetadataRecord& record) {
  const uint64_t topic_id = record.remove_topic().topic_id();
  const auto* found = image_.topics_by_id_.Find(topic_id);
  if (found == nullptr) return absl::DataLossError("metadata log: removes a topic that is not there");
  const std::shared_ptr<const TopicInfo> topic = *found;
  for (const PartitionInfo& partition : topic->partitions) image_.groups_.Erase(partition.group);
  image_.topics_.Erase(topic->name);
  image_.topics_by_id_.Erase(topic_id);
  own_topics_.erase(topic_id);
  return absl::OkStatus();
}

}  // namespace millrace::server
