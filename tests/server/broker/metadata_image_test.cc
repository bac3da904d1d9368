#include "server/metadata_image.h"

#include <gtest/gtest.h>

#include "tests/server/broker/metadata_records.h"

namespace millrace::server {
namespace {

using raft::BrokerId;
using raft::GroupId;
using raft::ReplicaId;
using Image = std::shared_ptr<const MetadataImage>;

const MetadataImage kEmpty{TopicConfig()};

TEST(MetadataImage, NeverChangesNorDoItsTopics) {
  const Image first =
      After(kEmpty, {TopicRecord(1, "a", "commit"), PartitionRecord(1, 0, 10), TopicRecord(2, "b", "commit")});
  const std::shared_ptr<const TopicInfo> a = first->FindTopic("a");
  const TopicInfo* b = first->FindTopic("b").get();

  const Image second = After(*first, {TopicRecord(1, "a", "async"), PartitionRecord(1, 1, 11)});
  EXPECT_EQ(a->partitions.size(), 1u);
  EXPECT_EQ(a->overrides.at("flush"), "commit");
  EXPECT_EQ(second->FindTopic("a")->partitions.size(), 2u);
  EXPECT_EQ(second->FindTopic("a")->overrides.at("flush"), "async");
  EXPECT_EQ(second->FindTopic("b").get(), b) << "a topic that did not change is shared";
  EXPECT_EQ(second->next_group(), GroupId(12));

  const Image third = After(*second, {RemoveTopic(1)});
  EXPECT_EQ(third->FindTopic("a"), nullptr);
  EXPECT_EQ(second->FindTopic("a")->partitions.size(), 2u);
}

TEST(MetadataImage, TopicMadeAndRemovedInOneStepIsGone) {
  const Image image = After(
      kEmpty, {TopicRecord(1, "a", "async"), PartitionRecord(1, 0, 10), RemoveTopic(1), TopicRecord(2, "a", "commit")});
  EXPECT_EQ(image->FindTopic("a")->topic_id, 2u);
  EXPECT_TRUE(image->FindTopic("a")->partitions.empty());
  EXPECT_EQ(image->partitions(), 0);
}

TEST(MetadataImage, KnowsWhoseLogAGroupIs) {
  const Image first =
      After(kEmpty, {TopicRecord(1, "a"), PartitionRecord(1, 0, 10), PartitionRecord(1, 1, 11, {{BrokerId(4), 40}}),
                     TopicRecord(2, "b"), PartitionRecord(2, 0, 12)});
  EXPECT_EQ(first->partitions(), 3);
  EXPECT_EQ(first->FindGroup(GroupId(11))->topic->name, "a");
  EXPECT_EQ(first->FindGroup(GroupId(11))->partition, 1);
  EXPECT_EQ(first->FindGroup(GroupId(11))->replicas(), std::vector<ReplicaId>({{BrokerId(4), 40}}));
  EXPECT_EQ(first->FindGroup(GroupId(13)), std::nullopt);
  const Image second = After(*first, {TopicRecord(1, "a", "async"), RemoveTopic(2)});
  EXPECT_EQ(second->FindGroup(GroupId(11))->topic, second->FindTopic("a")) << "the topic as it is now";
  EXPECT_EQ(second->FindGroup(GroupId(12)), std::nullopt);
  EXPECT_EQ(first->FindGroup(GroupId(12))->topic->name, "b");
}

TEST(MetadataImage, ReplicasOfAPartitionAreReplacedAndItsGroupStays) {
  const Image first = After(kEmpty, {TopicRecord(1, "a"), PartitionRecord(1, 0, 10, {{BrokerId(1), 7}})});
  const Image second = After(*first, {PartitionRecord(1, 0, 10, {{BrokerId(2), 8}, {BrokerId(1), 7}})});
  EXPECT_EQ(first->FindGroup(GroupId(10))->replicas(), std::vector<ReplicaId>({{BrokerId(1), 7}}));
  EXPECT_EQ(second->FindGroup(GroupId(10))->replicas(), std::vector<ReplicaId>({{BrokerId(2), 8}, {BrokerId(1), 7}}));
  EXPECT_EQ(second->partitions(), 1);
}

TEST(MetadataImage, ABrokerWithAnotherDiskReplacesItself) {
  const Image first = After(kEmpty, {BrokerRecord(1, 100, "r1"), BrokerRecord(2, 200)});
  const Image second = After(*first, {BrokerRecord(1, 101, "r2")});
  EXPECT_TRUE(first->Counts({BrokerId(1), 100}));
  EXPECT_FALSE(second->Counts({BrokerId(1), 100}));
  EXPECT_TRUE(second->Counts({BrokerId(1), 101}));
  EXPECT_EQ(second->FindBroker(BrokerId(1))->rack, "r2");
  EXPECT_EQ(second->FindBroker(BrokerId(1))->address, "host1:9470");
  const Image third = After(*second, {RemoveBroker(2)});
  EXPECT_EQ(third->FindBroker(BrokerId(2)), nullptr);
  EXPECT_EQ(third->brokers().size(), 1u);
  EXPECT_FALSE(third->Counts({BrokerId(2), 200}));
}

TEST(MetadataImage, RecordsThatDoNotFitAreRefused) {
  const Image image = After(kEmpty, {TopicRecord(1, "a"), PartitionRecord(1, 0, 10), TopicRecord(2, "b")});
  const auto refused = [&](const MetadataRecord& record) {
    MetadataImage::Builder next(*image);
    return next.Replay(record).code();
  };
  constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
  EXPECT_EQ(refused(PartitionRecord(3, 0, 11)), kDataLoss) << "no such topic";
  EXPECT_EQ(refused(PartitionRecord(1, 2, 11)), kDataLoss) << "a gap";
  EXPECT_EQ(refused(PartitionRecord(1, -1, 11)), kDataLoss);
  EXPECT_EQ(refused(PartitionRecord(1, 1, 10)), kDataLoss) << "a group that is another partition's";
  EXPECT_EQ(refused(PartitionRecord(1, 0, 11)), kDataLoss) << "a partition has one group for ever";
  EXPECT_EQ(refused(PartitionRecord(1, 1, 1)), kDataLoss) << "the metadata's own group";
  EXPECT_EQ(refused(RemoveTopic(3)), kDataLoss);
  EXPECT_EQ(refused(RemoveBroker(1)), kDataLoss);
  EXPECT_EQ(refused(TopicRecord(3, "a")), kDataLoss) << "a name that is taken";
  EXPECT_EQ(refused(TopicRecord(1, "c")), kDataLoss) << "a topic has one name";
  EXPECT_EQ(refused(TopicRecord(1, "b")), kDataLoss);
  EXPECT_EQ(refused(MetadataRecord()), absl::StatusCode::kUnimplemented);
}

TEST(MetadataImage, BelongsToOneCluster) {
  MetadataRecord cluster;
  cluster.mutable_cluster()->set_cluster_id("one");
  auto& founder = *cluster.mutable_cluster()->add_founders();
  founder.set_broker_id(3);
  founder.set_incarnation(30);
  const Image image = After(kEmpty, {cluster, cluster});
  EXPECT_EQ(image->cluster_id(), "one");
  EXPECT_EQ(image->founders(), raft::ReplicaSet({{BrokerId(3), 30}}));
  cluster.mutable_cluster()->set_cluster_id("another");
  MetadataImage::Builder next(*image);
  EXPECT_EQ(next.Replay(cluster).code(), absl::StatusCode::kDataLoss);
}

TEST(MetadataImage, FoundersAreUnregisteredUntilTheyRegister) {
  MetadataRecord cluster;
  cluster.mutable_cluster()->set_cluster_id("one");
  for (int32_t id : {1, 2}) {
    auto& founder = *cluster.mutable_cluster()->add_founders();
    founder.set_broker_id(id);
    founder.set_incarnation(static_cast<uint64_t>(10 * id));
  }
  const Image founded = After(kEmpty, {cluster, BrokerRecord(3, 30)});
  EXPECT_EQ(founded->Unregistered(), raft::ReplicaSet({{BrokerId(1), 10}, {BrokerId(2), 20}}));
  const Image registered = After(*founded, {BrokerRecord(2, 20)});
  EXPECT_EQ(registered->Unregistered(), raft::ReplicaSet({{BrokerId(1), 10}}));
}

TEST(MetadataImage, StopsAtAFeatureLevelThatThisReleaseDoesNotSpeak) {
  MetadataRecord level;
  level.mutable_feature_level()->set_feature_level(kFeatureLevels.max);
  EXPECT_EQ(After(kEmpty, {level})->feature_level(), kFeatureLevels.max);
  level.mutable_feature_level()->set_feature_level(kFeatureLevels.max + 1);
  MetadataImage::Builder next(kEmpty);
  EXPECT_EQ(next.Replay(level).code(), absl::StatusCode::kUnimplemented);
}

TEST(MetadataImage, IsEqualToAnotherWithTheSameContents) {
  const std::vector<MetadataRecord> records = {BrokerRecord(1, 100), TopicRecord(1, "a"),
                                               PartitionRecord(1, 0, 10, {{BrokerId(1), 100}})};
  const Image image = After(kEmpty, records);
  EXPECT_TRUE(*image == *After(kEmpty, records));
  for (const MetadataRecord& change :
       {BrokerRecord(1, 101), RemoveBroker(1), TopicRecord(1, "a", "async"), RemoveTopic(1), TopicRecord(2, "b"),
        PartitionRecord(1, 0, 10), PartitionRecord(1, 1, 11)}) {
    MetadataImage::Builder next(*image);
    ASSERT_TRUE(next.Replay(change).ok());
    EXPECT_FALSE(*image == next.image()) << change.DebugString();
  }
  MetadataImage::Builder later(*image);
  later.SetVersion(image->version() + 1);
  EXPECT_FALSE(*image == later.image());
  EXPECT_FALSE(*image == *After(MetadataImage({.retention_ms = 1}), records));
}

}  // namespace
}  // namespace millrace::server
