#include "server/metadata_snapshot.h"

#include <gtest/gtest.h>

#include "tests/server/broker/metadata_records.h"

namespace millrace::server {
namespace {

using Image = std::shared_ptr<const MetadataImage>;

Image RandomImage(uint64_t seed, int steps) {
  RandomMetadata random(seed);
  auto image = std::make_shared<const MetadataImage>(TopicConfig());
  for (int step = 0; step < steps; ++step) {
    const MetadataRecords records = random.Step(*image);
    image = After(*image, {records.records().begin(), records.records().end()});
  }
  return image;
}

TEST(MetadataSnapshot, GivesAnEqualImage) {
  int64_t partitions_max = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    const Image image = RandomImage(seed, static_cast<int>(seed));
    partitions_max = std::max(partitions_max, image->partitions());
    const auto back = DecodeSnapshot(EncodeSnapshot({image, raft::Offset(41)}), TopicConfig());
    ASSERT_TRUE(back.ok()) << "seed " << seed << ": " << back.status();
    EXPECT_TRUE(*back->image == *image) << "seed " << seed;
    EXPECT_EQ(back->end_offset, raft::Offset(41));
  }
  EXPECT_GT(partitions_max, 1000) << "images of several chunks";
}

// An id of a group that is gone must not be given out again: a late message would reach another partition's log.
TEST(MetadataSnapshot, RemembersGroupsThatAreGone) {
  const Image image =
      After(MetadataImage(TopicConfig()), {TopicRecord(1, "a"), PartitionRecord(1, 0, 70), RemoveTopic(1)});
  const auto back = DecodeSnapshot(EncodeSnapshot({image, {}}), TopicConfig());
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->image->next_group(), raft::GroupId(71));
}

TEST(MetadataSnapshot, TakesTheDefaultsOfThisBroker) {
  const Image image = After(MetadataImage(TopicConfig()), {TopicRecord(1, "a")});
  const auto back = DecodeSnapshot(EncodeSnapshot({image, {}}), {.retention_ms = 5});
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->image->FindTopic("a")->config->retention_ms, 5);
}

TEST(MetadataSnapshot, DamageOfAnyByteIsFound) {
  const std::string bytes(EncodeSnapshot({RandomImage(3, 12), {}}));
  ASSERT_GT(bytes.size(), 100u);
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
    EXPECT_EQ(DecodeSnapshot(absl::Cord(damaged), {}).status().code(), absl::StatusCode::kDataLoss) << "byte " << i;
    EXPECT_EQ(DecodeSnapshot(absl::Cord(bytes.substr(0, i)), {}).status().code(), absl::StatusCode::kDataLoss)
        << "cut at " << i;
  }
  EXPECT_EQ(DecodeSnapshot(absl::Cord(bytes + "x"), {}).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace millrace::server
