// Goal: what members are told, when, and what becomes of those that are late, fenced, or led by a coordinator that is none any more.
#include "server/group_coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "server/errors.h"
#include "tests/server/groups/topics.h"
#include "tests/support/sim_executor.h"

namespace millrace::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;
using v1::Error;

constexpr char kGroup[] = "g";

// A coordinator on a log of its own, which writes when the test says so.
class CoordinatorTest : public ::testing::Test {
 protected:
  struct Told {
    ErrorFrame error;
    v1::HeartbeatResponse response;
  };
  using Answer = std::shared_ptr<std::optional<Told>>;

  CoordinatorTest() {
    topic_ = topics_.Add("t", 4);
    coordinator_ = std::make_unique<GroupCoordinator>(GroupCoordinator::Seams{
        .executor = executor_,
        .clock = executor_.clock(),
        .image = [this] { return topics_.image(); },
        .append =
            [this](ValidBatch batch, raft::Term epoch, std::function<void(const ErrorFrame&)> done) {
              EXPECT_EQ(epoch, raft::Term(3));
              log_.emplace_back(std::move(batch), std::move(done));
              if (!held_) WriteAll();
            },
        .confirm =
            [this](const std::function<void(bool)>& then) {
              ++confirmed_;
              executor_.Post([this, then] { then(leads_); });
            },
        .not_leader = [] { return MakeError(Error::NOT_LEADER_OR_FOLLOWER, "elsewhere"); },
        .find_end =
            [this](PartitionId, int64_t, const std::function<void(std::optional<int64_t>)>& then) {
              ++ends_asked_;
              if (end_answers_) then(end_);
            }});
    coordinator_->OnServing(raft::Term(3));
  }

  void WriteAll() {
    while (!log_.empty()) {
      auto [batch, done] = std::move(log_.front());
      log_.pop_front();
      const auto view = ParseBatch(batch.bytes);
      ASSERT_TRUE(view.ok());
      coordinator_->Apply(*view);
      done({});
    }
    executor_.RunUntilIdle();
  }

  static v1::HeartbeatRequest Beat(const std::string& member, int32_t epoch,
                                   const v1::HeartbeatResponse* holds = nullptr) {
    v1::HeartbeatRequest request;
    request.set_group(kGroup);
    request.set_member_id(member);
    request.set_member_epoch(epoch);
    request.add_topics("t");
    for (int i = 0; holds != nullptr && i < holds->assignment_size(); ++i) {
      request.add_owned()->set_topic_id(holds->assignment(i).topic_id());
      request.mutable_owned(i)->set_partition(holds->assignment(i).partition());
    }
    return request;
  }

  Answer Send(const v1::HeartbeatRequest& request, const std::weak_ptr<GroupCoordinator::News>& news = {}) {
    auto answer = std::make_shared<std::optional<Told>>();
    coordinator_->Heartbeat(
        request,
        [answer](const ErrorFrame& error, const v1::HeartbeatResponse& response) {
          *answer = Told{error, response};
        },
        news);
    executor_.RunUntilIdle();
    return answer;
  }

  v1::HeartbeatResponse Join(const std::string& member) {
    const Answer answer = Send(Beat(member, 0));
    EXPECT_TRUE(answer->has_value());
    return answer->has_value() ? (*answer)->response : v1::HeartbeatResponse();
  }

  ErrorCode Refused(const v1::HeartbeatRequest& request) {
    const Answer answer = Send(request);
    EXPECT_TRUE(answer->has_value());
    return static_cast<ErrorCode>((*answer)->error.code);
  }

  static std::vector<int32_t> Partitions(const v1::HeartbeatResponse& response) {
    std::vector<int32_t> partitions;
    for (const auto& each : response.assignment()) partitions.push_back(each.partition());
    return partitions;
  }

  v1::CommitOffsetsRequest Commit(const std::string& member, const v1::AssignedPartition& partition, int64_t offset) {
    v1::CommitOffsetsRequest request;
    request.set_group(kGroup);
    request.set_member_id(member);
    v1::OffsetCommit& commit = *request.add_offsets();
    commit.set_topic("t");
    commit.set_partition(partition.partition());
    commit.set_epoch(partition.epoch());
    commit.set_offset(offset);
    return request;
  }

  // Its error, or the first of an offset.
  std::shared_ptr<std::optional<ErrorCode>> Store(const v1::CommitOffsetsRequest& request) {
    auto result = std::make_shared<std::optional<ErrorCode>>();
    coordinator_->Commit(request, [result](const ErrorFrame& error, const std::vector<ErrorFrame>& errors) {
      *result = static_cast<ErrorCode>(error.code);
      for (const ErrorFrame& each : errors) {
        if (!each.ok()) *result = static_cast<ErrorCode>(each.code);
      }
    });
    executor_.RunUntilIdle();
    return result;
  }

  int64_t Committed(int32_t partition) {
    v1::FetchOffsetsRequest request;
    request.set_group(kGroup);
    request.add_partitions()->set_topic("t");
    request.mutable_partitions(0)->set_partition(partition);
    return coordinator_->Offsets(request).offsets(0).offset();
  }

  SimExecutor executor_;
  TestTopics topics_;
  uint64_t topic_ = 0;
  std::deque<std::pair<ValidBatch, std::function<void(const ErrorFrame&)>>> log_;
  bool held_ = false;
  bool leads_ = true;
  int confirmed_ = 0;
  std::optional<int64_t> end_ = 100;
  int ends_asked_ = 0;
  bool end_answers_ = true;
  std::unique_ptr<GroupCoordinator> coordinator_;
};

TEST_F(CoordinatorTest, TwoMembersShareOnceTheFirstHasLetGo) {
  const v1::HeartbeatResponse first = Join("a");
  EXPECT_THAT(Partitions(first), ElementsAre(0, 1, 2, 3));
  std::vector<std::vector<int32_t>> news;
  const auto told = std::make_shared<GroupCoordinator::News>(
      [&](const ErrorFrame&, const v1::HeartbeatResponse& response) { news.push_back(Partitions(response)); });
  Send(Beat("a", first.member_epoch(), &first), told);
  EXPECT_THAT(Partitions(Join("b")), IsEmpty());
  ASSERT_EQ(news.size(), 1u) << "the first member is told at once";
  EXPECT_EQ(news[0].size(), 2u);

  // Under the old epoch it says nothing of what it was told since.
  v1::HeartbeatResponse nothing;
  const v1::HeartbeatResponse now = (*Send(Beat("a", first.member_epoch(), &nothing)))->response;
  EXPECT_THAT(Partitions((*Send(Beat("b", 2)))->response), IsEmpty());
  Send(Beat("a", now.member_epoch(), &now));
  EXPECT_THAT(Partitions((*Send(Beat("b", 2)))->response), ElementsAre(2, 3));
}

TEST_F(CoordinatorTest, AHeartbeatThatWaitsIsAnsweredByNews) {
  const v1::HeartbeatResponse first = Join("a");
  v1::HeartbeatRequest waits = Beat("a", first.member_epoch(), &first);
  waits.set_max_wait_ms(2'000);
  const Answer answer = Send(waits);
  EXPECT_FALSE(answer->has_value());
  Join("b");
  ASSERT_TRUE(answer->has_value());
  EXPECT_EQ((*answer)->response.assignment_size(), 2);

  waits.set_member_epoch((*answer)->response.member_epoch());
  const Answer late = Send(waits);
  EXPECT_FALSE(late->has_value());
  executor_.Advance(milliseconds(2'000));
  EXPECT_TRUE(late->has_value());
  const Answer replaced = Send(waits);
  Send(waits);
  EXPECT_TRUE(replaced->has_value()) << "the next one takes its place";
}

TEST_F(CoordinatorTest, WhoIsSilentIsOutAndItsPartitionsGo) {
  const v1::HeartbeatResponse first = Join("a");
  executor_.Advance(seconds(6));
  const v1::HeartbeatResponse other = Join("b");
  executor_.Advance(milliseconds(3'900));
  EXPECT_THAT(Partitions((*Send(Beat("b", other.member_epoch())))->response), IsEmpty()) << "not yet";
  executor_.Advance(milliseconds(200));
  EXPECT_EQ((*Send(Beat("b", other.member_epoch())))->response.assignment_size(), 4);
  EXPECT_EQ(Refused(Beat("a", first.member_epoch())), Error::UNKNOWN_MEMBER_ID);
}

TEST_F(CoordinatorTest, WhoLeavesIsGoneAtOnce) {
  const v1::HeartbeatResponse first = Join("a");
  const v1::HeartbeatResponse other = Join("b");
  const Answer left = Send(Beat("a", -1));
  ASSERT_TRUE(left->has_value());
  EXPECT_TRUE((*left)->error.ok());
  EXPECT_EQ((*Send(Beat("b", other.member_epoch())))->response.assignment_size(), 4);
  EXPECT_TRUE((*Send(Beat("a", -1)))->error.ok()) << "twice is once";
  EXPECT_EQ(Refused(Beat("a", first.member_epoch())), Error::UNKNOWN_MEMBER_ID);
}

TEST_F(CoordinatorTest, AnInstanceComesBackAndFencesTheLast) {
  v1::HeartbeatRequest one = Beat("a", 0);
  one.set_instance_id("one");
  const v1::HeartbeatResponse first = (*Send(one))->response;
  v1::HeartbeatRequest away = Beat("a", -2);
  away.set_instance_id("one");
  EXPECT_TRUE((*Send(away))->error.ok());
  v1::HeartbeatRequest again = Beat("a2", 0);
  again.set_instance_id("one");
  ErrorFrame fenced;
  const auto told = std::make_shared<GroupCoordinator::News>(
      [&](const ErrorFrame& error, const v1::HeartbeatResponse&) { fenced = error; });
  v1::HeartbeatRequest beats = Beat("a", first.member_epoch(), &first);
  beats.set_instance_id("one");
  Send(beats, told);
  EXPECT_THAT(Partitions((*Send(again))->response), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(fenced.code, Error::FENCED_INSTANCE_ID);
  v1::HeartbeatRequest old = Beat("a", first.member_epoch());
  old.set_instance_id("one");
  EXPECT_EQ(Refused(old), Error::FENCED_INSTANCE_ID);
}

TEST_F(CoordinatorTest, BadHeartbeatsAreRefusedAndChangeNothing) {
  const v1::HeartbeatResponse first = Join("a");
  v1::HeartbeatRequest bad = Beat("a", 0);
  bad.set_group("");
  EXPECT_EQ(Refused(bad), Error::INVALID_GROUP_ID);
  bad.set_group(std::string(256, 'x'));
  EXPECT_EQ(Refused(bad), Error::INVALID_GROUP_ID);
  EXPECT_EQ(Refused(Beat("", 0)), Error::INVALID_REQUEST);
  EXPECT_EQ(Refused(Beat("a", -2)), Error::INVALID_REQUEST);
  EXPECT_EQ(Refused(Beat("a", -3)), Error::INVALID_REQUEST);
  bad = Beat("c", 0);
  bad.set_session_timeout_ms(999);
  EXPECT_EQ(Refused(bad), Error::INVALID_SESSION_TIMEOUT);
  bad = Beat("c", 0);
  bad.set_topic_pattern("(");
  EXPECT_EQ(Refused(bad), Error::INVALID_REGULAR_EXPRESSION);
  bad = Beat("c", 0);
  bad.add_topics("no topic");
  EXPECT_EQ(Refused(bad), Error::INVALID_TOPIC_EXCEPTION);
  bad = Beat("c", 0);
  bad.set_assignor(static_cast<v1::Assignor>(9));
  EXPECT_EQ(Refused(bad), Error::INVALID_REQUEST);
  bad = Beat("c", 0);
  bad.set_client_id(std::string(256, 'x'));
  EXPECT_EQ(Refused(bad), Error::INVALID_REQUEST);
  bad = Beat("c", 0);
  for (size_t i = 0; i < GroupCoordinator::kTopicsMax; ++i) bad.add_topics("t" + std::to_string(i));
  EXPECT_EQ(Refused(bad), Error::INVALID_REQUEST);
  bad = Beat("c", 0);
  bad.set_topic_pattern(std::string(GroupCoordinator::kPatternMax + 1, 'x'));
  EXPECT_EQ(Refused(bad), Error::INVALID_REQUEST);
  EXPECT_EQ(Refused(Beat("a", first.member_epoch() + 1)), Error::FENCED_MEMBER_EPOCH);
  EXPECT_EQ(Refused(Beat("never", 1)), Error::UNKNOWN_MEMBER_ID);
  EXPECT_EQ((*Send(Beat("a", first.member_epoch(), &first)))->response.member_epoch(), first.member_epoch());
}

TEST_F(CoordinatorTest, CommitsAreCheckedWhenTheyAreReplayed) {
  const v1::HeartbeatResponse first = Join("a");
  EXPECT_EQ(*Store(Commit("a", first.assignment(0), 7)), Error::NONE);
  EXPECT_EQ(Committed(0), 7);
  v1::AssignedPartition wrong = first.assignment(0);
  wrong.set_epoch(wrong.epoch() + 1);
  EXPECT_EQ(*Store(Commit("a", wrong, 8)), Error::FENCED_MEMBER_EPOCH);
  EXPECT_EQ(*Store(Commit("nobody", first.assignment(0), 8)), Error::UNKNOWN_MEMBER_ID);
  EXPECT_EQ(*Store(Commit("", first.assignment(0), 8)), Error::UNKNOWN_MEMBER_ID);
  EXPECT_EQ(*Store(Commit("a", first.assignment(0), -1)), Error::INVALID_REQUEST);
  v1::CommitOffsetsRequest unknown = Commit("a", first.assignment(0), 8);
  unknown.mutable_offsets(0)->set_partition(4);
  EXPECT_EQ(*Store(unknown), Error::UNKNOWN_TOPIC_OR_PARTITION);
  unknown = Commit("a", first.assignment(0), 8);
  unknown.mutable_offsets(0)->set_topic_id(99);
  EXPECT_EQ(*Store(unknown), Error::UNKNOWN_TOPIC_ID);
  unknown = Commit("a", first.assignment(0), 8);
  unknown.mutable_offsets(0)->set_metadata(std::string(4'097, 'x'));
  EXPECT_EQ(*Store(unknown), Error::INVALID_COMMIT_OFFSET_SIZE);
  EXPECT_EQ(Committed(0), 7);

  // On its way behind a change that takes the partition away.
  held_ = true;
  const auto before = Store(Commit("a", first.assignment(0), 9));
  Send(Beat("a", -1));
  const auto after = Store(Commit("a", first.assignment(1), 9));
  WriteAll();
  EXPECT_EQ(*before, Error::NONE);
  EXPECT_EQ(*after, Error::UNKNOWN_MEMBER_ID);
}

TEST_F(CoordinatorTest, AnOffsetBehindTheEndIsRefusedUnlessNobodyKnowsTheEnd) {
  const v1::HeartbeatResponse first = Join("a");
  EXPECT_EQ(*Store(Commit("a", first.assignment(0), 101)), Error::OFFSET_OUT_OF_RANGE);
  EXPECT_EQ(ends_asked_, 1);
  coordinator_->Commit(Commit("a", first.assignment(0), 101),
                       [](const ErrorFrame&, const std::vector<ErrorFrame>& errors) {
                         ASSERT_EQ(errors.size(), 1u);
                         EXPECT_EQ(errors[0].topic, "t");
                         EXPECT_EQ(errors[0].partition, 0);
                         EXPECT_EQ(errors[0].high_watermark, 100);
                       });
  EXPECT_EQ(*Store(Commit("a", first.assignment(0), 100)), Error::NONE);
  EXPECT_EQ(ends_asked_, 2) << "below an end that is known";
  end_ = std::nullopt;
  EXPECT_EQ(*Store(Commit("a", first.assignment(0), 150)), Error::NONE) << "the leader is away: the member is believed";
  EXPECT_EQ(Committed(0), 150);
}

// What was handled is committed, then the partition is let go: neither may overtake the other.
TEST_F(CoordinatorTest, ACommitIsWrittenBeforeWhatComesBehindIt) {
  const v1::HeartbeatResponse first = Join("a");
  Join("b");
  const v1::HeartbeatResponse now = (*Send(Beat("a", first.member_epoch(), &first)))->response;
  const v1::AssignedPartition leaves = first.assignment(3);
  auto result = std::make_shared<std::optional<ErrorCode>>();
  coordinator_->Commit(
      Commit("a", leaves, 5), [result](const ErrorFrame& error, const std::vector<ErrorFrame>& errors) {
        *result = errors.empty() ? static_cast<ErrorCode>(error.code) : static_cast<ErrorCode>(errors[0].code);
      });
  coordinator_->Heartbeat(Beat("a", now.member_epoch(), &now), [](const ErrorFrame&, const v1::HeartbeatResponse&) {});
  executor_.RunUntilIdle();
  EXPECT_EQ(*result, Error::NONE);
  EXPECT_EQ(Committed(3), 5);
}

// It was decided by the topics there were when it came.
TEST_F(CoordinatorTest, ATopicThatIsMadeWhileAGroupIsMadeIsNotMissed) {
  held_ = true;
  v1::HeartbeatRequest join = Beat("a", 0);
  join.clear_topics();
  join.set_topic_pattern("t.*");
  Send(join);
  topics_.Add("t2", 2);
  coordinator_->OnImage();
  executor_.Advance(std::chrono::milliseconds(100));
  held_ = false;
  WriteAll();
  WriteAll();
  EXPECT_EQ(coordinator_->groups().find(kGroup)->second.members.at("a").holdings.size(), 6u);
}

TEST_F(CoordinatorTest, WhoLeavesBeforeItsJoinIsWrittenIsNoMember) {
  held_ = true;
  const Answer joined = Send(Beat("a", 0));
  const Answer left = Send(Beat("a", -1));
  EXPECT_FALSE(left->has_value());
  held_ = false;
  while (!left->has_value()) WriteAll();
  EXPECT_TRUE((*left)->error.ok());
  EXPECT_TRUE(joined->has_value());
  EXPECT_EQ(coordinator_->groups().find(kGroup), coordinator_->groups().end());
}

TEST_F(CoordinatorTest, OfTwoJoinsWithOneInstanceIdTheLastHasIt) {
  Join("z");
  held_ = true;
  v1::HeartbeatRequest other = Beat("y", 0);  // something is being decided
  Send(other);
  v1::HeartbeatRequest dead = Beat("b", 0), back = Beat("a", 0);
  dead.set_instance_id("i");
  back.set_instance_id("i");
  const Answer first = Send(dead), second = Send(back);
  ASSERT_TRUE(first->has_value());
  EXPECT_EQ((*first)->error.code, Error::FENCED_INSTANCE_ID);
  held_ = false;
  while (!second->has_value()) WriteAll();
  EXPECT_TRUE((*second)->error.ok());
  EXPECT_TRUE(coordinator_->groups().find(kGroup)->second.members.contains("a"));
  EXPECT_FALSE(coordinator_->groups().find(kGroup)->second.members.contains("b"));
}

// It took over from one that knew of a topic that it has not heard of.
TEST_F(CoordinatorTest, AnOlderImageForgetsNothing) {
  const TestTopics before = topics_;
  const uint64_t added = topics_.Add("t2", 1);
  v1::HeartbeatRequest join = Beat("a", 0);
  join.clear_topics();
  join.set_topic_pattern("t.*");
  const v1::HeartbeatResponse first = (*Send(join))->response;
  v1::CommitOffsetsRequest commit = Commit("a", first.assignment(0), 7);
  for (const auto& each : first.assignment()) {
    if (each.topic() != "t2") continue;
    commit.mutable_offsets(0)->set_topic("t2");
    commit.mutable_offsets(0)->set_partition(0);
    commit.mutable_offsets(0)->set_epoch(each.epoch());
  }
  EXPECT_EQ(*Store(commit), Error::NONE);
  const TestTopics now = std::exchange(topics_, before);
  coordinator_->OnServingEnd();
  coordinator_->OnServing(raft::Term(3));
  executor_.Advance(std::chrono::milliseconds(100));
  EXPECT_TRUE(coordinator_->groups().find(kGroup)->second.offsets.contains({added, 0}));
  topics_ = now;
  coordinator_->OnImage();
  executor_.Advance(std::chrono::milliseconds(100));
  EXPECT_TRUE(coordinator_->groups().find(kGroup)->second.offsets.contains({added, 0}));
  topics_.Remove(added);
  coordinator_->OnImage();
  executor_.Advance(std::chrono::milliseconds(100));
  EXPECT_FALSE(coordinator_->groups().find(kGroup)->second.offsets.contains({added, 0}));
}

TEST_F(CoordinatorTest, ALeaderThatStandsStillIsNotWaitedForLong) {
  const v1::HeartbeatResponse first = Join("a");
  end_answers_ = false;
  const auto stored = Store(Commit("a", first.assignment(0), 50));
  EXPECT_FALSE(stored->has_value());
  executor_.Advance(std::chrono::milliseconds(500));
  EXPECT_EQ(*stored, Error::NONE);
}

TEST_F(CoordinatorTest, WithoutAMemberNobodyIsOvertaken) {
  v1::CommitOffsetsRequest commit = Commit("", v1::AssignedPartition(), 9);
  commit.set_sequence(5'000);
  EXPECT_EQ(*Store(commit), Error::NONE);
  commit.set_sequence(1);
  commit.mutable_offsets(0)->set_offset(10);
  EXPECT_EQ(*Store(commit), Error::NONE);
  EXPECT_EQ(Committed(0), 10) << "a program that was started anew counts from 1";
}

TEST_F(CoordinatorTest, AResetIsAnotherEpochForItsOwner) {
  const v1::HeartbeatResponse first = Join("a");
  v1::ResetOffsetsRequest request;
  request.set_group(kGroup);
  request.add_offsets()->set_topic("t");
  request.mutable_offsets(0)->set_partition(2);
  request.mutable_offsets(0)->set_offset(50);
  request.add_offsets()->set_topic("nowhere");
  std::optional<v1::ResetOffsetsResponse> response;
  const auto done = [&](const ErrorFrame& error, const v1::ResetOffsetsResponse& reset) {
    EXPECT_TRUE(error.ok());
    response = reset;
  };
  request.set_dry_run(true);
  coordinator_->Reset(request, done);
  executor_.RunUntilIdle();
  EXPECT_EQ(response->results(0).old_offset(), -1);
  EXPECT_EQ(response->results(0).new_offset(), 50);
  EXPECT_EQ(response->results(1).error().code(), Error::UNKNOWN_TOPIC_OR_PARTITION);
  EXPECT_EQ(Committed(2), -1);
  request.set_dry_run(false);
  coordinator_->Reset(request, done);
  EXPECT_EQ(Committed(2), 50);
  const v1::HeartbeatResponse now = (*Send(Beat("a", first.member_epoch(), &first)))->response;
  EXPECT_GT(now.assignment(2).epoch(), first.assignment(2).epoch());
  EXPECT_EQ(now.assignment(2).committed_offset(), 50);
  EXPECT_EQ(*Store(Commit("a", first.assignment(2), 99)), Error::FENCED_MEMBER_EPOCH) << "of before the reset";
  EXPECT_EQ(*Store(Commit("a", now.assignment(2), 51)), Error::NONE);
}

TEST_F(CoordinatorTest, AGroupIsForgottenOnceItHasNoMembers) {
  std::vector<ErrorCode> results;
  const auto done = [&](const ErrorFrame& error) { results.push_back(static_cast<ErrorCode>(error.code)); };
  const v1::HeartbeatResponse first = Join("a");
  Store(Commit("a", first.assignment(0), 7));
  coordinator_->Delete(kGroup, done);
  Send(Beat("a", -1));
  EXPECT_EQ(Committed(0), 7);
  coordinator_->Delete(kGroup, done);
  EXPECT_EQ(Committed(0), -1);
  coordinator_->Delete(kGroup, done);
  executor_.RunUntilIdle();
  EXPECT_THAT(results, ElementsAre(Error::NON_EMPTY_GROUP, Error::NONE, Error::GROUP_ID_NOT_FOUND));
}

TEST_F(CoordinatorTest, OnlyWhoIsConfirmedToLeadAnswersHeartbeats) {
  const v1::HeartbeatResponse first = Join("a");
  Send(Beat("a", first.member_epoch(), &first));
  EXPECT_EQ(confirmed_, 1);
  executor_.Advance(GroupCoordinator::kConfirmedFor - milliseconds(1));
  Send(Beat("a", first.member_epoch(), &first));
  EXPECT_EQ(confirmed_, 1) << "within the time that a confirmation counts";
  executor_.Advance(milliseconds(1));
  leads_ = false;
  EXPECT_EQ(Refused(Beat("a", first.member_epoch(), &first)), Error::NOT_LEADER_OR_FOLLOWER);
  EXPECT_EQ(confirmed_, 2);
}

TEST_F(CoordinatorTest, ANewCoordinatorGivesEverybodyATimeOutAndTheGrace) {
  const v1::HeartbeatResponse first = Join("a");
  executor_.Advance(seconds(9));
  coordinator_->OnServingEnd();
  EXPECT_EQ(Refused(Beat("a", first.member_epoch())), Error::NOT_LEADER_OR_FOLLOWER);
  coordinator_->OnServing(raft::Term(3));
  executor_.Advance(seconds(10) + GroupCoordinator::kGrace - milliseconds(1));
  EXPECT_TRUE((*Send(Beat("a", first.member_epoch(), &first)))->error.ok());
  coordinator_->OnServingEnd();
  coordinator_->OnServing(raft::Term(3));
  executor_.Advance(seconds(10) + GroupCoordinator::kGrace);
  EXPECT_EQ(Refused(Beat("a", first.member_epoch())), Error::UNKNOWN_MEMBER_ID);
}

TEST_F(CoordinatorTest, WhoWaitsIsToldWhenTheCoordinatorIsNoneAnyMore) {
  const v1::HeartbeatResponse first = Join("a");
  ErrorFrame news;
  const auto told = std::make_shared<GroupCoordinator::News>(
      [&](const ErrorFrame& error, const v1::HeartbeatResponse&) { news = error; });
  Send(Beat("a", first.member_epoch(), &first), told);
  held_ = true;
  const Answer joins = Send(Beat("b", 0));
  const auto commits = Store(Commit("a", first.assignment(0), 1));
  for (auto& [batch, done] : std::exchange(log_, {})) done(MakeError(Error::NOT_LEADER_OR_FOLLOWER, "lost"));
  coordinator_->OnServingEnd();
  executor_.RunUntilIdle();
  ASSERT_TRUE(joins->has_value() && commits->has_value());
  EXPECT_EQ((*joins)->error.code, Error::NOT_LEADER_OR_FOLLOWER);
  EXPECT_EQ(**commits, Error::NOT_LEADER_OR_FOLLOWER);
  EXPECT_EQ(news.code, Error::NOT_LEADER_OR_FOLLOWER);
}

TEST_F(CoordinatorTest, WhatCouldNotBeWrittenIsDecidedAgain) {
  Join("a");
  const v1::HeartbeatResponse other = Join("b");
  held_ = true;
  executor_.Advance(seconds(5));
  Send(Beat("b", other.member_epoch()));
  executor_.Advance(seconds(5));
  ASSERT_EQ(log_.size(), 1u) << "the first member is out";
  auto refused = std::move(log_.front());
  log_.clear();
  held_ = false;
  refused.second(MakeError(Error::NOT_ENOUGH_REPLICAS, "nobody keeps up"));
  executor_.Advance(milliseconds(300));
  EXPECT_EQ((*Send(Beat("b", other.member_epoch())))->response.assignment_size(), 4);
}

TEST_F(CoordinatorTest, WhoJoinsAgainWhileItIsPutOutHasASessionThatEnds) {
  Join("a");
  held_ = true;
  executor_.Advance(seconds(10));
  ASSERT_EQ(log_.size(), 1u) << "it is being put out";
  auto refused = std::move(log_.front());
  log_.clear();
  held_ = false;
  Send(Beat("a", 0));
  refused.second(MakeError(Error::NOT_ENOUGH_REPLICAS, "nobody keeps up"));
  executor_.Advance(seconds(5));
  ASSERT_EQ(coordinator_->groups().at(kGroup).members.size(), 1u);
  executor_.Advance(seconds(20));
  EXPECT_TRUE(coordinator_->groups().empty() || coordinator_->groups().at(kGroup).members.empty());
}

TEST_F(CoordinatorTest, NewPartitionsAndTopicsAreGivenWithoutAnybodyAsking) {
  v1::HeartbeatRequest request = Beat("a", 0);
  request.set_topic_pattern("new-.*");
  const v1::HeartbeatResponse first = (*Send(request))->response;
  request.set_member_epoch(first.member_epoch());
  topics_.Add("new-one", 1);
  topics_.AddPartition(topic_, 4);
  coordinator_->OnImage();
  executor_.Advance(milliseconds(100));
  EXPECT_EQ((*Send(request))->response.assignment_size(), 6);
}

TEST_F(CoordinatorTest, TooManyMembersAreRefused) {
  for (size_t i = 0; i < GroupCoordinator::kMembersMax; ++i) Join("m" + std::to_string(i));
  EXPECT_EQ(Refused(Beat("one-more", 0)), Error::GROUP_MAX_SIZE_REACHED);
}

}  // namespace
}  // namespace millrace::server
