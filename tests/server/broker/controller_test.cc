#include <set>

#include "millrace/internal/v1/metadata.pb.h"
#include "server/log.h"
#include "tests/server/broker/fixture.h"

namespace millrace {
namespace {

class ControllerTest : public BrokerTest {
 protected:
  CallEnd Create(const std::string& name, int32_t partitions, int32_t replicas = 0,
                 std::map<std::string, std::string> config = {}, bool if_not_exists = false) {
    v1::CreateTopicRequest request;
    request.set_name(name);
    request.set_partitions(partitions);
    request.set_replication_factor(replicas);
    request.set_if_not_exists(if_not_exists);
    for (const auto& [key, value] : config) (*request.mutable_config())[key] = value;
    return Unary("Admin/CreateTopic", request, &created_);
  }

  v1::DescribeTopicResponse Describe(const std::string& name) {
    v1::DescribeTopicRequest request;
    request.set_name(name);
    v1::DescribeTopicResponse response;
    EXPECT_TRUE(Unary("Admin/DescribeTopic", request, &response).status.ok());
    return response;
  }

  v1::CreateTopicResponse created_;
};

TEST_F(ControllerTest, BadTopicsAreRefusedAndChangeNothing) {
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("a b"),
        std::string("\xc3\xa4"), std::string("__x"), std::string(250, 'a')}) {
    EXPECT_EQ(Create(name, 1).error.code, Error::INVALID_TOPIC_EXCEPTION) << name;
  }
  EXPECT_EQ(Create("t", -1).error.code, Error::INVALID_PARTITIONS);
  EXPECT_EQ(Create("t", 100'001).error.code, Error::INVALID_PARTITIONS);
  EXPECT_EQ(Create("t", 1, 3).error.code, Error::INVALID_REPLICATION_FACTOR);
  EXPECT_EQ(Create("t", 1, 0, {{"retention.mss", "5"}}).error.code, Error::INVALID_CONFIG);
  EXPECT_EQ(Create("t", 1, 0, {{"min.insync.replicas", "2"}}).error.code, Error::INVALID_CONFIG);
  v1::ListTopicsResponse topics;
  ASSERT_TRUE(Unary("Admin/ListTopics", v1::ListTopicsRequest(), &topics).status.ok());
  EXPECT_EQ(topics.topics_size(), 0);
  EXPECT_TRUE(Create(std::string(249, 'a'), 1).status.ok());
}

TEST_F(ControllerTest, CreatingTwice) {
  ASSERT_TRUE(Create("t", 3).status.ok());
  const uint64_t id = created_.topic_id();
  EXPECT_EQ(Create("t", 3).error.code, Error::TOPIC_ALREADY_EXISTS);
  ASSERT_TRUE(Create("t", 5, 0, {}, true).status.ok());
  EXPECT_EQ(created_.topic_id(), id);
  EXPECT_EQ(created_.partitions(), 3);
  EXPECT_FALSE(created_.created());
}

TEST_F(ControllerTest, TopicsAndSettingsSurviveAPowerCut) {
  ASSERT_TRUE(Create("t", 3, 0, {{"retention.ms", "1000000"}}).status.ok());
  v1::AlterTopicRequest alter;
  alter.set_name("t");
  (*alter.mutable_set())["flush"] = "async";
  v1::AlterTopicResponse altered;
  ASSERT_TRUE(Unary("Admin/AlterTopic", alter, &altered).status.ok());
  broker_->Crash(FakeLogStore::kLoseUnsynced);
  broker_->Start();
  const v1::DescribeTopicResponse topic = Describe("t");
  EXPECT_EQ(topic.partitions_size(), 3);
  EXPECT_EQ(topic.config().at("retention.ms"), "1000000");
  EXPECT_EQ(topic.config().at("flush"), "async");
  EXPECT_EQ(topic.overrides_size(), 2);
}

TEST_F(ControllerTest, AlteringIsAllOrNothing) {
  ASSERT_TRUE(Create("t", 1, 0, {{"flush", "async"}}).status.ok());
  v1::AlterTopicRequest alter;
  alter.set_name("t");
  (*alter.mutable_set())["retention.ms"] = "5000";
  (*alter.mutable_set())["max.message.bytes"] = "-3";
  v1::AlterTopicResponse altered;
  EXPECT_EQ(Unary("Admin/AlterTopic", alter, &altered).error.code, Error::INVALID_CONFIG);
  EXPECT_NE(Describe("t").config().at("retention.ms"), "5000");
  alter.clear_set();
  (*alter.mutable_set())["flush"] = "async";
  alter.add_unset("flush");
  const CallEnd both = Unary("Admin/AlterTopic", alter, &altered);
  EXPECT_EQ(both.error.code, Error::INVALID_CONFIG);
  EXPECT_EQ(both.error.message, "flush is both set and unset");
  EXPECT_EQ(Describe("t").config().at("flush"), "async");
  alter.clear_set();
  ASSERT_TRUE(Unary("Admin/AlterTopic", alter, &altered).status.ok());
  EXPECT_EQ(Describe("t").config().at("flush"), "commit");
  alter.set_unset(0, "flash");
  EXPECT_EQ(Unary("Admin/AlterTopic", alter, &altered).error.code, Error::INVALID_CONFIG);
}

TEST_F(ControllerTest, WhatChangesOrDeletesRecordsIsLogged) {
  ASSERT_TRUE(Create("t", 1, 0, {{"retention.bytes", "1000"}}).status.ok());
  FrameClient produce(executor_, network_, "Produce");
  Send(produce, "t", 0, BatchOf({"a", "b"}));
  std::string lines;
  log::SetSink([&lines](std::string_view line) { lines += line; });
  v1::AlterTopicRequest alter;
  alter.set_name("t");
  (*alter.mutable_set())["retention.bytes"] = "2000";
  v1::AlterTopicResponse altered;
  EXPECT_TRUE(Unary("Admin/AlterTopic", alter, &altered).status.ok());
  Trim("t", 1);
  log::SetSink(nullptr);
  EXPECT_NE(lines.find("settings=\"retention.bytes: 1000 to 2000\""), std::string::npos) << lines;
  EXPECT_NE(lines.find("msg=\"partition trimmed\" topic=t partition=0 log_start=1"), std::string::npos) << lines;
}

TEST_F(ControllerTest, PartitionsAreOnlyAdded) {
  ASSERT_TRUE(Create("t", 2).status.ok());
  FrameClient produce(executor_, network_, "Produce");
  Send(produce, "t", 1, BatchOf({"a"}));
  v1::AddPartitionsRequest add;
  add.set_name("t");
  v1::AddPartitionsResponse added;
  for (int32_t bad : {-1, 0, 1, 2, 200'000}) {
    add.set_partitions(bad);
    EXPECT_EQ(Unary("Admin/AddPartitions", add, &added).error.code, Error::INVALID_PARTITIONS);
  }
  add.set_partitions(5);
  ASSERT_TRUE(Unary("Admin/AddPartitions", add, &added).status.ok());
  EXPECT_EQ(Describe("t").partitions_size(), 5);
  EXPECT_EQ(Send(produce, "t", 4, BatchOf({"a"})).base_offset, 0);
  EXPECT_EQ(Send(produce, "t", 1, BatchOf({"a"})).base_offset, 1) << "what was there is kept";
}

TEST_F(ControllerTest, ATopicMadeAnewIsEmptyAndHasAnotherId) {
  ASSERT_TRUE(Create("t", 1).status.ok());
  const uint64_t id = created_.topic_id();
  FrameClient produce(executor_, network_, "Produce");
  Send(produce, "t", 0, BatchOf({"old"}));
  v1::DeleteTopicRequest remove;
  remove.set_name("t");
  v1::DeleteTopicResponse removed;
  ASSERT_TRUE(Unary("Admin/DeleteTopic", remove, &removed).status.ok());
  EXPECT_EQ(Send(produce, "t", 0, BatchOf({"x"})).error.code, Error::UNKNOWN_TOPIC_OR_PARTITION);
  EXPECT_EQ(Unary("Admin/DeleteTopic", remove, &removed).error.code, Error::UNKNOWN_TOPIC_OR_PARTITION);
  ASSERT_TRUE(Create("t", 1).status.ok());
  EXPECT_NE(created_.topic_id(), id);
  EXPECT_EQ(Send(produce, "t", 0, BatchOf({"new"})).base_offset, 0);
}

TEST_F(ControllerTest, ADeletedTopicsLogsAreGoneAfterARestartToo) {
  ASSERT_TRUE(Create("t", 4).status.ok());
  v1::DeleteTopicRequest remove;
  remove.set_name("t");
  v1::DeleteTopicResponse removed;
  ASSERT_TRUE(Unary("Admin/DeleteTopic", remove, &removed).status.ok());
  executor_.Advance(std::chrono::milliseconds(5));
  EXPECT_EQ(disk_.List()->size(), 1u) << "only the metadata log is left";
}

using ControllerDeathTest = ControllerTest;

// A partition of another group would have its own log removed as nobody's.
TEST_F(ControllerDeathTest, AFlippedBitInTheMetadataIsFoundBeforeAnythingRestsOnIt) {
  ASSERT_TRUE(Create("t", 1).status.ok());
  broker_->Crash(FakeLogStore::kKeepUnsynced);
  disk_.ChangePayload(server::kMetadataGroup, raft::LogIndex(4), [](std::string& payload) {
    internal::v1::MetadataRecords records;
    ASSERT_TRUE(records.ParseFromString(payload));
    auto& partition = *records.mutable_records(1)->mutable_partition();
    partition.set_group_id(partition.group_id() ^ 4);
    payload = records.SerializeAsString();
  });
  EXPECT_DEATH(broker_->Start(), "entry 4 of the metadata log is damaged");
}

TEST_F(ControllerTest, ProducerIdsAreNeverGivenTwice) {
  std::set<int64_t> seen;
  v1::InitProducerResponse response;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(Unary("Broker/InitProducer", v1::InitProducerRequest(), &response).status.ok());
      EXPECT_GT(response.producer_id(), 0);
      EXPECT_TRUE(seen.insert(response.producer_id()).second);
    }
    broker_->Crash(FakeLogStore::kLoseUnsynced);
    broker_->Start();
  }
}

TEST_F(ControllerTest, AThousandPartitionsTakeASyncForEachTurnOfTheirStart) {
  const uint64_t syncs = disk_.syncs();
  ASSERT_TRUE(Create("wide", 1000).status.ok());
  EXPECT_LE(disk_.syncs() - syncs, 1000 / server::StartQueue::kStartsPerTurn + 3u);
  EXPECT_EQ(Describe("wide").partitions_size(), 1000);
}

TEST_F(ControllerTest, MetadataNamesWhatIsMissing) {
  ASSERT_TRUE(Create("t", 2).status.ok());
  v1::GetMetadataRequest request;
  request.add_topics("t");
  request.add_topics("missing");
  v1::GetMetadataResponse response;
  ASSERT_TRUE(Unary("Admin/GetMetadata", request, &response).status.ok());
  EXPECT_EQ(response.brokers(0).address(), "broker:9470");
  EXPECT_EQ(response.topics(0).partitions_size(), 2);
  EXPECT_EQ(response.topics(0).partitioner(), 1);
  EXPECT_EQ(response.topics(1).error().code(), Error::UNKNOWN_TOPIC_OR_PARTITION);
}

}  // namespace
}  // namespace millrace
