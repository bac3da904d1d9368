// Goal: a group works through any broker of a cluster, and what it has come to outlives its coordinator.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/v1/admin.pb.h"
#include "millrace/v1/broker.pb.h"
#include "millrace/v1/group.pb.h"
#include "proto/wire/partitioner.h"
#include "server/group_coordinator.h"
#include "server/group_partition.h"
#include "tests/support/sim_cluster.h"

namespace millrace {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using v1::Error;

constexpr char kGroup[] = "payment";

// A member's stream and what came on it.
class Member : public StreamHandler {
 public:
  Member(SimExecutor& executor, SimNetwork& network, const std::string& address) : executor_(executor) {
    stream_ = network.OpenStream(address, "/millrace.v1.Groups/Join", this);
    stream_->Read();
  }

  void Beat(const std::string& id, int32_t epoch, bool holds_all = true) {
    v1::MemberRequest request;
    request.set_id(++last_id_);
    v1::HeartbeatRequest& beat = *request.mutable_heartbeat();
    beat.set_group(kGroup);
    beat.set_member_id(id);
    beat.set_member_epoch(epoch);
    beat.set_session_timeout_ms(1'800'000);
    beat.add_topics("t");
    for (int i = 0; holds_all && i < assignment.assignment_size(); ++i) {
      beat.add_owned()->set_topic_id(assignment.assignment(i).topic_id());
      beat.mutable_owned(i)->set_partition(assignment.assignment(i).partition());
    }
    stream_->Write(absl::Cord(request.SerializeAsString()));
    executor_.RunUntilIdle();
  }

  void OnMessage(absl::Cord message) override {
    v1::MemberResponse response;
    EXPECT_TRUE(response.ParseFromString(std::string(message)));
    if (response.has_heartbeat()) assignment = response.heartbeat();
    if (response.has_heartbeat() && response.answers() == 0) ++news;
    if (response.has_error()) error = response.error().code();
    stream_->Read();
  }
  void OnWritten() override {}
  void OnClosed(CallEnd) override { closed = true; }

  v1::HeartbeatResponse assignment;
  Error::Code error = Error::NONE;
  int news = 0;
  bool closed = false;

 private:
  SimExecutor& executor_;
  std::unique_ptr<Stream> stream_;
  uint64_t last_id_ = 0;
};

class GroupServiceTest : public ::testing::Test {
 protected:
  GroupServiceTest() {
    Await([this] { return cluster_.ready(); });
    v1::CreateTopicRequest request;
    request.set_name("t");
    request.set_partitions(4);
    Await([&] {
      v1::CreateTopicResponse created;
      return Ask(1, "Admin/CreateTopic", request, &created).status.ok();
    });
    v1::AppendRequest append;
    append.set_topic("t");
    append.set_partition(1);
    for (int i = 0; i < 1'000; ++i) append.add_records()->set_value("x");
    Await([&] {
      v1::AppendResponse appended;
      return Ask(1, "Broker/Append", append, &appended).status.ok();
    });
  }
  ~GroupServiceTest() override { executor_.Advance(seconds(1)); }

  template <typename Request, typename Response>
  CallEnd Ask(int broker, const std::string& method, const Request& request, Response* response) {
    std::optional<CallReply> reply;
    network_.Call(cluster_.broker(broker).address(), "/millrace.v1." + method, absl::Cord(request.SerializeAsString()),
                  seconds(20), [&](CallReply r) { reply = std::move(r); });
    Await([&] { return reply.has_value(); });
    EXPECT_TRUE(!reply->end.status.ok() || response->ParseFromString(std::string(reply->message)));
    return reply->end;
  }

  template <typename Condition>
  void Await(Condition holds) {
    for (int i = 0; i < 4'000; ++i) {
      if (holds()) return;
      executor_.Advance(milliseconds(10));
    }
    FAIL() << "what is waited for does not come";
  }

  raft::GroupId CoordinatorGroup() {
    const auto topic = cluster_.image()->FindTopic(server::kGroupsTopic);
    return topic->partitions
        .at(static_cast<size_t>(PartitionForKey(kGroup, static_cast<int32_t>(topic->partitions.size()))))
        .group;
  }
  int Coordinator() { return cluster_.LeaderOf(CoordinatorGroup()); }
  int OtherThan(int broker) { return broker % cluster_.size() + 1; }

  // Without membership, through this broker.
  void Commit(int broker, int64_t offset) {
    v1::CommitOffsetsRequest request;
    request.set_group(kGroup);
    request.add_offsets()->set_topic("t");
    request.mutable_offsets(0)->set_partition(1);
    request.mutable_offsets(0)->set_offset(offset);
    v1::CommitOffsetsResponse response;
    Await([&] { return Ask(broker, "Groups/CommitOffsets", request, &response).status.ok(); });
    EXPECT_EQ(response.errors_size(), 0);
  }

  int64_t Committed(int broker) {
    v1::FetchOffsetsRequest request;
    request.set_group(kGroup);
    v1::FetchOffsetsResponse response;
    Await([&] { return Ask(broker, "Groups/FetchOffsets", request, &response).status.ok(); });
    return response.offsets_size() == 1 ? response.offsets(0).offset() : -1;
  }

  SimExecutor executor_;
  SimNetwork network_{executor_};
  SimCluster cluster_{executor_, network_, {.brokers = 3, .seed = 5}};
};

TEST_F(GroupServiceTest, AnyBrokerTakesAnyCall) {
  Commit(1, 7);
  for (int broker = 1; broker <= 3; ++broker) {
    EXPECT_EQ(Committed(broker), 7) << broker;
    v1::ListGroupsResponse list;
    EXPECT_TRUE(Ask(broker, "Groups/ListGroups", v1::ListGroupsRequest(), &list).status.ok());
    ASSERT_EQ(list.groups_size(), 1) << broker;
    EXPECT_EQ(list.groups(0).coordinator(), Coordinator());
    EXPECT_FALSE(list.incomplete());
    v1::DescribeGroupRequest which;
    which.set_group(kGroup);
    v1::DescribeGroupResponse described;
    EXPECT_TRUE(Ask(broker, "Groups/DescribeGroup", which, &described).status.ok());
    EXPECT_EQ(described.partitions(0).committed(), 7);
    EXPECT_EQ(described.has_leader(), broker != Coordinator());
  }
}

TEST_F(GroupServiceTest, AnOffsetBehindTheEndIsRefusedAlone) {
  Commit(1, 1'000);
  v1::CommitOffsetsRequest request;
  request.set_group(kGroup);
  for (const auto& [partition, offset] : {std::pair(1, 1'001), std::pair(0, 1), std::pair(1, 500), std::pair(2, 0)}) {
    v1::OffsetCommit& commit = *request.add_offsets();
    commit.set_topic("t");
    commit.set_partition(partition);
    commit.set_offset(offset);
  }
  for (int broker = 1; broker <= 3; ++broker) {
    v1::CommitOffsetsResponse response;
    ASSERT_TRUE(Ask(broker, "Groups/CommitOffsets", request, &response).status.ok());
    ASSERT_EQ(response.errors_size(), 4);
    EXPECT_EQ(response.errors(0).code(), Error::OFFSET_OUT_OF_RANGE);
    EXPECT_EQ(response.errors(0).high_watermark(), 1'000);
    EXPECT_EQ(response.errors(1).code(), Error::OFFSET_OUT_OF_RANGE);
    EXPECT_EQ(response.errors(2).code(), Error::NONE);
    EXPECT_EQ(response.errors(3).code(), Error::NONE);
  }
}

TEST_F(GroupServiceTest, ARequestForTheLeaderAloneIsNotHandedOn) {
  Commit(1, 7);
  v1::FetchOffsetsRequest request;
  request.set_group(kGroup);
  request.set_routing(v1::ROUTING_LEADER_ONLY);
  v1::FetchOffsetsResponse response;
  EXPECT_TRUE(Ask(Coordinator(), "Groups/FetchOffsets", request, &response).status.ok());
  const CallEnd end = Ask(OtherThan(Coordinator()), "Groups/FetchOffsets", request, &response);
  EXPECT_EQ(end.error.code, Error::NOT_LEADER_OR_FOLLOWER);
  EXPECT_EQ(end.error.leader->broker_id, Coordinator());
}

TEST_F(GroupServiceTest, CommittedOffsetsOutliveTheirCoordinatorAndAllBrokers) {
  Commit(1, 7);
  const int first = Coordinator();
  cluster_.broker(first).Crash(FakeLogStore::kLoseUnsynced);
  EXPECT_EQ(Committed(OtherThan(first)), 7);
  Commit(OtherThan(first), 8);
  cluster_.broker(first).Start();
  for (int round = 0; round < 2; ++round) {  // the second time from what was saved and replayed by then
    for (int broker = 1; broker <= 3; ++broker) {
      if (cluster_.broker(broker).running()) cluster_.broker(broker).Crash(FakeLogStore::kLoseUnsynced);
    }
    for (int broker = 1; broker <= 3; ++broker) cluster_.broker(broker).Start();
    Await([this] { return cluster_.ready(); });
    EXPECT_EQ(Committed(1), 8);
  }
}

TEST_F(GroupServiceTest, ManyCommitsLeaveALogThatStaysSmall) {
  for (int64_t i = 1; i <= 700; ++i) Commit(1, i);
  cluster_.broker(Coordinator()).Crash(FakeLogStore::kLoseUnsynced);
  Await([this] { return Coordinator() != 0; });
  EXPECT_EQ(Committed(Coordinator()), 700);
}

// What it is sent is ahead of the log behind it, in which a commit was refused that would count by now.
TEST_F(GroupServiceTest, AReplicaThatIsSentTheGroupsHasWhatTheOthersHave) {
  Commit(1, 1);
  const int coordinator = Coordinator(), away = OtherThan(coordinator);
  cluster_.broker(away).Crash(FakeLogStore::kKeepUnsynced);
  Member member(executor_, network_, cluster_.broker(coordinator).address());
  member.Beat("a", 0);
  Await([&] { return member.assignment.assignment_size() == 4; });
  v1::CommitOffsetsRequest large;
  large.set_group(kGroup);
  large.set_member_id("a");
  for (int partition = 0; partition < 4; ++partition) {
    large.add_offsets()->set_topic("t");
    large.mutable_offsets(partition)->set_partition(partition);
    large.mutable_offsets(partition)->set_epoch(member.assignment.assignment(partition).epoch());
    large.mutable_offsets(partition)->set_metadata(std::string(4'000, 'x'));
  }
  v1::CommitOffsetsResponse response;
  for (int i = 0; i < 1'000; ++i) ASSERT_TRUE(Ask(coordinator, "Groups/CommitOffsets", large, &response).status.ok());
  const auto at = [this](int broker) {
    ErrorFrame error;
    const auto topic = cluster_.image()->FindTopic(server::kGroupsTopic);
    const int32_t number = PartitionForKey(kGroup, static_cast<int32_t>(topic->partitions.size()));
    return cluster_.broker(broker).broker().FindPartition(server::kGroupsTopic, number, 0, &error);
  };
  const auto groups_at = [&at](int broker) { return server::CoordinatorOf(*at(broker))->groups(); };
  Await([&] { return at(coordinator)->log_start() > raft::Offset(10); });  // the member's coming is gone

  v1::CommitOffsetsRequest commit;
  commit.set_group(kGroup);
  commit.add_offsets()->set_topic("t");
  commit.mutable_offsets(0)->set_partition(1);
  commit.mutable_offsets(0)->set_offset(5);
  ASSERT_TRUE(Ask(coordinator, "Groups/CommitOffsets", commit, &response).status.ok());
  EXPECT_EQ(response.errors(0).code(), Error::UNKNOWN_MEMBER_ID);
  commit.set_member_id("a");
  commit.mutable_offsets(0)->set_epoch(member.assignment.assignment(1).epoch());
  commit.mutable_offsets(0)->set_offset(100);
  ASSERT_TRUE(Ask(coordinator, "Groups/CommitOffsets", commit, &response).status.ok());
  ASSERT_EQ(response.errors_size(), 0);
  member.Beat("a", -1);

  cluster_.broker(away).Start();
  Await([this] { return cluster_.ready(); });
  executor_.Advance(seconds(10));
  EXPECT_EQ(groups_at(coordinator).find(kGroup)->second.offsets.size(), 4u);
  EXPECT_EQ(groups_at(away), groups_at(coordinator));
  cluster_.broker(away).Crash(FakeLogStore::kKeepUnsynced);
  cluster_.broker(away).Start();
  executor_.Advance(seconds(10));
  EXPECT_EQ(groups_at(away), groups_at(coordinator)) << "after a restart, too";
}

TEST_F(GroupServiceTest, AStreamThroughAnotherBrokerHearsOfNewsAtOnce) {
  Commit(1, 7);
  const int coordinator = Coordinator();
  Member first(executor_, network_, cluster_.broker(OtherThan(coordinator)).address());
  first.Beat("a", 0);
  Await([&] { return first.assignment.assignment_size() == 4; });
  EXPECT_EQ(first.assignment.assignment(1).committed_offset(), 7);
  EXPECT_EQ(first.assignment.leader().broker_id(), coordinator);
  first.Beat("a", first.assignment.member_epoch());
  executor_.Advance(milliseconds(500));

  Member second(executor_, network_, cluster_.broker(coordinator).address());
  second.Beat("b", 0);
  executor_.Advance(milliseconds(100));
  EXPECT_EQ(first.news, 1);
  EXPECT_EQ(first.assignment.assignment_size(), 2);
  first.Beat("a", first.assignment.member_epoch());
  executor_.Advance(milliseconds(100));
  EXPECT_EQ(second.news, 1);
  EXPECT_EQ(second.assignment.assignment_size(), 2);
}

TEST_F(GroupServiceTest, MembersGoOnUnderTheNextCoordinator) {
  Commit(1, 7);
  const int coordinator = Coordinator();
  Member before(executor_, network_, cluster_.broker(coordinator).address());
  before.Beat("a", 0);
  Await([&] { return before.assignment.assignment_size() == 4; });
  cluster_.broker(coordinator).Crash(FakeLogStore::kLoseUnsynced);
  Await([&] { return Coordinator() != 0 && Coordinator() != coordinator; });
  Member after(executor_, network_, cluster_.broker(Coordinator()).address());
  after.assignment = before.assignment;
  after.Beat("a", before.assignment.member_epoch());
  executor_.Advance(milliseconds(100));
  EXPECT_EQ(after.error, Error::NONE);
  EXPECT_EQ(after.assignment.member_epoch(), before.assignment.member_epoch());
  EXPECT_EQ(after.assignment.assignment_size(), 4);
}

TEST_F(GroupServiceTest, GarbageEndsTheStreamWithASentence) {
  Member member(executor_, network_, cluster_.broker(1).address());
  (void)member;
  class Raw : public StreamHandler {
   public:
    void OnMessage(absl::Cord) override {}
    void OnWritten() override {}
    void OnClosed(CallEnd e) override { end = std::move(e); }
    CallEnd end;
  } raw;
  const auto stream = network_.OpenStream(cluster_.broker(1).address(), "/millrace.v1.Groups/Join", &raw);
  stream->Read();
  stream->Write(absl::Cord("\xff\xff\xff"));
  executor_.Advance(milliseconds(100));
  EXPECT_EQ(raw.end.error.code, Error::INVALID_REQUEST);
}

TEST_F(GroupServiceTest, TheClustersOwnTopicsAreNotWrittenTo) {
  Commit(1, 7);
  v1::AppendRequest append;
  append.set_topic(server::kGroupsTopic);
  append.add_records()->set_value("x");
  v1::AppendResponse appended;
  EXPECT_EQ(Ask(1, "Broker/Append", append, &appended).error.code, Error::POLICY_VIOLATION);
  v1::DeleteTopicRequest remove;
  remove.set_name(server::kGroupsTopic);
  v1::DeleteTopicResponse removed;
  EXPECT_EQ(Ask(1, "Admin/DeleteTopic", remove, &removed).error.code, Error::POLICY_VIOLATION);
  v1::AddPartitionsRequest add;
  add.set_name(server::kGroupsTopic);
  add.set_partitions(50);
  v1::AddPartitionsResponse added;
  EXPECT_EQ(Ask(1, "Admin/AddPartitions", add, &added).error.code, Error::POLICY_VIOLATION);
  v1::TrimPartitionRequest trim;
  trim.set_name(server::kGroupsTopic);
  trim.set_before(-1);
  v1::TrimPartitionResponse trimmed;
  EXPECT_EQ(Ask(1, "Admin/TrimPartition", trim, &trimmed).error.code, Error::POLICY_VIOLATION);
  EXPECT_EQ(Committed(1), 7);
}

}  // namespace
}  // namespace millrace
