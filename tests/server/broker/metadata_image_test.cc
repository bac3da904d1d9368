#include "server/metadata_image.h"

#include <gtest/gtest.h>

#include "millrace/internal/v1/metadata.pb.h"

namespace millrace::server {
namespace {

using millrace::internal::v1::MetadataRecord;
using Image = std::shared_ptr<const MetadataImage>;

MetadataRecord Topic(uint64_t id, const std::string& name, const std::string& flush) {
  MetadataRecord record;
  record.mutable_topic()->set_name(name);
  record.mutable_topic()->set_topic_id(id);
  (*record.mutable_topic()->mutable_config())["flush"] = flush;
  return record;
}

MetadataRecord Partition(uint64_t topic_id, int32_t partition) {
  MetadataRecord record;
  record.mutable_partition()->set_topic_id(topic_id);
  record.mutable_partition()->set_partition(partition);
  record.mutable_partition()->set_group_id(partition + 10);
  return record;
}

MetadataRecord Remove(uint64_t topic_id) {
  MetadataRecord record;
  record.mutable_remove_topic()->set_topic_id(topic_id);
  return record;
}

Image After(const MetadataImage& base, const std::vector<MetadataRecord>& records) {
  MetadataImage::Builder next(base);
  for (const MetadataRecord& record : records) {
    const absl::Status status = next.Replay(record);
    EXPECT_TRUE(status.ok()) << status;
  }
  return std::move(next).Build();
}

TEST(MetadataImage, NeverChangesNorDoItsTopics) {
  const Image first =
      After(MetadataImage(TopicConfig()), {Topic(1, "a", "commit"), Partition(1, 0), Topic(2, "b", "commit")});
  const std::shared_ptr<const TopicInfo> a = first->FindTopic("a");
  const TopicInfo* b = first->FindTopic("b").get();

  const Image second = After(*first, {Topic(1, "a", "async"), Partition(1, 1)});
  EXPECT_EQ(a->partitions.size(), 1u);
  EXPECT_EQ(a->overrides.at("flush"), "commit");
  EXPECT_EQ(second->FindTopic("a")->partitions.size(), 2u);
  EXPECT_EQ(second->FindTopic("a")->overrides.at("flush"), "async");
  EXPECT_EQ(second->FindTopic("b").get(), b) << "a topic that did not change is shared";
  EXPECT_EQ(second->next_group().value(), 12);

  const Image third = After(*second, {Remove(1)});
  EXPECT_EQ(third->FindTopic("a"), nullptr);
  EXPECT_EQ(second->FindTopic("a")->partitions.size(), 2u);
}

TEST(MetadataImage, TopicMadeAndRemovedInOneStepIsGone) {
  const Image image = After(MetadataImage(TopicConfig()),
                            {Topic(1, "a", "async"), Partition(1, 0), Remove(1), Topic(2, "a", "commit")});
  EXPECT_EQ(image->FindTopic("a")->topic_id, 2u);
  EXPECT_TRUE(image->FindTopic("a")->partitions.empty());
}

TEST(MetadataImage, RecordsThatDoNotFitAreRefused) {
  MetadataImage::Builder next{MetadataImage(TopicConfig())};
  EXPECT_EQ(next.Replay(Partition(1, 0)).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(next.Replay(Remove(1)).code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(next.Replay(Topic(1, "a", "commit")).ok());
  EXPECT_EQ(next.Replay(Partition(1, 1)).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(next.Replay(MetadataRecord()).code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace millrace::server
