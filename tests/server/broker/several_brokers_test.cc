// Goal: what brokers of a cluster say and decide of those that are away.
// Method: whole brokers in one thread (sim_cluster.h), and one that only its registration tells of.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/v1/admin.pb.h"
#include "server/log.h"
#include "tests/support/sim_cluster.h"

namespace millrace {
namespace {

using raft::BrokerId;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class SeveralBrokers : public ::testing::Test {
 protected:
  SeveralBrokers() {
    log::SetSink([this](std::string_view line) { lines_.emplace_back(line); });
  }
  ~SeveralBrokers() override {
    joined_.reset();
    cluster_.reset();
    log::SetSink(nullptr);
  }

  void Begin(int brokers) {
    cluster_ = std::make_unique<SimCluster>(executor_, network_, SimCluster::Options{.brokers = brokers});
  }
  void Await(const std::function<bool()>& done) {
    for (int i = 0; i < 3000 && !done(); ++i) executor_.Advance(milliseconds(10));
    ASSERT_TRUE(done());
  }
  void AwaitReady() {
    Await([this] { return cluster_->ready(); });
  }

  template <typename Request, typename Response>
  void Ask(int broker, const std::string& method, const Request& request, Response* response) {
    std::optional<CallReply> reply;
    network_.Call(cluster_->broker(broker).address(), "/millrace.v1.Admin/" + method,
                  absl::Cord(request.SerializeAsString()), seconds(10), [&](CallReply r) { reply = std::move(r); });
    Await([&] { return reply.has_value(); });
    ASSERT_TRUE(reply->end.status.ok()) << reply->end.status;
    ASSERT_TRUE(response->ParseFromString(std::string(reply->message)));
  }

  // ---- Who joins

  server::BrokerInfo Info(int id) {
    return {{BrokerId(id), 100u + static_cast<uint64_t>(id)}, "broker-" + std::to_string(id) + ":9470"};
  }
  // It is known to the cluster, and not there.
  void Register(int id) {
    ErrorFrame error;
    cluster_->broker(Controller()).broker().metadata().OnRegister(Info(id), [&](const ErrorFrame& e, BrokerId) {
      error = e;
    });
    ASSERT_NO_FATAL_FAILURE(Await([&] { return cluster_->image()->FindBroker(BrokerId(id)) != nullptr; }));
    EXPECT_TRUE(error.ok()) << error.message;
  }
  void Join(int id) {
    ASSERT_NO_FATAL_FAILURE(Register(id));
    server::Broker::Options options = cluster_->broker(1).broker().options();
    options.self = Info(id).id;
    options.address = Info(id).address;
    joined_ = std::make_unique<SimBroker>(executor_, network_, joined_disk_, options, 99);
    Await([this] { return joined_->loaded().has_value(); });
    ASSERT_TRUE(joined_->loaded()->ok()) << *joined_->loaded();
  }
  int Controller() { return cluster_->LeaderOf(server::kMetadataGroup); }
  const raft::Membership& Members() { return cluster_->CoreOf(Controller(), server::kMetadataGroup)->membership(); }
  std::vector<raft::ReplicaId> Disks(const std::vector<int>& ids) {
    std::vector<raft::ReplicaId> disks;
    for (int id : ids) disks.push_back(Info(id).id);
    return disks;
  }

  // ---- What is logged

  std::vector<std::string> LinesWith(std::string_view level, std::string_view text) const {
    std::vector<std::string> found;
    for (const std::string& line : lines_) {
      if (line.find("level=" + std::string(level)) == std::string::npos) continue;
      if (line.find(text) != std::string::npos) found.push_back(line);
    }
    return found;
  }

  SimExecutor executor_;
  SimNetwork network_{executor_};
  std::unique_ptr<SimCluster> cluster_;
  FakeLogStore joined_disk_{[this](FakeLogStore::Task task) { executor_.After(milliseconds(1), std::move(task)); }};
  std::unique_ptr<SimBroker> joined_;
  std::vector<std::string> lines_;
};

// ---- Who keeps the metadata

// As a voter it would only make a majority harder to reach; and it keeps nobody from becoming one.
TEST_F(SeveralBrokers, WhoHasJoinedAndIsAwayGetsNoVote) {
  Begin(2);
  AwaitReady();
  Register(3);
  executor_.Advance(seconds(5));
  EXPECT_EQ(Members().voters, Disks({1, 2}));
  EXPECT_THAT(Members().learners, IsEmpty());
  ASSERT_NO_FATAL_FAILURE(Join(4));
  Await([this] { return Members().IsVoter(Info(4).id); });
  executor_.Advance(seconds(5));
  EXPECT_EQ(Members().voters, Disks({1, 2, 4}));
  EXPECT_THAT(Members().learners, IsEmpty());
}

// Five vote where five live.
TEST_F(SeveralBrokers, WhoIsAwayIsNotCountedForHowManyVote) {
  Begin(3);
  AwaitReady();
  Register(4);
  Register(5);
  ASSERT_NO_FATAL_FAILURE(Join(6));
  Await([this] { return Members().IsLearner(Info(6).id); });
  executor_.Advance(seconds(5));
  EXPECT_EQ(Members().voters, Disks({1, 2, 3}));
}

// ---- What is said of it

// Each for itself, as one may end before the other; by the broker that is left.
TEST_F(SeveralBrokers, WithoutAMajorityEachTroubleIsAWarningOnce) {
  Begin(3);
  AwaitReady();
  v1::CreateTopicRequest request;
  request.set_name("t");
  request.set_partitions(20);
  request.set_replication_factor(3);
  v1::CreateTopicResponse response;
  Ask(1, "CreateTopic", request, &response);
  executor_.Advance(seconds(5));
  EXPECT_THAT(LinesWith("warn", "census.cc"), IsEmpty());

  for (int broker : {2, 3}) cluster_->broker(broker).Crash(FakeLogStore::kKeepUnsynced);
  executor_.Advance(seconds(60));
  EXPECT_THAT(LinesWith("warn", "census.cc"),
              testing::UnorderedElementsAre(
                  HasSubstr("the cluster has no controller"),
                  testing::AllOf(HasSubstr("partitions have no leader"), HasSubstr(" partitions=20 peers_up=0"))));

  lines_.clear();
  cluster_->broker(2).Start();
  executor_.Advance(seconds(60));
  EXPECT_EQ(LinesWith("info", "the cluster has a controller again").size(), 1u);
  EXPECT_EQ(LinesWith("info", "all partitions have a leader again").size(), 1u);
  EXPECT_THAT(LinesWith("warn", "census.cc"), IsEmpty());
}

// The first of the list, so that it is not only by chance that it is in its place.
TEST_F(SeveralBrokers, AFounderThatHasNotRegisteredIsListedToo) {
  Begin(3);
  cluster_->broker(1).Crash(FakeLogStore::kKeepUnsynced);
  Await([this] { return cluster_->broker(2).loaded().has_value() && cluster_->broker(3).loaded().has_value(); });
  ASSERT_EQ(cluster_->image()->FindBroker(BrokerId(1)), nullptr);
  v1::DescribeClusterResponse cluster;
  const auto describe = [&] {
    Ask(2, "DescribeCluster", v1::DescribeClusterRequest(), &cluster);
    std::vector<std::pair<std::string, bool>> brokers;
    for (const v1::BrokerStatus& broker : cluster.brokers()) brokers.emplace_back(broker.address(), broker.alive());
    return brokers;
  };
  EXPECT_THAT(describe(), ElementsAre(std::pair("broker-1:9470", false), std::pair("broker-2:9470", true),
                                      std::pair("broker-3:9470", true)));
  EXPECT_EQ(cluster.brokers(0).broker_id(), 1);

  cluster_->broker(1).Start();
  AwaitReady();
  executor_.Advance(seconds(1));
  EXPECT_THAT(describe(), ElementsAre(std::pair("broker-1:9470", true), std::pair("broker-2:9470", true),
                                      std::pair("broker-3:9470", true)));
}

}  // namespace
}  // namespace millrace
