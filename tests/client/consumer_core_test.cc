#include "client/consumer_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/consumer_reader.h"
#include "millrace/error.h"
#include "tests/client/fake_broker.h"
#include "tests/support/sim_executor.h"

namespace millrace {
namespace {

using client::ConsumerCore;
using client::ConsumerReader;
using client::FetchPartition;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kAddress[] = "b1:9470";

// Both halves of a consumer and a fake broker in one thread.
class ConsumerTest : public testing::Test, public ConsumerReader::Core {
 protected:
  void SetUp() override {
    broker.AddTopic("t", 2);
    broker.AddTopic("one", 1);
  }

  void Create() {
    core = std::make_unique<ConsumerCore>(client::ClientEnvironment{executor.clock(), executor, random, broker},
                                          options, std::vector<std::string>{kAddress}, queue);
    reader = std::make_unique<ConsumerReader>(options, queue, this);
  }

  absl::Status Assign(std::vector<Assignment> assignments) {
    if (!core) Create();
    std::optional<absl::StatusOr<ConsumerCore::Partitions>> resolved;
    core->Resolve(assignments, [&](absl::StatusOr<ConsumerCore::Partitions> result) { resolved = std::move(result); });
    for (int i = 0; i < 100 && !resolved; ++i) executor.Advance(milliseconds(200));
    if (!resolved) return absl::InternalError("not resolved");
    if (!resolved->ok()) return resolved->status();
    reader->Assign(assignments, **resolved, executor.clock().Wall());
    core->Start(assignments, **resolved);
    executor.RunUntilIdle();
    return absl::OkStatus();
  }

  // Everything there is now: values, "gap FROM-TO", "error CODE", "end".
  std::vector<std::string> Drain() {
    std::vector<std::string> news;
    for (;;) {
      executor.RunUntilIdle();
      auto result = reader->Next();
      if (!result) return news;
      if (!result->ok()) {
        last_error = ErrorFrom(result->status());
        news.push_back("error " + std::string(ErrorCodeName(last_error.code)));
        continue;
      }
      for (const Gap& gap : (*result)->gaps) {
        news.push_back("gap " + std::to_string(gap.from) + "-" + std::to_string(gap.to));
      }
      for (const ConsumerRecord& record : (*result)->records) news.emplace_back(record.value.value_or("(null)"));
      if ((*result)->end) {
        news.push_back("end");
        return news;
      }
    }
  }

  absl::Status Seek(int64_t offset, int32_t partition = 0) {
    return reader->Seek({"one", partition}, Position::Offset(offset), executor.clock().Wall());
  }

  void Reposition(const std::shared_ptr<FetchPartition>& partition, uint64_t generation, Position position) override {
    executor.Post([=, this] { core->Reposition(partition, generation, position); });
  }
  void Halt(const std::shared_ptr<FetchPartition>& partition, uint64_t generation) override {
    executor.Post([=, this] { core->Halt(partition, generation); });
  }
  void Add(const std::shared_ptr<FetchPartition>& partition, uint64_t generation, Position position) override {
    executor.Post([=, this] { core->Add(partition, generation, position); });
  }
  void Remove(const std::shared_ptr<FetchPartition>& partition, uint64_t generation) override {
    executor.Post([=, this] { core->Remove(partition, generation); });
  }
  void GrantCredit() override {
    executor.Post([this] { core->GrantCredit(); });
  }

  static Assignment One(std::optional<Position> from = std::nullopt, std::optional<Position> until = std::nullopt) {
    return {.topic = "one", .partition = 0, .from = from, .until = until};
  }

  SimExecutor executor;
  SimRandom random{1};
  FakeBroker broker{executor, kAddress};
  ConsumerOptions options;
  client::FetchQueue queue;
  std::unique_ptr<ConsumerCore> core;
  std::unique_ptr<ConsumerReader> reader;
  Error last_error;
};

TEST_F(ConsumerTest, ReadsWhatIsThereAndWhatComes) {
  broker.Append("one", 0, {"a", "b"});
  ASSERT_TRUE(Assign({One()}).ok());
  EXPECT_THAT(Drain(), ElementsAre("a", "b"));
  broker.Append("one", 0, {"c"});
  EXPECT_THAT(Drain(), ElementsAre("c"));
  EXPECT_EQ(reader->progress()[0].position, 3);
  EXPECT_GT(broker.max_reply_bytes, 64 << 20);
}

TEST_F(ConsumerTest, PositionsOfEveryKind) {
  broker.Append("one", 0, {"a", "b", "c"}, 1000);  // times 1000, 1001, 1002
  broker.Append("one", 0, {"d", "e", "f"}, 2000);
  for (auto& [from, expected] : std::vector<std::pair<Position, std::vector<std::string>>>{
           {Position::Beginning(), {"a", "b", "c", "d", "e", "f"}},
           {Position::End(), {}},
           {Position::Offset(4), {"e", "f"}},
           {Position::Offset(6), {}},
           {Position::Time(0), {"a", "b", "c", "d", "e", "f"}},
           {Position::Time(1002), {"c", "d", "e", "f"}},
           {Position::Time(1003), {"d", "e", "f"}},
           {Position::Time(2001), {"e", "f"}},
           {Position::Time(9999), {}},
           {Position::BeforeEnd(2), {"e", "f"}},
           {Position::BeforeEnd(100), {"a", "b", "c", "d", "e", "f"}}}) {
    ASSERT_TRUE(Assign({One(from)}).ok());
    EXPECT_EQ(Drain(), expected) << static_cast<int>(from.kind()) << " " << from.value();
  }
}

TEST_F(ConsumerTest, AgoCountsBackFromNow) {
  broker.Append("one", 0, {"old"}, executor.clock().Wall() - 60'000);
  broker.Append("one", 0, {"new"}, executor.clock().Wall() - 5'000);
  ASSERT_TRUE(Assign({One(Position::Ago(seconds(30)))}).ok());
  EXPECT_THAT(Drain(), ElementsAre("new"));
}

TEST_F(ConsumerTest, AfterATimeBeyondTheEndComesWhateverIsAppended) {
  broker.Append("one", 0, {"a"}, 1000);
  ASSERT_TRUE(Assign({One(Position::Time(5000))}).ok());
  EXPECT_THAT(Drain(), IsEmpty());
  broker.Append("one", 0, {"b"}, 2000);
  EXPECT_THAT(Drain(), ElementsAre("b"));
}

TEST_F(ConsumerTest, BoundedReadEndsAtTheHighWatermarkSeenAtTheStart) {
  broker.Append("t", 0, {"a", "b"});
  broker.Append("t", 1, {"c"});
  ASSERT_TRUE(Assign({{.topic = "t", .until = Position::End()}}).ok());
  broker.Append("t", 0, {"late"});
  EXPECT_THAT(Drain(), testing::UnorderedElementsAre("a", "b", "c", "end"));
  EXPECT_EQ(reader->progress()[0].until, 2);
}

TEST_F(ConsumerTest, BoundedReadStopsWithinABatchAndOfNothingEndsAtOnce) {
  broker.Append("one", 0, {"a", "b", "c"});
  ASSERT_TRUE(Assign({One(Position::Beginning(), Position::Offset(2))}).ok());
  EXPECT_THAT(Drain(), ElementsAre("a", "b", "end"));
  ASSERT_TRUE(Assign({One(Position::End(), Position::End())}).ok());
  EXPECT_THAT(Drain(), ElementsAre("end"));
  broker.AddTopic("empty", 3);
  ASSERT_TRUE(Assign({{.topic = "empty", .until = Position::End()}}).ok());
  EXPECT_THAT(Drain(), ElementsAre("end"));
}

TEST_F(ConsumerTest, SeekDropsWhatWasReceived) {
  options.max_poll_records = 2;
  broker.Append("one", 0, {"a", "b", "c", "d", "e"});
  ASSERT_TRUE(Assign({One()}).ok());
  executor.RunUntilIdle();
  auto result = reader->Next();
  ASSERT_TRUE(result && result->ok());
  EXPECT_EQ((*result)->records.size(), 2u);
  ASSERT_TRUE(Seek(1).ok());
  EXPECT_THAT(Drain(), ElementsAre("b", "c", "d", "e"));
  // Frames under way for the old position do not get through either.
  broker.Append("one", 0, {"f"});
  ASSERT_TRUE(Seek(4).ok());
  EXPECT_THAT(Drain(), ElementsAre("e", "f"));
  EXPECT_FALSE(reader->Seek({"one", 7}, Position::End(), 0).ok());
}

TEST_F(ConsumerTest, BrokerRestartRepeatsAndSkipsNothing) {
  ASSERT_TRUE(Assign({{.topic = "t", .from = Position::Beginning()}}).ok());
  std::vector<std::string> expected;
  std::vector<std::string> read;
  for (int round = 0; round < 30; ++round) {
    for (int i = 0; i < 5; ++i) {
      const std::string value = std::to_string(round * 5 + i);
      expected.push_back(value);
      broker.Append("t", 0, {value});
    }
    if (round % 3 == 0) executor.RunUntilIdle();
    if (round % 5 == 1) broker.BreakStreams();
    if (round % 5 == 3) {
      broker.GoDown();
      executor.Advance(seconds(1));
      broker.ComeUp();
    }
    executor.Advance(milliseconds(20));
    if (round % 2 == 0) {
      for (std::string& value : Drain()) read.push_back(std::move(value));
    }
  }
  executor.Advance(seconds(5));
  for (std::string& value : Drain()) read.push_back(std::move(value));
  EXPECT_EQ(read, expected);
  EXPECT_GT(core->reconnects(), 0);
}

TEST_F(ConsumerTest, RetriableErrorOfAPartitionIsMendedInside) {
  broker.Append("one", 0, {"a"});
  ASSERT_TRUE(Assign({One()}).ok());
  EXPECT_THAT(Drain(), ElementsAre("a"));
  broker.FailSubscriptions({.code = 6, .message = "moved", .retriable = true});
  executor.Advance(seconds(1));
  broker.Append("one", 0, {"b"});
  EXPECT_THAT(Drain(), ElementsAre("b"));
  EXPECT_EQ(broker.subscribed_offsets.back(), 1);
}

TEST_F(ConsumerTest, BrokerThatIsAwayIsTroubleAndNoNewsIsNot) {
  ASSERT_TRUE(Assign({One()}).ok());
  executor.Advance(seconds(60));
  EXPECT_FALSE(core->trouble());

  const int64_t down_at = executor.clock().Wall();
  broker.GoDown();
  executor.Advance(seconds(30));
  ASSERT_TRUE(core->trouble());
  const Error error = ErrorFrom(core->trouble()->status);
  EXPECT_EQ(error.code, ErrorCode::kNetworkException);
  EXPECT_EQ(error.address, kAddress);
  EXPECT_EQ(core->trouble()->since, down_at);

  broker.ComeUp();
  executor.Advance(seconds(5));
  EXPECT_FALSE(core->trouble());
}

TEST_F(ConsumerTest, BrokerThatFallsSilentIsTroubleSinceItWasFirstMissed) {
  ASSERT_TRUE(Assign({One()}).ok());
  broker.GoSilent(true);
  executor.Advance(seconds(60));
  ASSERT_TRUE(core->trouble());
  const int64_t since = core->trouble()->since;
  executor.Advance(seconds(60));
  ASSERT_TRUE(core->trouble());
  EXPECT_EQ(core->trouble()->since, since);
}

TEST_F(ConsumerTest, PartitionWithoutLeaderIsTrouble) {
  ASSERT_TRUE(Assign({One()}).ok());
  broker.SetLeader("one", 0, -1);
  broker.FailSubscriptions({.code = 6, .message = "moved", .retriable = true});
  executor.Advance(seconds(5));
  ASSERT_TRUE(core->trouble());
  const Error error = ErrorFrom(core->trouble()->status);
  EXPECT_EQ(error.code, ErrorCode::kLeaderNotAvailable);
  EXPECT_EQ(error.topic, "one");
  EXPECT_EQ(error.partition, 0);
  EXPECT_LE(executor.clock().Wall() - core->trouble()->since, 5000);

  broker.SetLeader("one", 0, 1);
  executor.Advance(seconds(5));
  EXPECT_FALSE(core->trouble());
}

TEST_F(ConsumerTest, PositionBelowTheLogIsAnErrorByDefault) {
  broker.Append("one", 0, {"a", "b", "c"});
  broker.log("one", 0).log_start = 2;
  ASSERT_TRUE(Assign({One(Position::Offset(1))}).ok());
  EXPECT_THAT(Drain(), ElementsAre("error OFFSET_OUT_OF_RANGE", "end"));
  EXPECT_EQ(last_error.log_start_offset, 2);
  EXPECT_EQ(last_error.high_watermark, 3);
  EXPECT_EQ(last_error.topic, "one");
  EXPECT_EQ(last_error.partition, 0);
  ASSERT_TRUE(Seek(2).ok());
  EXPECT_THAT(Drain(), ElementsAre("c"));
}

TEST_F(ConsumerTest, PositionBelowTheLogIsAGapWhenAskedFor) {
  options.on_gap = OnGap::kReport;
  broker.Append("one", 0, {"a", "b"});
  broker.Append("one", 0, {"c"});
  broker.log("one", 0).log_start = 2;
  ASSERT_TRUE(Assign({One(Position::Offset(0))}).ok());
  EXPECT_THAT(Drain(), ElementsAre("gap 0-2", "c"));
  EXPECT_EQ(reader->counters().gap_records, 2);
}

TEST_F(ConsumerTest, PositionAboveTheLogGoesOnAtItsEnd) {
  options.on_gap = OnGap::kReport;
  broker.Append("one", 0, {"a"});
  ASSERT_TRUE(Assign({One(Position::Offset(10))}).ok());
  EXPECT_THAT(Drain(), ElementsAre("gap 1-10"));
  broker.Append("one", 0, {"b"});
  EXPECT_THAT(Drain(), ElementsAre("b"));
}

TEST_F(ConsumerTest, DamagedBatchIsAnErrorOrAGap) {
  broker.Append("one", 0, {"a"});
  BatchBuilder builder;
  builder.Add({.timestamp = 1, .key = std::nullopt, .value = "broken", .headers = {}});
  std::string bytes(builder.Finish({}));
  bytes.back() ^= 1;
  broker.AppendRaw("one", 0, absl::Cord(bytes));
  broker.Append("one", 0, {"c"});

  ASSERT_TRUE(Assign({One()}).ok());
  EXPECT_THAT(Drain(), ElementsAre("a", "error CORRUPT_MESSAGE", "end"));
  EXPECT_THAT(last_error.message, HasSubstr("offset 1"));
  ASSERT_TRUE(Seek(2).ok());
  EXPECT_THAT(Drain(), ElementsAre("c"));

  options.on_gap = OnGap::kReport;
  Create();
  ASSERT_TRUE(Assign({One()}).ok());
  EXPECT_THAT(Drain(), ElementsAre("a", "gap 1-2", "c"));

  options.check_crcs = false;
  Create();
  ASSERT_TRUE(Assign({One()}).ok());
  EXPECT_EQ(Drain().size(), 3u);
}

TEST_F(ConsumerTest, HoleThatTheBrokerDoesNotExplainIsNotPassedOver) {
  broker.Append("one", 0, {"a"});
  broker.log("one", 0).end = 5;
  broker.Append("one", 0, {"f"});
  ASSERT_TRUE(Assign({One()}).ok());
  EXPECT_THAT(Drain(), ElementsAre("a", "error OFFSET_OUT_OF_RANGE", "end"));
  options.on_gap = OnGap::kReport;
  Create();
  ASSERT_TRUE(Assign({One()}).ok());
  EXPECT_THAT(Drain(), ElementsAre("a", "gap 1-5", "f"));
}

TEST_F(ConsumerTest, CreditIsKeptInBalance) {
  options.fetch_max_bytes = 64 << 10;
  const std::string value(10'000, 'x');
  for (int i = 0; i < 200; ++i) broker.Append("one", 0, {value});
  ASSERT_TRUE(Assign({One()}).ok());
  executor.RunUntilIdle();
  // The application reads nothing: one batch may overdraw the credit.
  EXPECT_LE(broker.fetch_credit(), 0);
  EXPECT_GT(broker.fetch_credit(), -20'000);
  EXPECT_EQ(Drain().size(), 200u);
  executor.RunUntilIdle();
  EXPECT_GE(broker.fetch_credit(), (64 << 10) * 7 / 8);
  EXPECT_LE(broker.fetch_credit(), 64 << 10);

  // Frames of dropped subscriptions and broken streams leave the account as it should be.
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(Seek(i * 3).ok());
    if (i % 2 == 0) executor.RunUntilIdle();
    if (i % 5 == 0) {
      broker.BreakStreams();
      executor.Advance(seconds(1));
    }
  }
  ASSERT_TRUE(Seek(200).ok());
  EXPECT_THAT(Drain(), IsEmpty());
  broker.Append("one", 0, {value});
  EXPECT_EQ(Drain().size(), 1u);
  executor.RunUntilIdle();
  EXPECT_GE(broker.fetch_credit(), (64 << 10) * 7 / 8);
  EXPECT_LE(broker.fetch_credit(), 64 << 10);
}

TEST_F(ConsumerTest, PausedPartitionUsesNoCreditAndLosesNothing) {
  options.fetch_max_bytes = 64 << 10;
  const std::string value(10'000, 'x');
  for (int i = 0; i < 30; ++i) broker.Append("t", 0, {value});
  ASSERT_TRUE(Assign({{.topic = "t"}}).ok());
  const std::vector<TopicPartition> first = {{"t", 0}};
  executor.RunUntilIdle();
  ASSERT_TRUE(reader->Pause(first).ok());
  broker.Append("t", 1, {"other"});
  EXPECT_THAT(Drain(), ElementsAre("other"));
  ASSERT_TRUE(reader->Resume(first).ok());
  EXPECT_EQ(Drain().size(), 30u);
}

TEST_F(ConsumerTest, HeaderFiltersDropWhatDoesNotMatch) {
  options.header_filters = {{.key = "region", .value = "eu"}, {.key = "vip", .value = std::nullopt}};
  BatchBuilder builder;
  auto add = [&](const char* value, std::vector<HeaderView> headers) {
    builder.Add({.timestamp = 1, .key = std::nullopt, .value = value, .headers = std::move(headers)});
  };
  add("a", {{"region", "eu"}, {"vip", std::nullopt}});
  add("b", {{"region", "eu"}});
  add("c", {{"region", "us"}, {"vip", "1"}});
  add("d", {{"vip", "1"}, {"region", "us"}, {"region", "eu"}});
  add("e", {});
  broker.AppendRaw("one", 0, builder.Finish({}));
  ASSERT_TRUE(Assign({One()}).ok());
  EXPECT_THAT(Drain(), ElementsAre("a", "d"));
  EXPECT_EQ(reader->counters().filtered_records, 3);
  EXPECT_EQ(reader->progress()[0].position, 5);
}

TEST_F(ConsumerTest, RecordsCarryEverything) {
  BatchBuilder builder;
  builder.Add({.timestamp = 77, .key = "k", .value = std::nullopt, .headers = {{"h", "1"}, {"h", std::nullopt}}});
  builder.Add({.timestamp = 78, .key = "", .value = "", .headers = {{"x", ""}}});
  const int64_t append_time = executor.clock().Wall();
  broker.AppendRaw("one", 0, builder.Finish({.codec = Codec::kZstd}));
  ASSERT_TRUE(Assign({One()}).ok());
  executor.RunUntilIdle();
  auto result = reader->Next();
  ASSERT_TRUE(result && result->ok());
  ASSERT_EQ((*result)->records.size(), 2u);
  const ConsumerRecord& a = (*result)->records[0];
  const ConsumerRecord& b = (*result)->records[1];
  EXPECT_EQ(a.topic, "one");
  EXPECT_EQ(a.timestamp, 77);
  EXPECT_EQ(a.leader_epoch, 1);
  EXPECT_EQ(a.append_time, append_time);
  EXPECT_EQ(a.key, "k");
  EXPECT_EQ(a.value, std::nullopt);
  ASSERT_EQ(a.headers.size(), 2u);
  EXPECT_EQ(a.headers[0].value, "1");
  EXPECT_EQ(a.headers[1].value, std::nullopt);
  EXPECT_EQ(b.offset, 1);
  EXPECT_EQ(b.key, "");
  EXPECT_EQ(b.value, "");
  ASSERT_EQ(b.headers.size(), 1u);
  EXPECT_EQ(b.headers[0].key, "x");

  const OwnedRecord owned(a);
  EXPECT_EQ(owned.headers[1].key, "h");
  EXPECT_EQ(owned.value, std::nullopt);
}

TEST_F(ConsumerTest, LogAppendTimeIsTheRecordsTime) {
  broker.log_append_time = true;
  broker.Append("one", 0, {"a"}, 5);
  ASSERT_TRUE(Assign({One()}).ok());
  executor.RunUntilIdle();
  auto result = reader->Next();
  ASSERT_TRUE(result && result->ok());
  EXPECT_EQ((*result)->records[0].timestamp, (*result)->records[0].append_time);
}

TEST_F(ConsumerTest, AssignmentsThatCannotBeAreRefused) {
  EXPECT_EQ(ErrorFrom(Assign({{.topic = "none"}})).code, ErrorCode::kUnknownTopicOrPartition);
  EXPECT_EQ(ErrorFrom(Assign({{.topic = "t", .partition = 2}})).code, ErrorCode::kUnknownTopicOrPartition);
  EXPECT_EQ(ErrorFrom(Assign({{.topic = "t"}, {.topic = "t", .partition = 1}})).code, ErrorCode::kInvalidRequest);
  broker.GoDown();
  Create();
  const Error error = ErrorFrom(Assign({One()}));
  EXPECT_EQ(error.code, ErrorCode::kNetworkException);
  EXPECT_THAT(error.message, HasSubstr(kAddress));
}

TEST_F(ConsumerTest, DeletedTopicIsAnError) {
  broker.Append("one", 0, {"a"});
  ASSERT_TRUE(Assign({One()}).ok());
  EXPECT_THAT(Drain(), ElementsAre("a"));
  broker.DeleteTopic("one");
  broker.FailSubscriptions({.code = 3, .message = "gone", .retriable = true});
  executor.Advance(seconds(2));
  EXPECT_THAT(Drain(), ElementsAre("error UNKNOWN_TOPIC_OR_PARTITION", "end"));
}

TEST_F(ConsumerTest, NewPartitionsOfAWholeTopicAreReadFromTheirBeginning) {
  options.client.metadata_max_age = seconds(10);
  ASSERT_TRUE(Assign({{.topic = "t", .from = Position::End()}}).ok());
  broker.AddTopic("t", 3);
  broker.Append("t", 2, {"new"});
  executor.Advance(seconds(11));
  EXPECT_THAT(Drain(), ElementsAre("new"));
  EXPECT_EQ(reader->progress().size(), 3u);
}

}  // namespace
}  // namespace millrace
