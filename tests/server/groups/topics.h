// Images with topics in them, for groups to read.
#pragma once

#include <memory>
#include <string>

#include "millrace/internal/v1/metadata.pb.h"
#include "server/metadata_image.h"

namespace millrace::server {

// Topics made one after the other; each has an id and group ids of its own.
class TestTopics {
 public:
  TestTopics() { image_ = std::make_shared<const MetadataImage>(TopicConfig()); }

  const std::shared_ptr<const MetadataImage>& image() const { return image_; }

  uint64_t Add(const std::string& name, int partitions) {
    const uint64_t id = ++last_id_;
    internal::v1::MetadataRecord topic;
    topic.mutable_topic()->set_name(name);
    topic.mutable_topic()->set_topic_id(id);
    topic.mutable_topic()->set_replication_factor(1);
    Replay(topic);
    for (int p = 0; p < partitions; ++p) AddPartition(id, p);
    return id;
  }

  void AddPartition(uint64_t topic_id, int partition) {
    internal::v1::MetadataRecord record;
    record.mutable_partition()->set_topic_id(topic_id);
    record.mutable_partition()->set_partition(partition);
    record.mutable_partition()->set_group_id(next_group_++);
    auto& replica = *record.mutable_partition()->add_replicas();
    replica.set_broker_id(1);
    replica.set_incarnation(1);
    Replay(record);
  }

  void Remove(uint64_t topic_id) {
    internal::v1::MetadataRecord record;
    record.mutable_remove_topic()->set_topic_id(topic_id);
    Replay(record);
  }

 private:
  void Replay(const internal::v1::MetadataRecord& record) {
    MetadataImage::Builder next(*image_);
    const absl::Status status = next.Replay(record);
    if (!status.ok()) ADD_FAILURE() << status;
    next.SetVersion(image_->version() + 1);
    image_ = std::move(next).Build();
  }

  std::shared_ptr<const MetadataImage> image_;
  uint64_t last_id_ = 0;
  int64_t next_group_ = 2;
};

}  // namespace millrace::server
