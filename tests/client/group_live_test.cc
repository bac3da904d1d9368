// Consumer groups through the SDK, over gRPC, against real brokers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <millrace/millrace.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/integration/broker_process.h"

namespace millrace {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr char kTopic[] = "orders";
constexpr char kGroup[] = "payment";
// What is waited for comes within milliseconds; a test that fails says so after this.
constexpr seconds kPatience{30};

// A member and what it has read.
struct Reader {
  std::unique_ptr<Consumer> consumer;
  std::vector<std::string> values;
  std::vector<std::string> news;  // "+1" came, "-1" was let go, "!1" was lost
  absl::Status status;

  std::set<int32_t> partitions() const {
    std::set<int32_t> partitions;
    for (const PartitionProgress& each : consumer->progress()) partitions.insert(each.partition);
    return partitions;
  }
};

class GroupLiveTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(broker_.Start());
    client_.bootstrap_servers = broker_.address();
    admin_ = Admin::Create(client_).value();
    ASSERT_TRUE(admin_->CreateTopic({.name = kTopic, .partitions = 4}).ok());
  }

  void Produce(int32_t partition, const std::vector<std::string>& values) {
    auto producer = Producer::Create({.client = client_}).value();
    for (const std::string& value : values) {
      ASSERT_TRUE(producer->SendAndWait({.topic = kTopic, .partition = partition, .value = value}).ok());
    }
  }

  ConsumerOptions Options() {
    ConsumerOptions options;
    options.client = client_;
    options.group_id = kGroup;
    return options;
  }

  std::unique_ptr<Reader> Join(ConsumerOptions options) {
    auto reader = std::make_unique<Reader>();
    const auto note = [reader = reader.get()](const char* sign) {
      return [reader, sign](std::span<const TopicPartition> partitions) {
        for (const TopicPartition& each : partitions) reader->news.push_back(sign + std::to_string(each.partition));
      };
    };
    options.on_assigned = note("+");
    options.on_revoked = note("-");
    options.on_lost = note("!");
    reader->consumer = Consumer::Create(options).value();
    EXPECT_TRUE(reader->consumer->Subscribe({.topics = {kTopic}}).ok());
    return reader;
  }
  std::unique_ptr<Reader> Join() { return Join(Options()); }

  // Polls all of them until `holds`.
  template <typename Condition>
  void Read(const std::vector<Reader*>& readers, Condition holds) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!holds()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "what is waited for does not come";
      for (Reader* reader : readers) {
        absl::StatusOr<PollResult> polled = reader->consumer->Poll(milliseconds(5));
        if (!polled.ok()) reader->status = polled.status();
        if (!polled.ok()) continue;
        for (const ConsumerRecord& record : polled->records) reader->values.emplace_back(record.value.value_or(""));
      }
    }
  }

  int64_t Committed(int32_t partition) {
    const auto offsets = admin_->GroupOffsets(kGroup, {{kTopic, partition}});
    EXPECT_TRUE(offsets.ok()) << offsets.status();
    return offsets.ok() ? offsets->at(0).offset : -2;
  }

  BrokerProcess broker_;
  ClientOptions client_;
  std::unique_ptr<Admin> admin_;
};

TEST_F(GroupLiveTest, TwoShareATopicAndWhatOneLeavesTheOtherGoesOnWith) {
  const auto first = Join();
  Read({first.get()}, [&] { return first->partitions().size() == 4; });
  const auto second = Join();
  Read({first.get(), second.get()},
       [&] { return first->partitions().size() == 2 && second->partitions().size() == 2; });
  EXPECT_THAT(second->partitions(), ElementsAre(2, 3));
  EXPECT_THAT(first->news, ElementsAre("+0", "+1", "+2", "+3", "-2", "-3"));

  for (int32_t partition = 0; partition < 4; ++partition) Produce(partition, {"a" + std::to_string(partition)});
  Read({first.get(), second.get()}, [&] { return first->values.size() == 2 && second->values.size() == 2; });
  EXPECT_THAT(first->values, UnorderedElementsAre("a0", "a1"));
  Read({second.get()}, [&] { return true; });
  (void)second->consumer->Poll(milliseconds(0));  // the records before were handled
  EXPECT_TRUE(second->consumer->Close().ok());
  Read({first.get()}, [&] { return first->partitions().size() == 4; });
  Produce(3, {"b3"});
  Read({first.get()}, [&] { return first->values.size() == 3; });
  EXPECT_EQ(first->values.back(), "b3") << "nothing that was handled comes again";
}

TEST_F(GroupLiveTest, WhatWasNotHandledComesAgain) {
  Produce(0, {"1", "2", "3"});
  {
    auto consumer = Consumer::Create(Options()).value();
    ASSERT_TRUE(consumer->Subscribe({.topics = {kTopic}}).ok());
    for (const ConsumerRecord& record : *consumer) {
      if (record.value == "2") break;  // in the middle of it
    }
  }
  EXPECT_EQ(Committed(0), 1);
  const auto next = Join();
  Read({next.get()}, [&] { return next->values.size() == 2; });
  EXPECT_THAT(next->values, ElementsAre("2", "3"));
}

TEST_F(GroupLiveTest, CommitStoresWhatWasReached) {
  Produce(0, {"1", "2", "3"});
  ConsumerOptions options = Options();
  options.auto_commit = false;
  {
    auto consumer = Consumer::Create(options).value();
    ASSERT_TRUE(consumer->Subscribe({.topics = {kTopic}}).ok());
    for (const ConsumerRecord& record : *consumer) {
      if (record.value != "2") continue;
      ASSERT_TRUE(consumer->Commit().ok());
      break;
    }
  }
  EXPECT_EQ(Committed(0), 2) << "and Close() has committed nothing";
  ConsumerOptions by_itself = Options();
  {
    auto consumer = Consumer::Create(by_itself).value();
    ASSERT_TRUE(consumer->Subscribe({.topics = {kTopic}}).ok());
    EXPECT_EQ(consumer->begin()->value, "3");
    ASSERT_TRUE(consumer->Commit().ok());
  }
  EXPECT_EQ(Committed(0), 3) << "and Close() does not take it back";
  ASSERT_TRUE(admin_->ResetOffsets(kGroup, {{.topic = kTopic, .partition = 0, .offset = 2}}).ok());
  const auto reader = Join(options);
  Read({reader.get()}, [&] { return !reader->values.empty(); });
  const std::vector<CommittedOffset> offsets = {{.topic = kTopic, .partition = 0, .offset = 1, .metadata = "by hand"}};
  ASSERT_TRUE(reader->consumer->Commit(offsets).ok());
  const std::vector<TopicPartition> first = {{kTopic, 0}};
  const auto committed = reader->consumer->Committed(first);
  ASSERT_TRUE(committed.ok()) << committed.status();
  ASSERT_EQ(committed->size(), 1u);
  EXPECT_EQ(committed->at(0).offset, 1);
  EXPECT_EQ(committed->at(0).metadata, "by hand");
  EXPECT_GT(committed->at(0).commit_time, 0);
}

TEST_F(GroupLiveTest, AMemberThatIsSilentLosesWhatItHas) {
  ConsumerOptions options = Options();
  options.session_timeout = seconds(1);
  options.max_poll_interval = seconds(1);
  const auto away = Join(options);
  Read({away.get()}, [&] { return away->partitions().size() == 4; });
  const auto heir = Join(options);
  Read({heir.get()}, [&] { return heir->partitions().size() == 4; });  // which the other does not let go of by itself
  Read({away.get(), heir.get()}, [&] { return away->partitions().size() == 2 && heir->partitions().size() == 2; });
  EXPECT_THAT(std::vector(away->news.begin() + 4, away->news.begin() + 8), ElementsAre("!0", "!1", "!2", "!3"));
}

TEST_F(GroupLiveTest, AResetMovesARunningMember) {
  Produce(0, {"1", "2", "3"});
  const auto reader = Join();
  Read({reader.get()}, [&] { return reader->values.size() == 3; });
  const auto reset = admin_->ResetOffsets(kGroup, {{.topic = kTopic, .partition = 0, .offset = 1}});
  ASSERT_TRUE(reset.ok()) << reset.status();
  EXPECT_EQ(reset->at(0).new_offset, 1);
  Read({reader.get()}, [&] { return reader->values.size() == 5; });
  EXPECT_THAT(std::vector(reader->values.begin() + 3, reader->values.end()), ElementsAre("2", "3"));
  EXPECT_THAT(reader->news, ElementsAre("+0", "+1", "+2", "+3", "!0", "+0"));
}

TEST_F(GroupLiveTest, AResetOfAPausedPartitionLeavesItPaused) {
  Produce(0, {"1", "2"});
  const auto reader = Join();
  Read({reader.get()}, [&] { return reader->values.size() == 2; });
  const std::vector<TopicPartition> first = {{kTopic, 0}};
  ASSERT_TRUE(reader->consumer->Pause(first).ok());
  ASSERT_TRUE(admin_->ResetOffsets(kGroup, {{.topic = kTopic, .partition = 0, .offset = 0}}).ok());
  Read({reader.get()}, [&] { return reader->news.back() == "+0"; });
  EXPECT_TRUE(reader->consumer->progress().back().paused || reader->consumer->progress().front().paused);
  ASSERT_TRUE(reader->consumer->Resume(first).ok());
  Read({reader.get()}, [&] { return reader->values.size() == 4; });
}

TEST_F(GroupLiveTest, AResetBehindTheEndIsRefused) {
  Produce(0, {"1"});
  const auto reset = admin_->ResetOffsets(
      kGroup, {{.topic = kTopic, .partition = 0, .offset = 2}, {.topic = kTopic, .partition = 1, .offset = 0}});
  ASSERT_TRUE(reset.ok()) << reset.status();
  EXPECT_EQ(ErrorFrom(reset->at(0).status).code, ErrorCode::kOffsetOutOfRange);
  EXPECT_TRUE(reset->at(1).status.ok());
  EXPECT_EQ(Committed(0), -1);
  EXPECT_EQ(Committed(1), 0);
}

TEST_F(GroupLiveTest, AnInstanceComesBackToItsPartitionsAndFencesItsEarlierSelf) {
  ConsumerOptions one = Options();
  one.group_instance_id = "one";
  const auto first = Join(one);
  const auto other = Join();
  Read({first.get(), other.get()}, [&] { return first->partitions().size() == 2 && other->partitions().size() == 2; });
  const std::set<int32_t> had = first->partitions(), others = other->partitions();
  EXPECT_TRUE(first->consumer->Close().ok());
  const auto again = Join(one);
  Read({again.get(), other.get()}, [&] { return again->partitions().size() == 2; });
  EXPECT_EQ(again->partitions(), had);
  EXPECT_EQ(other->partitions(), others);

  const auto twin = Join(one);
  Read({twin.get(), again.get()}, [&] { return twin->partitions() == had && !again->status.ok(); });
  EXPECT_EQ(ErrorFrom(again->status).code, ErrorCode::kFencedInstanceId);
  EXPECT_THAT(again->partitions(), IsEmpty());
}

TEST_F(GroupLiveTest, NewPartitionsAndTopicsOfAPatternAreTakenUp) {
  auto consumer = Consumer::Create(Options()).value();
  Reader reader;
  reader.consumer = std::move(consumer);
  ASSERT_TRUE(reader.consumer->Subscribe({.pattern = "o.*"}).ok());
  Read({&reader}, [&] { return reader.consumer->progress().size() == 4; });
  ASSERT_TRUE(admin_->AddPartitions(kTopic, 6).ok());
  ASSERT_TRUE(admin_->CreateTopic({.name = "other", .partitions = 2}).ok());
  ASSERT_TRUE(admin_->CreateTopic({.name = "unread", .partitions = 2}).ok());
  Read({&reader}, [&] { return reader.consumer->progress().size() == 8; });
  ASSERT_TRUE(admin_->DeleteTopic("other").ok());
  Read({&reader}, [&] { return reader.consumer->progress().size() == 6; });
}

TEST_F(GroupLiveTest, APatternThatDoesNotCompileEndsTheMembership) {
  Reader reader;
  reader.consumer = Consumer::Create(Options()).value();
  ASSERT_TRUE(reader.consumer->Subscribe({.pattern = "("}).ok());
  Read({&reader}, [&] { return !reader.status.ok(); });
  EXPECT_EQ(ErrorFrom(reader.status).code, ErrorCode::kInvalidRegularExpression);
}

TEST_F(GroupLiveTest, WithoutACommittedOffsetNoneIsAnError) {
  Produce(0, {"1", "2"});
  ConsumerOptions options = Options();
  options.auto_offset_reset = AutoOffsetReset::kNone;
  const auto reader = Join(options);
  Read({reader.get()}, [&] { return !reader->status.ok(); });
  EXPECT_EQ(ErrorFrom(reader->status).code, ErrorCode::kOffsetOutOfRange);
  ASSERT_TRUE(reader->consumer->Seek({kTopic, 0}, Position::Offset(1)).ok());
  Read({reader.get()}, [&] { return !reader->values.empty(); });
  EXPECT_THAT(reader->values, ElementsAre("2"));
}

TEST_F(GroupLiveTest, WithoutACommittedOffsetOnAssignedMaySayWhereToBegin) {
  Produce(0, {"1", "2"});
  ConsumerOptions options = Options();
  options.auto_offset_reset = AutoOffsetReset::kNone;
  Consumer* self = nullptr;
  options.on_assigned = [&self](std::span<const TopicPartition>) {
    EXPECT_TRUE(self->Seek({kTopic, 0}, Position::Offset(1)).ok());
    EXPECT_EQ(ErrorFrom(self->Assign({{.topic = kTopic}})).code, ErrorCode::kInvalidRequest);
    EXPECT_EQ(ErrorFrom(self->Close()).code, ErrorCode::kInvalidRequest);
    EXPECT_EQ(ErrorFrom(self->Poll(milliseconds(0)).status()).code, ErrorCode::kInvalidRequest);
  };
  auto consumer = Consumer::Create(options).value();
  self = consumer.get();
  ASSERT_TRUE(consumer->Subscribe({.topics = {kTopic}}).ok());
  std::set<int32_t> without;
  std::vector<std::string> values;
  while (without.size() < 3 || values.empty()) {
    const absl::StatusOr<PollResult> polled = consumer->Poll(kPatience);
    if (!polled.ok()) {
      ASSERT_EQ(ErrorFrom(polled.status()).code, ErrorCode::kOffsetOutOfRange);
      without.insert(ErrorFrom(polled.status()).partition.value_or(-1));
    } else {
      for (const ConsumerRecord& record : polled->records) values.emplace_back(record.value.value_or(""));
      ASSERT_FALSE(polled->records.empty()) << "time passed";
    }
  }
  EXPECT_THAT(without, ElementsAre(1, 2, 3)) << "each is told";
  EXPECT_THAT(values, ElementsAre("2"));
}

TEST_F(GroupLiveTest, WithoutMembershipPartitionsBeginWhereTheGroupHasCome) {
  Produce(0, {"1", "2", "3"});
  auto consumer = Consumer::Create(Options()).value();
  ASSERT_TRUE(consumer->Assign({{.topic = kTopic, .partition = 0}}).ok());
  EXPECT_EQ(consumer->begin()->value, "1");
  ASSERT_TRUE(consumer->Commit().ok());
  auto next = Consumer::Create(Options()).value();
  ASSERT_TRUE(next->Assign({{.topic = kTopic, .partition = 0}}).ok());
  EXPECT_EQ(next->begin()->value, "2");
  const auto member = Join();
  Read({member.get()}, [&] { return !member->partitions().empty(); });
  EXPECT_EQ(ErrorFrom(next->Commit()).code, ErrorCode::kUnknownMemberId);
}

TEST_F(GroupLiveTest, WithoutMembershipTooWhatWasHandledIsCommittedAndAWholeTopicBeginsThere) {
  Produce(0, {"1", "2", "3"});
  {
    auto consumer = Consumer::Create(Options()).value();
    ASSERT_TRUE(consumer->Assign({{.topic = kTopic}}).ok());
    for (const ConsumerRecord& record : *consumer) {
      if (record.value == "3") break;
    }
  }
  EXPECT_EQ(Committed(0), 2);
  auto next = Consumer::Create(Options()).value();
  ASSERT_TRUE(next->Assign({{.topic = kTopic}}).ok());
  EXPECT_EQ(next->begin()->value, "3");
}

TEST_F(GroupLiveTest, AnIterationGoesOnWhereTheLastOneWasLeft) {
  Produce(0, {"1", "2", "3", "4", "5"});
  auto consumer = Consumer::Create(Options()).value();
  ASSERT_TRUE(consumer->Subscribe({.topics = {kTopic}}).ok());
  std::vector<std::string> values;
  for (const char* until : {"2", "4", "5"}) {
    for (const ConsumerRecord& record : *consumer) {
      values.emplace_back(*record.value);
      if (record.value == until) break;
    }
  }
  EXPECT_THAT(values, ElementsAre("1", "2", "3", "4", "5"));
}

TEST_F(GroupLiveTest, WhatIsPausedOrSoughtWhileItIsIteratedIsNotLost) {
  Produce(0, {"1", "2", "3", "4"});
  Produce(1, {"a"});
  auto consumer = Consumer::Create(Options()).value();
  ASSERT_TRUE(consumer->Subscribe({.topics = {kTopic}}).ok());
  const std::vector<TopicPartition> first = {{kTopic, 0}};
  std::vector<std::string> values;
  for (const ConsumerRecord& record : *consumer) {
    const std::string value(*record.value);
    values.push_back(value);
    if (value == "2") {
      ASSERT_TRUE(consumer->Pause(first).ok());
      Produce(2, {"go on"});
    } else if (value == "go on") {
      ASSERT_TRUE(consumer->Resume(first).ok());
    } else if (value == "3" && std::ranges::count(values, "3") == 1) {
      ASSERT_TRUE(consumer->Seek(first[0], Position::Offset(2)).ok());
    } else if (value == "4") {
      break;
    }
  }
  std::erase(values, "a");
  EXPECT_THAT(values, ElementsAre("1", "2", "go on", "3", "3", "4"));
}

TEST_F(GroupLiveTest, AStopByWakeupCommitsWhatWasHandled) {
  Produce(0, {"1", "2"});
  auto consumer = Consumer::Create(Options()).value();
  ASSERT_TRUE(consumer->Subscribe({.topics = {kTopic}}).ok());
  EXPECT_TRUE(consumer
                  ->Run([&](const ConsumerRecord& record) {
                    if (record.value == "2") consumer->Wakeup();
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_TRUE(consumer->Close().ok());
  EXPECT_EQ(Committed(0), 2);
}

TEST_F(GroupLiveTest, AGroupOutlivesTheBroker) {
  Produce(0, {"1"});
  ConsumerOptions options = Options();
  options.auto_commit_interval = milliseconds(1);
  const auto reader = Join(options);
  Read({reader.get()}, [&] { return reader->values.size() == 1 && Committed(0) == 1; });
  broker_.Kill();
  ASSERT_NO_FATAL_FAILURE(broker_.Start());
  Produce(0, {"2"});
  Read({reader.get()}, [&] { return reader->values.size() == 2 && Committed(0) == 2; });
  EXPECT_THAT(reader->values, ElementsAre("1", "2"));
  EXPECT_THAT(reader->news, ElementsAre("+0", "+1", "+2", "+3"));
}

TEST_F(GroupLiveTest, GroupsAreListedDescribedAndDeleted) {
  Produce(1, {"1", "2"});
  const auto reader = Join();
  Read({reader.get()}, [&] { return reader->values.size() == 2; });
  ASSERT_TRUE(reader->consumer->Commit().ok());
  Produce(1, {"3"});
  const auto group = admin_->DescribeGroup(kGroup);
  ASSERT_TRUE(group.ok()) << group.status();
  EXPECT_EQ(group->state, "Stable");
  ASSERT_EQ(group->members.size(), 1u);
  EXPECT_EQ(group->members[0].assigned.size(), 4u);
  EXPECT_EQ(group->partitions.at(1).committed, 2);
  EXPECT_EQ(group->partitions.at(1).high_watermark, 3);
  EXPECT_EQ(group->partitions.at(1).lag, 1);
  EXPECT_GE(group->partitions.at(1).lag_ms, 0);
  EXPECT_EQ(ErrorFrom(admin_->DeleteGroup(kGroup)).code, ErrorCode::kNonEmptyGroup);
  EXPECT_TRUE(reader->consumer->Close().ok());
  EXPECT_EQ(admin_->ListGroups()->groups.at(0).state, "Empty");
  EXPECT_TRUE(admin_->DeleteGroup(kGroup).ok());
  EXPECT_THAT(admin_->ListGroups()->groups, IsEmpty());
  EXPECT_EQ(ErrorFrom(admin_->DescribeGroup(kGroup).status()).code, ErrorCode::kGroupIdNotFound);
}

TEST_F(GroupLiveTest, ARecordThatFailsIsTriedAgainThenSetAsideAndTheOthersGoOn) {
  ASSERT_TRUE(admin_->CreateTopic({.name = "dead", .partitions = 1}).ok());
  Produce(0, {"good 1", "poison", "good 2"});
  Produce(1, {"good 3"});
  auto consumer = Consumer::Create(Options()).value();
  ASSERT_TRUE(consumer->Subscribe({.topics = {kTopic}}).ok());
  std::vector<std::string> handled;
  int tried = 0;
  const absl::Status ran = consumer->Run(
      [&](const ConsumerRecord& record) {
        if (record.value == "poison") {
          ++tried;
          return absl::InternalError("cannot be digested");
        }
        handled.emplace_back(*record.value);
        if (handled.size() == 3) consumer->Wakeup();
        return absl::OkStatus();
      },
      {.attempts = 3, .backoff = milliseconds(1), .dead_letter_topic = "dead"});
  EXPECT_TRUE(ran.ok()) << ran;
  EXPECT_EQ(tried, 3);
  EXPECT_THAT(handled, UnorderedElementsAre("good 1", "good 2", "good 3"));
  auto dead = Consumer::Create({.client = client_}).value();
  ASSERT_TRUE(dead->Assign({{.topic = "dead"}}).ok());
  const Consumer::Iterator record = dead->begin();
  EXPECT_EQ(record->value, "poison");
  std::map<std::string, std::string> headers;
  for (const Header& header : record->headers) headers[std::string(header.key)] = header.value.value_or("");
  EXPECT_EQ(headers["millrace.origin.topic"], kTopic);
  EXPECT_EQ(headers["millrace.origin.partition"], "0");
  EXPECT_EQ(headers["millrace.origin.offset"], "1");
  EXPECT_EQ(headers["millrace.error"], "cannot be digested");
  EXPECT_EQ(headers["millrace.attempts"], "3");
}

TEST_F(GroupLiveTest, WithoutATopicToSetItAsideTheRunEnds) {
  Produce(0, {"poison"});
  auto consumer = Consumer::Create(Options()).value();
  ASSERT_TRUE(consumer->Subscribe({.topics = {kTopic}}).ok());
  const absl::Status ran =
      consumer->Run([](const ConsumerRecord&) { return absl::InternalError("no"); }, {.attempts = 1});
  EXPECT_EQ(ran, absl::InternalError("no"));
  const auto again = consumer->Run([](const ConsumerRecord&) { return absl::InternalError("still"); }, {.attempts = 1});
  EXPECT_EQ(again, absl::InternalError("still")) << "it was not passed over";
  EXPECT_TRUE(consumer->Close().ok());
  EXPECT_LE(Committed(0), 0);
  EXPECT_EQ(ErrorFrom(consumer->Run([](const ConsumerRecord&) { return absl::OkStatus(); }, {.attempts = 0})).code,
            ErrorCode::kInvalidRequest);
}

TEST_F(GroupLiveTest, ARunThatEndsLeavesNothingPaused) {
  Produce(0, {"a"});
  Produce(1, {"b"});
  auto consumer = Consumer::Create(Options()).value();
  ASSERT_TRUE(consumer->Subscribe({.topics = {kTopic}}).ok());
  std::string failed, handled;
  const auto fail_one = [&](const ConsumerRecord& record) {
    if (failed.empty()) {
      failed = *record.value;
      return absl::InternalError("once");
    }
    consumer->Wakeup();
    return absl::OkStatus();
  };
  EXPECT_TRUE(consumer->Run(fail_one, {.attempts = 2, .backoff = seconds(1'000), .backoff_max = seconds(1'000)}).ok());
  EXPECT_TRUE(consumer
                  ->Run([&](const ConsumerRecord& record) {
                    handled = *record.value;
                    consumer->Wakeup();
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_EQ(handled, failed);
}

TEST_F(GroupLiveTest, ACommitInAHandlerIsOfWhatItHasReached) {
  Produce(0, {"1", "2", "3"});
  auto consumer = Consumer::Create(Options()).value();
  ASSERT_TRUE(consumer->Subscribe({.topics = {kTopic}}).ok());
  std::vector<int64_t> committed;
  EXPECT_TRUE(consumer
                  ->Run([&](const ConsumerRecord& record) {
                    EXPECT_TRUE(consumer->Commit().ok());
                    committed.push_back(Committed(0));
                    if (record.value == "3") consumer->Wakeup();
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_THAT(committed, ElementsAre(1, 2, 3));
}

TEST_F(GroupLiveTest, ARunWithoutItsDeadLetterTopicDoesNotBegin) {
  auto consumer = Consumer::Create(Options()).value();
  ASSERT_TRUE(consumer->Subscribe({.topics = {kTopic}}).ok());
  const absl::Status ran =
      consumer->Run([](const ConsumerRecord&) { return absl::OkStatus(); }, {.dead_letter_topic = "nowhere"});
  EXPECT_EQ(ErrorFrom(ran).code, ErrorCode::kUnknownTopicOrPartition);
}

TEST_F(GroupLiveTest, WhatNeedsAGroupSaysSo) {
  auto consumer = Consumer::Create({.client = client_}).value();
  EXPECT_EQ(ErrorFrom(consumer->Subscribe({.topics = {kTopic}})).code, ErrorCode::kInvalidRequest);
  EXPECT_EQ(ErrorFrom(consumer->Commit()).code, ErrorCode::kInvalidRequest);
  EXPECT_EQ(ErrorFrom(consumer->Committed().status()).code, ErrorCode::kInvalidRequest);
  auto member = Consumer::Create(Options()).value();
  EXPECT_EQ(ErrorFrom(member->Subscribe({})).code, ErrorCode::kInvalidRequest);
}

}  // namespace
}  // namespace millrace
