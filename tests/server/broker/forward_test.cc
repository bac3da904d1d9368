// Goal: a broker that stands still costs nobody else anything: what was asked of it in clients' places ends when it is down, and what
// it does not answer leaves room for the others.
#include "server/forward.h"

#include "tests/server/broker/fixture.h"
#include "tests/support/sim_cluster.h"

namespace millrace {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kBroker = 1;  // that clients reach
constexpr int kFrozen = 2;
constexpr size_t kBatchBytes = 900'000;
constexpr char kTopic[] = "t";

class ForwardTest : public ::testing::Test {
 protected:
  ForwardTest() {
    Await([this] { return cluster_.ready(); });
    v1::CreateTopicRequest request;
    request.set_name(kTopic);
    request.set_partitions(6);
    const Answer created = Ask("Admin/CreateTopic", request);
    Await([&] { return created->has_value(); });
    Await([this] { return PartitionOf(kBroker) >= 0 && PartitionOf(kFrozen) >= 0; });
    at_frozen_ = PartitionOf(kFrozen);
  }
  ~ForwardTest() override { executor_.Advance(seconds(1)); }

  using Answer = std::shared_ptr<std::optional<CallReply>>;

  template <typename Request>
  Answer Ask(const std::string& method, const Request& request) {
    auto answer = std::make_shared<std::optional<CallReply>>();
    network_.Call(cluster_.broker(kBroker).address(), "/millrace.v1." + method, absl::Cord(request.SerializeAsString()),
                  seconds(60), [answer](CallReply reply) { *answer = std::move(reply); });
    executor_.RunUntilIdle();
    return answer;
  }

  FrameClient Open(const std::string& method = "Produce", int broker = kBroker) {
    return {executor_, network_, method, cluster_.broker(broker).address()};
  }

  static absl::Cord Batches(int32_t partition, uint64_t first_id, int count, size_t bytes = kBatchBytes) {
    ProduceRequestFrame request{.acks = static_cast<int32_t>(Acks::kQuorum)};
    for (int i = 0; i < count; ++i) {
      request.batches.push_back({.id = first_id + static_cast<uint64_t>(i),
                                 .topic = kTopic,
                                 .partition = partition,
                                 .batch = BatchOf({std::string(bytes, 'x')})});
    }
    return SerializeProduceRequest(request);
  }

  void Freeze() { cluster_.broker(kFrozen).process().Freeze(); }
  // Until the reachable broker has noticed. Nothing more happens in the same instant.
  void AwaitDown() {
    Await([this] { return !view().IsAlive(raft::BrokerId(kFrozen)); });
  }

  template <typename Condition>
  void Await(Condition holds) {
    for (int i = 0; i < 10'000 && !holds(); ++i) executor_.Advance(milliseconds(10));
    ASSERT_TRUE(holds());
  }

  // Led by that broker, as the reachable one knows; -1: none.
  int32_t PartitionOf(int leader) {
    const auto image = cluster_.broker(kBroker).broker().image();
    const auto topic = image == nullptr ? nullptr : image->FindTopic(kTopic);
    if (topic == nullptr) return -1;
    for (size_t i = 0; i < topic->partitions.size(); ++i) {
      const auto hint = view().LeaderOf(topic->partitions[i].group);
      if (hint && hint->broker == raft::BrokerId(leader)) return static_cast<int32_t>(i);
    }
    return -1;
  }

  bool IsLed(int32_t partition) {
    const auto& partitions = cluster_.image()->FindTopic(kTopic)->partitions;
    return view().LeaderOf(partitions[static_cast<size_t>(partition)].group).has_value();
  }

  const server::ClusterView& view() { return cluster_.broker(kBroker).broker().view(); }
  server::Shard& shard() { return *cluster_.broker(kBroker).broker().shards()[0]; }

  SimExecutor executor_;
  SimNetwork network_{executor_};
  SimCluster cluster_{executor_, network_, {.brokers = 3}};
  int32_t at_frozen_ = -1;
};

TEST_F(ForwardTest, BatchesForABrokerEndWhenItIsDown) {
  Freeze();
  FrameClient client = Open();
  client.Send(Batches(at_frozen_, 1, 5));
  executor_.Advance(milliseconds(200));
  EXPECT_TRUE(client.messages.empty());
  EXPECT_GT(shard().produce_budget.bytes(), 5 * static_cast<int64_t>(kBatchBytes));
  AwaitDown();
  const auto acks = AcksOf(client);
  ASSERT_EQ(acks.size(), 5u);
  for (const ProduceAckFrame& ack : acks) {
    EXPECT_EQ(ack.error.code, Error::LEADER_NOT_AVAILABLE) << ack.error.message;
    EXPECT_TRUE(ack.error.retriable);
    EXPECT_TRUE(ack.error.may_have_happened);
  }
  EXPECT_EQ(shard().produce_budget.bytes(), 0);
}

TEST_F(ForwardTest, BatchesGoToWhoLeadsNext) {
  Freeze();
  AwaitDown();
  Await([this] { return IsLed(at_frozen_); });
  FrameClient client = Open();
  client.Send(Batches(at_frozen_, 1, 1));
  executor_.Advance(milliseconds(50));
  const auto acks = AcksOf(client);
  ASSERT_EQ(acks.size(), 1u);
  EXPECT_TRUE(acks[0].error.ok()) << acks[0].error.message;
}

TEST_F(ForwardTest, CallsForABrokerEndWhenItIsDown) {
  Freeze();
  v1::ReadRequest read;
  read.set_topic(kTopic);
  read.set_partition(at_frozen_);
  v1::ListOffsetsRequest list;
  list.add_queries()->set_topic(kTopic);
  list.mutable_queries(0)->set_partition(at_frozen_);
  v1::AppendRequest append;
  append.set_topic(kTopic);
  append.set_partition(at_frozen_);
  append.add_records()->set_value("value");
  const Answer was_read = Ask("Broker/Read", read), was_listed = Ask("Broker/ListOffsets", list),
               was_appended = Ask("Broker/Append", append);
  executor_.Advance(milliseconds(200));
  for (const Answer& answer : {was_read, was_listed, was_appended}) EXPECT_FALSE(answer->has_value());
  AwaitDown();
  for (const Answer& answer : {was_read, was_listed, was_appended}) ASSERT_TRUE(answer->has_value());
  EXPECT_EQ((*was_read)->end.error.code, Error::LEADER_NOT_AVAILABLE);
  EXPECT_FALSE((*was_read)->end.error.may_have_happened);
  EXPECT_EQ((*was_appended)->end.error.code, Error::LEADER_NOT_AVAILABLE);
  EXPECT_TRUE((*was_appended)->end.error.may_have_happened);
  v1::ListOffsetsResponse offsets;
  ASSERT_TRUE(offsets.ParseFromString(std::string((*was_listed)->message)));
  EXPECT_EQ(offsets.results(0).error().code(), v1::Error::LEADER_NOT_AVAILABLE);
}

TEST_F(ForwardTest, ABrokerThatAnswersNothingLeavesRoomForTheOthers) {
  Freeze();
  std::vector<std::unique_ptr<FrameClient>> clients;
  for (int64_t sent = 0; sent < 2 * shard().produce_budget.bytes_max(); sent += kBatchBytes) {
    clients.push_back(
        std::make_unique<FrameClient>(executor_, network_, "Produce", cluster_.broker(kBroker).address()));
    clients.back()->Send(Batches(at_frozen_, 1, 1));
  }
  EXPECT_FALSE(shard().produce_budget.exhausted());
  const auto refused = AcksOf(*clients.back());
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].error.code, Error::LEADER_NOT_AVAILABLE) << refused[0].error.message;
  EXPECT_TRUE(refused[0].error.retriable);
  EXPECT_FALSE(refused[0].error.may_have_happened);
  FrameClient other = Open();
  other.Send(Batches(PartitionOf(kBroker), 1, 1));
  executor_.Advance(milliseconds(50));
  ASSERT_EQ(AcksOf(other).size(), 1u);
  EXPECT_TRUE(AcksOf(other)[0].error.ok());
}

TEST_F(ForwardTest, WhoSendsToABrokerThatAnswersNothingIsHeldBack) {
  Freeze();
  FrameClient client = Open();
  uint64_t sent = 0;
  while (client.written == static_cast<int>(sent) && sent < 100) client.Send(Batches(at_frozen_, ++sent, 1));
  EXPECT_LT(static_cast<int64_t>(sent * kBatchBytes), shard().produce_budget.bytes_max() / 2);
  EXPECT_TRUE(client.messages.empty()) << "nothing is refused to who is held back";
  AwaitDown();
  executor_.Advance(seconds(1));
  EXPECT_EQ(AcksOf(client).size(), sent) << "the others are read then";
}

TEST_F(ForwardTest, AReaderAtTheEndGetsWhatIsAppendedOverTheNetworkOnce) {
  FrameClient producer = Open("Produce", kFrozen);  // which leads it, and does not stand still here
  const auto send = [&] {
    const int64_t before = network_.bytes();
    producer.Send(Batches(at_frozen_, 1, 1));
    executor_.Advance(seconds(1));
    return network_.bytes() - before;
  };
  const int64_t unread = send();
  FrameClient reader = Open("Fetch");
  FetchRequestFrame request{.credit = 1 << 30};
  FetchSubscriptionFrame& subscription = request.subscribe.emplace_back();
  subscription.id = 1;
  subscription.topic = kTopic;
  subscription.partition = at_frozen_;
  subscription.position = FetchSubscriptionFrame::Position::kOffset;
  subscription.position_value = 1;
  reader.Send(SerializeFetchRequest(request));
  executor_.Advance(milliseconds(100));
  const int64_t read = send() - unread;
  EXPECT_EQ(producer.messages.size(), 2u);
  EXPECT_NEAR(static_cast<double>(read), 2.0 * kBatchBytes, 100'000)
      << "from the leader to the broker, on to the reader";
}

// So that the next request can go there.
class AnswersTest : public ForwardTest {
 protected:
  LeaderHintFrame Leader() { return server::FrameOf(*view().LeaderOf(GroupOf(at_frozen_))); }

  raft::GroupId GroupOf(int32_t partition) {
    return cluster_.image()->FindTopic(kTopic)->partitions[static_cast<size_t>(partition)].group;
  }

  template <typename Response>
  static std::optional<LeaderHintFrame> HintOf(const Answer& answer) {
    Response response;
    EXPECT_TRUE(answer->has_value() && (*answer)->end.status.ok());
    EXPECT_TRUE(response.ParseFromString(std::string((*answer)->message)));
    return HintIn(response);
  }
  template <typename Message>
  static std::optional<LeaderHintFrame> HintIn(const Message& message) {
    if (!message.has_leader()) return std::nullopt;
    return LeaderHintFrame{message.leader().broker_id(), message.leader().address(), message.leader().leader_epoch()};
  }

  Answer AppendTo(int32_t partition) {
    v1::AppendRequest append;
    append.set_topic(kTopic);
    append.set_partition(partition);
    append.add_records()->set_value("value");
    const Answer answer = Ask("Broker/Append", append);
    Await([&] { return answer->has_value(); });
    return answer;
  }

  std::optional<LeaderHintFrame> HintOfProduce(int32_t partition) {
    FrameClient client = Open();
    client.Send(Batches(partition, 1, 1, 10));
    Await([&] { return !client.messages.empty(); });
    return AcksOf(client).at(0).leader;
  }

  static absl::Cord Subscribe(int32_t partition, int32_t routing = 0) {
    FetchRequestFrame request{.credit = 1 << 20};
    request.subscribe = {{.id = 1, .topic = kTopic, .partition = partition, .routing = routing}};
    return SerializeFetchRequest(request);
  }

  static std::vector<FetchPartitionFrame> FramesOf(const FrameClient& client) {
    std::vector<FetchPartitionFrame> frames;
    for (const absl::Cord& message : client.messages) {
      auto response = ParseFetchResponse(message);
      for (FetchPartitionFrame& frame : response->partitions) frames.push_back(std::move(frame));
    }
    return frames;
  }
};

TEST_F(AnswersTest, SayWhoseTheyAre) {
  EXPECT_EQ(HintOfProduce(at_frozen_), Leader());
  EXPECT_EQ(HintOf<v1::AppendResponse>(AppendTo(at_frozen_)), Leader());
  v1::ReadRequest read;
  read.set_topic(kTopic);
  read.set_partition(at_frozen_);
  v1::ListOffsetsRequest list;
  list.add_queries()->set_topic(kTopic);
  list.mutable_queries(0)->set_partition(at_frozen_);
  v1::TrimPartitionRequest trim;
  trim.set_name(kTopic);
  trim.set_partition(at_frozen_);
  const Answer was_read = Ask("Broker/Read", read), was_listed = Ask("Broker/ListOffsets", list),
               was_trimmed = Ask("Admin/TrimPartition", trim);
  Await([&] { return was_read->has_value() && was_listed->has_value() && was_trimmed->has_value(); });
  EXPECT_EQ(HintOf<v1::ReadResponse>(was_read), Leader());
  EXPECT_EQ(HintOf<v1::TrimPartitionResponse>(was_trimmed), Leader());
  v1::ListOffsetsResponse offsets;
  ASSERT_TRUE(offsets.ParseFromString(std::string((*was_listed)->message)));
  EXPECT_EQ(HintIn(offsets.results(0)), Leader());
}

TEST_F(AnswersTest, OfTheLeaderItselfSayNothing) {
  const int32_t own = PartitionOf(kBroker);
  EXPECT_EQ(HintOfProduce(own), std::nullopt);
  EXPECT_EQ(HintOf<v1::AppendResponse>(AppendTo(own)), std::nullopt);
  FrameClient reader = Open("Fetch");
  reader.Send(Subscribe(own));
  Await([&] { return !reader.messages.empty(); });
  for (const FetchPartitionFrame& frame : FramesOf(reader)) EXPECT_EQ(frame.leader, std::nullopt);
}

TEST_F(AnswersTest, OnAFetchStreamSayItOnceForEachLeader) {
  FrameClient reader = Open("Fetch");
  reader.Send(Subscribe(at_frozen_));
  Await([&] { return !reader.messages.empty(); });
  EXPECT_EQ(FramesOf(reader).front().leader, Leader());
  EXPECT_EQ(HintOf<v1::AppendResponse>(AppendTo(at_frozen_)), Leader());
  const auto hints = [&] {
    std::vector<LeaderHintFrame> hints;
    for (const FetchPartitionFrame& frame : FramesOf(reader)) {
      if (frame.leader) hints.push_back(*frame.leader);
    }
    return hints;
  };
  executor_.Advance(seconds(1));
  EXPECT_EQ(hints().size(), 1u);
  Freeze();
  AwaitDown();
  Await([this] { return IsLed(at_frozen_); });
  (void)AppendTo(at_frozen_);
  executor_.Advance(seconds(3));
  if (Leader().broker_id == kBroker) {
    EXPECT_EQ(hints().size(), 1u);
  } else {
    ASSERT_EQ(hints().size(), 2u);
    EXPECT_EQ(hints().back(), Leader());
  }
}

TEST_F(AnswersTest, AreNotGivenToWhoAsksForAnUnknownRouting) {
  constexpr int32_t kUnknown = 7;
  FrameClient producer = Open();
  ProduceRequestFrame request{.routing = kUnknown};
  request.batches.push_back({.id = 1, .topic = kTopic, .partition = at_frozen_, .batch = BatchOf({"x"})});
  producer.Send(SerializeProduceRequest(request));
  FrameClient reader = Open("Fetch");
  reader.Send(Subscribe(at_frozen_, kUnknown));
  v1::ReadRequest read;
  read.set_topic(kTopic);
  read.set_routing(static_cast<v1::Routing>(kUnknown));
  v1::ListOffsetsRequest list;
  list.set_routing(static_cast<v1::Routing>(kUnknown));
  v1::AppendRequest append;
  append.set_topic(kTopic);
  append.add_records()->set_value("value");
  append.set_routing(static_cast<v1::Routing>(kUnknown));
  const Answer answers[] = {Ask("Broker/Read", read), Ask("Broker/ListOffsets", list), Ask("Broker/Append", append)};
  executor_.Advance(seconds(1));
  ASSERT_EQ(AcksOf(producer).size(), 1u);
  EXPECT_EQ(AcksOf(producer)[0].error.code, Error::INVALID_REQUEST);
  ASSERT_EQ(FramesOf(reader).size(), 1u);
  EXPECT_EQ(FramesOf(reader)[0].error.code, Error::INVALID_REQUEST);
  for (const Answer& answer : answers) {
    ASSERT_TRUE(answer->has_value());
    EXPECT_EQ((*answer)->end.error.code, Error::INVALID_REQUEST);
  }
}

// What one message may hold is bounded where it arrives.
class WrittenMessages : public ClientTransport {
 public:
  class Written : public Stream {
   public:
    explicit Written(WrittenMessages& owner) : owner_(owner) {}
    void Read() override {}
    void Write(absl::Cord message) override { owner_.messages.push_back(std::move(message)); }
    void Finish(CallEnd) override {}

   private:
    WrittenMessages& owner_;
  };

  std::unique_ptr<Stream> OpenStream(const std::string&, const std::string&, StreamHandler* h) override {
    handler = h;
    return std::make_unique<Written>(*this);
  }
  void Call(const std::string&, const std::string&, absl::Cord, std::chrono::nanoseconds,
            std::function<void(CallReply)>) override {}

  StreamHandler* handler = nullptr;
  std::vector<absl::Cord> messages;
};

TEST(ForwardStreamTest, WhatWaitedLeavesInMessagesOfBoundedSize) {
  SimExecutor executor;
  WrittenMessages transport;
  server::ForwardStream stream(transport, executor, "broker:9470");
  for (int i = 0; i < 10; ++i) {
    stream.Append({.topic = kTopic, .batch = absl::Cord(std::string(400'000, 'x'))}, Acks::kQuorum, 400'000,
                  [](const server::AppendOutcome&) {});
  }
  executor.RunUntilIdle();
  std::vector<uint64_t> ids;
  for (size_t next = 0; next < transport.messages.size(); ++next) {
    EXPECT_LT(transport.messages[next].size(), size_t{2} << 20);
    const auto request = ParseProduceRequest(transport.messages[next]);
    for (const PartitionBatchFrame& batch : request->batches) ids.push_back(batch.id);
    transport.handler->OnWritten();
  }
  EXPECT_EQ(ids, (std::vector<uint64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(stream.bytes(), 4'000'000);
}

}  // namespace
}  // namespace millrace
