// Goal: while the store takes no writes, what was sent waits in its order, streams of producers are not read, and everybody else is
// served; afterwards nothing is lost or twice.
// Method: the fake store stalls when the test says so.
#include <gmock/gmock.h>

#include <optional>

#include "tests/server/broker/fixture.h"

namespace millrace {
namespace {

using std::chrono::milliseconds;

class Stall : public BrokerTest {
 protected:
  Stall() {
    CreateTopic("t", 2);
    CreateTopic("fast", 1, {{"flush", "async"}});
  }
  ~Stall() override { disk_.EndStall(); }

  void Produce(FrameClient& client, const std::string& topic, int32_t partition, const std::string& value) {
    ProduceRequestFrame request;
    request.batches.push_back({++last_id_, topic, partition, 0, 0, BatchOf({value})});
    client.Send(SerializeProduceRequest(request));
    executor_.Advance(milliseconds(5));
  }
  std::vector<std::string> Stored(const std::string& topic, int32_t partition) {
    FrameClient fetch(executor_, network_, "Fetch");
    fetch.Send(FetchFrom(At(1, topic, partition, 0)));
    executor_.Advance(milliseconds(5));
    return ValuesFetched(fetch, 1);
  }
  void EndStall() {
    disk_.EndStall();
    executor_.Advance(milliseconds(20));
  }
  // A call that is not waited for.
  template <typename Request>
  std::shared_ptr<std::optional<CallReply>> Begin(const std::string& method, const Request& request) {
    auto reply = std::make_shared<std::optional<CallReply>>();
    network_.Call("broker:9470", "/millrace.v1." + method, absl::Cord(request.SerializeAsString()),
                  std::chrono::seconds(10), [reply](CallReply r) { *reply = std::move(r); });
    executor_.Advance(milliseconds(20));
    return reply;
  }
  bool Succeeded(const std::shared_ptr<std::optional<CallReply>>& reply) {
    return reply->has_value() && (*reply)->end.status.ok();
  }

  FrameClient client_{executor_, network_, "Produce"};
};

TEST_F(Stall, AcksComeAfterItInOrder) {
  Produce(client_, "t", 0, "before");
  disk_.Stall();
  FrameClient other(executor_, network_, "Produce");
  FrameClient third(executor_, network_, "Produce");
  Produce(client_, "t", 0, "first");
  Produce(other, "t", 0, "second");
  Produce(third, "fast", 0, "third");
  EXPECT_EQ(AcksOf(client_).size(), 1u);
  EXPECT_TRUE(AcksOf(other).empty());
  EXPECT_TRUE(AcksOf(third).empty()) << "a write that did not happen is not acked by flush=async either";
  EndStall();
  ASSERT_EQ(AcksOf(client_).size(), 2u);
  EXPECT_EQ(AcksOf(client_)[1].base_offset, 1);
  ASSERT_EQ(AcksOf(other).size(), 1u);
  EXPECT_EQ(AcksOf(other)[0].base_offset, 2);
  EXPECT_EQ(AcksOf(third).size(), 1u);
  EXPECT_EQ(Stored("t", 0), (std::vector<std::string>{"before", "first", "second"}));
  EXPECT_GT(metrics().stall_seconds.Sum(), 0u);
}

TEST_F(Stall, ProduceStreamsAreNotRead) {
  disk_.Stall();
  for (int i = 0; i < 50; ++i) Produce(client_, "t", 0, std::to_string(i));
  EXPECT_LT(client_.written, 10) << "what only piles up was taken";
  EndStall();
  executor_.Advance(milliseconds(500));
  ASSERT_EQ(AcksOf(client_).size(), 50u);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(AcksOf(client_)[i].base_offset, i);
  EXPECT_EQ(metrics().produce_queue_bytes.Value(), 0);
}

TEST_F(Stall, ReadersAndMetadataAreServed) {
  Produce(client_, "t", 0, "a");
  disk_.Stall();
  Produce(client_, "t", 0, "b");
  EXPECT_EQ(Stored("t", 0), std::vector<std::string>{"a"});
  disk_.DropCache();
  EXPECT_EQ(Stored("t", 0), std::vector<std::string>{"a"}) << "from the disk";
  v1::ListTopicsResponse topics;
  EXPECT_TRUE(Unary("Admin/ListTopics", v1::ListTopicsRequest(), &topics).status.ok());
  EXPECT_EQ(topics.topics_size(), 2);
}

TEST_F(Stall, AnotherOneRightAfterIt) {
  disk_.Stall();
  Produce(client_, "t", 0, "a");
  disk_.EndStall();
  disk_.Stall();  // before anybody could write
  executor_.Advance(milliseconds(20));
  EXPECT_TRUE(AcksOf(client_).empty());
  EndStall();
  EXPECT_EQ(AcksOf(client_).size(), 1u);
}

TEST_F(Stall, TrimsAndTopicChangesWait) {
  Produce(client_, "t", 0, "a");
  Produce(client_, "t", 0, "b");
  disk_.Stall();
  v1::TrimPartitionRequest trim;
  trim.set_name("t");
  trim.set_before(1);
  const auto trimmed = Begin("Admin/TrimPartition", trim);
  v1::CreateTopicRequest create;
  create.set_name("new");
  create.set_partitions(3);
  const auto created = Begin("Admin/CreateTopic", create);
  v1::AddPartitionsRequest add;
  add.set_name("fast");
  add.set_partitions(2);
  const auto added = Begin("Admin/AddPartitions", add);
  EXPECT_FALSE(trimmed->has_value());
  EXPECT_FALSE(created->has_value());
  EXPECT_FALSE(added->has_value());
  EndStall();
  EXPECT_TRUE(Succeeded(trimmed));
  EXPECT_TRUE(Succeeded(created));
  EXPECT_TRUE(Succeeded(added));
  EXPECT_EQ(Stored("t", 0).size(), 0u) << "the position before the start is an error";
  Produce(client_, "new", 2, "in the new topic");
  Produce(client_, "fast", 1, "in the new partition");
  EXPECT_EQ(Stored("new", 2).size(), 1u);
  EXPECT_EQ(Stored("fast", 1).size(), 1u);
}

TEST_F(Stall, ADeletedTopicsLogsGoAfterItWithWhatWasStagedForThem) {
  const raft::GroupId group = GroupOf("t", 0);
  disk_.Stall();
  Produce(client_, "t", 0, "too late");
  v1::DeleteTopicRequest request;
  request.set_name("t");
  const auto deleted = Begin("Admin/DeleteTopic", request);
  EXPECT_FALSE(deleted->has_value());
  EndStall();
  EXPECT_TRUE(Succeeded(deleted));
  ASSERT_EQ(AcksOf(client_).size(), 1u) << "written before the topic was deleted";
  EXPECT_THAT(disk_.List().value(), testing::Not(testing::Contains(group)));
}

TEST_F(Stall, LogsThatCouldNotBeRemovedAtOnceAreRemovedAfterIt) {
  const raft::GroupId group = GroupOf("t", 0);
  v1::DeleteTopicRequest request;
  request.set_name("t");
  auto reply = std::make_shared<bool>(false);
  network_.Call("broker:9470", "/millrace.v1.Admin/DeleteTopic", absl::Cord(request.SerializeAsString()),
                std::chrono::seconds(10), [this, reply](CallReply r) {
                  EXPECT_TRUE(r.end.status.ok());
                  *reply = true;
                });
  while (broker_->broker().image()->FindTopic("t") != nullptr) executor_.Advance(milliseconds(1));
  disk_.Stall();
  executor_.Advance(milliseconds(20));
  EndStall();
  EXPECT_TRUE(*reply);
  EXPECT_THAT(disk_.List().value(), testing::Not(testing::Contains(group)));
}

TEST_F(Stall, AStoppingBrokerWaitsForItsEnd) {
  disk_.Stall();
  Produce(client_, "t", 0, "a");
  bool saved = false;
  broker_->broker().SavePartitions([&] { saved = true; });
  executor_.Advance(milliseconds(20));
  EXPECT_FALSE(saved);
  EndStall();
  EXPECT_TRUE(saved);
  EXPECT_EQ(AcksOf(client_).size(), 1u);
}

TEST_F(Stall, ItsEndFindsNobodyWhenTheBrokerIsGone) {
  disk_.Stall();
  Produce(client_, "t", 0, "never acked");
  broker_.reset();
  EndStall();
  EXPECT_TRUE(AcksOf(client_).empty());
}

TEST_F(Stall, ACrashDuringItLosesNothingThatWasAcked) {
  Produce(client_, "t", 0, "acked");
  disk_.Stall();
  Produce(client_, "t", 0, "not acked");
  broker_->Crash(FakeLogStore::kKeepUnsynced);
  broker_->Start();
  EXPECT_EQ(Stored("t", 0), std::vector<std::string>{"acked"});
}

}  // namespace
}  // namespace millrace
