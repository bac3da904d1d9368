// Damaged records: those around them are still read, and every reader is told which are lost and where to go on.
#include "tests/server/broker/fixture.h"

namespace millrace {
namespace {

// Four batches of three records; the second (offsets 3 to 6) is damaged.
class Damage : public BrokerTest {
 protected:
  Damage() { CreateTopic("t", 1); }

  void Fill() {
    FrameClient produce(executor_, network_, "Produce");
    for (int i = 0; i < 4; ++i) {
      const std::string n = std::to_string(i);
      Send(produce, "t", 0, BatchOf({n + "a", n + "b", n + "c"}, {}, 1000 + i));
    }
  }

  // In the store: found by its checksum.
  void DamageInStore() {
    Fill();
    disk_.Damage(GroupOf("t", 0), raft::LogIndex(3));
    disk_.DropCache();
  }

  // Stored as it was sent, but nothing that can be decompressed: found by whoever unpacks it.
  void DamageWithin() {
    FrameClient produce(executor_, network_, "Produce");
    for (int i = 0; i < 4; ++i) {
      const std::string n = std::to_string(i);
      absl::Cord batch = BatchOf({n + "a", n + "b", n + "c"}, {}, 1000 + i);
      if (i == 1) {
        auto view = ParseBatch(batch);
        ASSERT_TRUE(view.ok());
        view->header.codec = static_cast<int32_t>(Codec::kZstd);
        view->header.crc32c.reset();
        batch = SerializeBatch(view->header, absl::Cord("this is no zstd frame"));
      }
      ASSERT_TRUE(Send(produce, "t", 0, batch).error.ok());
    }
  }

  CallEnd Read(int64_t offset, v1::ReadResponse* response) {
    v1::ReadRequest read;
    read.set_topic("t");
    read.set_offset(offset);
    return Unary("Broker/Read", read, response);
  }

  void ExpectReadsAround() {
    v1::ReadResponse response;
    ASSERT_TRUE(Read(1, &response).status.ok()) << "records before the damage are good";
    EXPECT_EQ(response.records_size(), 2);
    EXPECT_EQ(response.next_offset(), 3);
    const CallEnd end = Read(4, &response);
    EXPECT_EQ(end.error.code, Error::CORRUPT_MESSAGE);
    EXPECT_EQ(end.error.topic, "t");
    EXPECT_EQ(end.error.partition, 0);
    EXPECT_FALSE(end.error.retriable);
    EXPECT_NE(end.error.message.find("offsets 4 to 6 (exclusive)"), std::string::npos) << end.error.message;
    EXPECT_NE(end.error.message.find("continue at offset 6"), std::string::npos) << end.error.message;
    ASSERT_TRUE(Read(6, &response).status.ok());
    EXPECT_EQ(response.records_size(), 6);
  }

  void ExpectTailGoesOn() {
    FrameClient tail(executor_, network_, "Tail");
    v1::TailRequest request;
    request.set_topic("t");
    request.set_offset(0);
    tail.Send(absl::Cord(request.SerializeAsString()));
    std::vector<std::string> seen;
    for (const absl::Cord& message : tail.messages) {
      v1::ReadResponse response;
      ASSERT_TRUE(response.ParseFromString(std::string(message)));
      for (const auto& record : response.records()) seen.push_back(record.value());
      if (!response.has_gap()) continue;
      EXPECT_EQ(response.gap().reason(), v1::Gap::CORRUPT);
      seen.push_back(std::to_string(response.gap().from()) + "-" + std::to_string(response.gap().to()));
    }
    EXPECT_EQ(seen, (std::vector<std::string>{"0a", "0b", "0c", "3-6", "2a", "2b", "2c", "3a", "3b", "3c"}));
    EXPECT_FALSE(tail.closed);
  }
};

TEST_F(Damage, ReadGoesUpToItAndSaysWhereToGoOn) {
  DamageInStore();
  ExpectReadsAround();
}

TEST_F(Damage, ReadGoesUpToABatchThatCannotBeUnpacked) {
  DamageWithin();
  ExpectReadsAround();
}

TEST_F(Damage, TailTellsAGapAndGoesOn) {
  DamageInStore();
  ExpectTailGoesOn();
}

TEST_F(Damage, TailTellsAGapForABatchThatCannotBeUnpacked) {
  DamageWithin();
  ExpectTailGoesOn();
}

TEST_F(Damage, FetchTellsAGapToThoseWhoChoseSo) {
  DamageInStore();
  FrameClient client(executor_, network_, "Fetch");
  FetchSubscriptionFrame subscription = At(1, "t", 0, 0);
  subscription.out_of_range = static_cast<int32_t>(OutOfRange::kGap);
  client.Send(FetchFrom(subscription));
  EXPECT_EQ(ValuesFetched(client, 1).size(), 9u);
  int gaps = 0;
  for (const FetchPartitionFrame& frame : PartitionsOf(client, 1)) {
    if (!frame.gap) continue;
    ++gaps;
    EXPECT_EQ(frame.gap->from, 3);
    EXPECT_EQ(frame.gap->to, 6);
    EXPECT_EQ(frame.gap->reason, v1::Gap::CORRUPT);
  }
  EXPECT_EQ(gaps, 1);
}

TEST_F(Damage, FetchEndsTheSubscriptionOfTheOthersWithTheRange) {
  DamageInStore();
  FrameClient client(executor_, network_, "Fetch");
  client.Send(FetchFrom(At(1, "t", 0, 0)));
  EXPECT_EQ(ValuesFetched(client, 1).size(), 3u);
  const ErrorFrame error = PartitionsOf(client, 1).back().error;
  EXPECT_EQ(error.code, Error::CORRUPT_MESSAGE);
  EXPECT_EQ(error.topic, "t");
  EXPECT_EQ(error.partition, 0);
  EXPECT_NE(error.message.find("offsets 3 to 6 (exclusive)"), std::string::npos) << error.message;
  EXPECT_NE(error.message.find("continue at offset 6"), std::string::npos) << error.message;
  EXPECT_FALSE(client.closed);
}

TEST_F(Damage, AtTheEndOfTheLogReadersWaitBehindIt) {
  Fill();
  disk_.Damage(GroupOf("t", 0), raft::LogIndex(5));
  disk_.DropCache();
  FrameClient client(executor_, network_, "Fetch");
  FetchSubscriptionFrame subscription = At(1, "t", 0, 10);
  subscription.out_of_range = static_cast<int32_t>(OutOfRange::kGap);
  client.Send(FetchFrom(subscription));
  ASSERT_TRUE(PartitionsOf(client, 1).back().gap);
  EXPECT_EQ(PartitionsOf(client, 1).back().gap->to, 12);
  FrameClient produce(executor_, network_, "Produce");
  Send(produce, "t", 0, BatchOf({"new"}));
  EXPECT_EQ(ValuesFetched(client, 1), std::vector<std::string>{"new"});
}

TEST_F(Damage, WhoseEndIsUnknownALogIsReadAndNothingMore) {
  Fill();
  const raft::GroupId group = GroupOf("t", 0);
  broker_->Crash(FakeLogStore::kKeepUnsynced);
  disk_.DamageEnd(group);
  broker_->Start();
  FrameClient produce(executor_, network_, "Produce");
  const ErrorFrame refused = Send(produce, "t", 0, BatchOf({"new"})).error;
  EXPECT_EQ(refused.code, Error::CORRUPT_MESSAGE);
  EXPECT_FALSE(refused.retriable);
  EXPECT_NE(refused.message.find("Offsets 0 to 9 (exclusive) can be read"), std::string::npos) << refused.message;

  FrameClient client(executor_, network_, "Fetch");
  client.Send(FetchFrom(At(1, "t", 0, 0)));
  EXPECT_EQ(ValuesFetched(client, 1).size(), 9u);
  EXPECT_EQ(PartitionsOf(client, 1).back().error.code, Error::CORRUPT_MESSAGE) << "instead of waiting for ever";
  EXPECT_FALSE(client.closed);
  v1::ReadResponse response;
  EXPECT_TRUE(Read(6, &response).status.ok());
  EXPECT_EQ(response.records_size(), 3);
  EXPECT_EQ(Read(9, &response).error.code, Error::CORRUPT_MESSAGE);

  v1::TrimPartitionRequest trim;
  trim.set_name("t");
  trim.set_before(3);
  v1::TrimPartitionResponse trimmed;
  EXPECT_EQ(Unary("Admin/TrimPartition", trim, &trimmed).error.code, Error::CORRUPT_MESSAGE);
  v1::DeleteTopicRequest remove;
  remove.set_name("t");
  v1::DeleteTopicResponse removed;
  EXPECT_TRUE(Unary("Admin/DeleteTopic", remove, &removed).status.ok());
}

// Tried again it would be as damaged: a producer that retries would wait for its time to run out, and then say only that.
TEST_F(Damage, OfALogThatCannotBeOpenedEndsWhoeverComesToItAndNobodyElse) {
  Fill();
  CreateTopic("whole", 1);
  const raft::GroupId group = GroupOf("t", 0);
  broker_->Crash(FakeLogStore::kKeepUnsynced);
  disk_.DamageWhole(group);
  broker_->Start();
  FrameClient produce(executor_, network_, "Produce");
  const ErrorFrame refused = Send(produce, "t", 0, BatchOf({"new"})).error;
  EXPECT_EQ(refused.code, Error::CORRUPT_MESSAGE);
  EXPECT_FALSE(refused.retriable);
  EXPECT_EQ(refused.topic, "t");
  EXPECT_NE(refused.message.find("the test's log has entries and no segments"), std::string::npos) << refused.message;
  v1::ReadResponse response;
  EXPECT_EQ(Read(0, &response).error.code, Error::CORRUPT_MESSAGE);
  EXPECT_TRUE(Send(produce, "whole", 0, BatchOf({"new"})).error.ok());
}

}  // namespace
}  // namespace millrace
