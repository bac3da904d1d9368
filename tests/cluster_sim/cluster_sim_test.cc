// Goal: three brokers are one cluster to its clients, whatever one of them does.
// Method: the brokers' and the SDK's logic in one thread, on a network, disks and a clock that the test moves.
#include <gtest/gtest.h>

#include "millrace/v1/admin.pb.h"
#include "millrace/v1/broker.pb.h"
#include "tests/cluster_sim/clients.h"
#include "tests/cluster_sim/copies.h"
#include "tests/cluster_sim/world.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const Place kPlace{"t", 0};

class ClusterTest : public ::testing::Test {
 protected:
  ClusterTest() : world_(Swarm{.seed = 1}, coverage_) {
    world_.network.SetTravelTime([](const std::string&, const std::string&) { return milliseconds(1); });
    cluster_ = std::make_unique<SimCluster>(world_.executor, world_.network, SimCluster::Options());
    Await([this] { return cluster_->ready(); });
    operator_ = std::make_unique<SimOperator>(world_, cluster_->addresses());
    operator_->Ask(client::control::kCreateTopic,
                   client::control::CreateTopicRequest({.name = kPlace.topic, .partitions = 1}));
    Await([this] { return LeaderOfTopic() != 0; });
    producer_ = std::make_unique<SimProducer>(world_, 1, cluster_->addresses(), [](const Place&, int64_t) {});
    producer_->Send(kPlace);  // has it ask for the topic
    Await([this] { return world_.ledger.unanswered() == 0; });
    world_.executor.Advance(seconds(1));
  }
  ~ClusterTest() override {
    producer_.reset();
    operator_.reset();
    cluster_.reset();
    EXPECT_EQ(world_.ledger.violation(), "");
  }

  void Await(const std::function<bool()>& done) {
    for (int i = 0; i < 3000 && !done(); ++i) world_.executor.Advance(milliseconds(10));
    ASSERT_TRUE(done());
  }

  raft::GroupId group() {
    const auto image = cluster_->image();
    const auto topic = image->FindTopic(kPlace.topic);
    return topic == nullptr ? raft::GroupId(0) : topic->partitions.front().group;
  }
  int LeaderOfTopic() { return cluster_->LeaderOf(group()); }
  int Follower() { return LeaderOfTopic() % cluster_->size() + 1; }

  void Produce(int records) {
    for (int i = 0; i < records; ++i) producer_->Send(kPlace);
    Await([this] { return world_.ledger.unanswered() == 0; });
  }

  void SetFlush(const std::string& flush) {
    v1::AlterTopicRequest request;
    request.set_name(kPlace.topic);
    (*request.mutable_set())["flush"] = flush;
    v1::AlterTopicResponse response;
    const ErrorFrame error = Ask(LeaderOfTopic(), "/millrace.v1.Admin/AlterTopic", request, &response);
    ASSERT_TRUE(error.ok()) << error.message;
    world_.executor.Advance(seconds(1));
  }

  // What is stored, to somebody who comes now.
  void ExpectAllRead() {
    SimConsumer consumer(world_, "consumer", cluster_->addresses(), {kPlace.topic}, [](const Place&, int64_t) {});
    Await([&] {
      consumer.Poll();
      return consumer.position(kPlace) >= world_.ledger.end(kPlace);
    });
  }

  // Of a call to this very broker.
  template <typename Response, typename Request>
  ErrorFrame Ask(int broker, const std::string& method, const Request& request, Response* response) {
    std::optional<CallReply> reply;
    world_.network.Call(cluster_->broker(broker).address(), method, absl::Cord(request.SerializeAsString()),
                        seconds(10), [&](CallReply r) { reply = std::move(r); });
    for (int i = 0; i < 1100 && !reply; ++i) world_.executor.Advance(milliseconds(10));
    if (!reply) return {.code = v1::Error::REQUEST_TIMED_OUT};
    if (!reply->end.status.ok()) return reply->end.error;
    response->ParseFromString(std::string(reply->message));
    return {};
  }

  void CutOff(int broker) {
    for (int other = 1; other <= cluster_->size(); ++other) {
      if (other == broker) continue;
      world_.network.Cut(cluster_->broker(broker).process().name(), cluster_->broker(other).process().name());
      world_.network.Cut(cluster_->broker(other).process().name(), cluster_->broker(broker).process().name());
    }
  }

  Coverage coverage_;
  World world_;
  std::unique_ptr<SimCluster> cluster_;
  std::unique_ptr<SimOperator> operator_;
  std::unique_ptr<SimProducer> producer_;
};

TEST_F(ClusterTest, WhatWasAckedIsReadAfterTheLeaderDied) {
  Produce(20);
  const int leader = LeaderOfTopic();
  producer_->Send(kPlace);
  cluster_->broker(leader).Crash(FakeLogStore::kLoseUnsynced);
  Produce(20);
  EXPECT_NE(LeaderOfTopic(), leader);
  ExpectAllRead();
  cluster_->broker(leader).Start();
  Await([this] { return cluster_->ready(); });
  Produce(20);
  ExpectAllRead();
}

// The topic is flush=commit by then, and what the replica has lost was acked before.
TEST_F(ClusterTest, WhoMayHaveLostWhatItAckedAbstainsThoughTheTopicSyncsNow) {
  SetFlush("async");
  Produce(5);
  const int leader = LeaderOfTopic(), follower = Follower();
  cluster_->broker(follower).Crash(FakeLogStore::kLoseUnsynced);
  SetFlush("commit");
  cluster_->broker(leader).Crash(FakeLogStore::kKeepUnsynced);
  cluster_->broker(follower).Start();
  Await([&] { return cluster_->CoreOf(follower, group()) != nullptr; });
  EXPECT_TRUE(cluster_->CoreOf(follower, group())->abstaining());
  world_.executor.Advance(seconds(5));
  EXPECT_EQ(LeaderOfTopic(), 0) << "of three, only one counts";
  cluster_->broker(leader).Start();
  Await([this] { return cluster_->ready(); });
  Produce(5);
  Await([&] { return !cluster_->CoreOf(follower, group())->abstaining(); });
  ExpectAllRead();
}

// It knew no topics yet, and said that there are none: producers gave up, consumers ended.
TEST_F(ClusterTest, ABrokerThatStartsDeniesNoTopic) {
  const int broker = Follower();
  cluster_->broker(broker).Crash(FakeLogStore::kKeepUnsynced);
  CutOff(broker);
  cluster_->broker(broker).Start();
  v1::GetMetadataRequest request;
  request.add_topics(kPlace.topic);
  v1::GetMetadataResponse response;
  EXPECT_EQ(Ask(broker, "/millrace.v1.Admin/GetMetadata", request, &response).code, v1::Error::LEADER_NOT_AVAILABLE);
}

// It was replaced and had not heard of it, and told readers that what they had read from the next leader was lost.
TEST_F(ClusterTest, AReplacedLeaderTellsNobodyOfALoss) {
  const int old = LeaderOfTopic();
  CutOff(old);
  cluster_->broker(old).process().Freeze();
  Await([&] { return LeaderOfTopic() != old; });
  Produce(10);
  cluster_->broker(old).process().Thaw();
  v1::ReadRequest request;
  request.set_topic(kPlace.topic);
  request.set_offset(world_.ledger.end(kPlace));
  request.set_routing(v1::ROUTING_LEADER_ONLY);
  v1::ReadResponse response;
  EXPECT_EQ(Ask(old, "/millrace.v1.Broker/Read", request, &response).code, v1::Error::LEADER_NOT_AVAILABLE);
}

// What the simulation says of copies that have become others, though as long as before.
class CopiesTest : public ClusterTest {
 protected:
  CopiesTest() {
    Produce(5);
    Await([this] { return copies_.Lagging().empty(); });
  }

  // The last batch at this broker: another byte in it.
  void Change(int broker) {
    FakeLogStore& disk = cluster_->disk(broker);
    disk.ChangePayload(group(), disk.State(group()).last_index, [](std::string& payload) { payload.back() ^= 1; });
    bool synced = false;
    disk.Sync([&](const absl::Status&) { synced = true; });
    Await([&] { return synced; });
  }
  int64_t LastOffset() { return world_.ledger.end(kPlace) - 1; }

  Copies copies_{world_, *cluster_};
};

TEST_F(CopiesTest, AreEqualAndWithAMajority) {
  EXPECT_EQ(copies_.Unequal(), "");
  EXPECT_EQ(copies_.Missing(kPlace, LastOffset()), "");
}

TEST_F(CopiesTest, AChangedByteIsFound) {
  Change(Follower());
  EXPECT_EQ(copies_.Lagging(), "") << "all are as long";
  EXPECT_NE(copies_.Unequal(), "");
  EXPECT_EQ(copies_.Missing(kPlace, LastOffset()), "") << "two have it";
  EXPECT_EQ(copies_.Missing(kPlace, 0), "");
}

TEST_F(CopiesTest, OneOfThreeIsNoMajorityThoughTheOthersAreAsLong) {
  for (int broker = 1; broker <= cluster_->size(); ++broker) {
    if (broker != LeaderOfTopic()) Change(broker);
  }
  EXPECT_EQ(copies_.Lagging(), "");
  EXPECT_TRUE(copies_.Missing(kPlace, LastOffset()).starts_with("which has 1 of 3 copies; broker "));
}

}  // namespace
}  // namespace millrace::sim
