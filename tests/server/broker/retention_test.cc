// Retention in a broker: what goes, what stays, and what readers, producers and operators see of it.
#include <gmock/gmock.h>

#include <iostream>
#include <limits>
#include <map>
#include <optional>
#include <random>

#include "tests/server/broker/fixture.h"

namespace millrace {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;

constexpr int64_t kHourMs = 3'600'000;

class RetentionTest : public BrokerTest {
 protected:
  v1::PartitionDescription Describe(const std::string& topic, int partition = 0) {
    v1::DescribeTopicRequest request;
    request.set_name(topic);
    v1::DescribeTopicResponse response;
    EXPECT_TRUE(Unary("Admin/DescribeTopic", request, &response).status.ok());
    return response.partitions(partition);
  }
  int64_t LogStart(const std::string& topic, int partition = 0) {
    return Describe(topic, partition).log_start_offset();
  }

  void Alter(const std::string& topic, const std::string& name, const std::string& value) {
    v1::AlterTopicRequest request;
    request.set_name(topic);
    (*request.mutable_set())[name] = value;
    v1::AlterTopicResponse response;
    ASSERT_TRUE(Unary("Admin/AlterTopic", request, &response).status.ok());
  }
  // Its record's own time is long past, and must not matter.
  static absl::Cord OldBatchOf(const std::string& value, BatchBuilder::Options options = {}) {
    return BatchOf({value}, options, 1'000'000);
  }
  // One record of about `bytes`.
  int64_t Produce(const std::string& topic, const std::string& value, size_t bytes = 0, int32_t partition = 0) {
    const ProduceAckFrame ack = Send(*client_, topic, partition, OldBatchOf(value + std::string(bytes, '.')));
    EXPECT_TRUE(ack.error.ok()) << ack.error.message;
    return ack.base_offset;
  }
  void Settle() { executor_.Advance(server::LogClock::kSettleTime + seconds(2)); }
  void Restart(size_t kept = FakeLogStore::kKeepUnsynced) {
    client_.reset();
    broker_->Crash(kept);
    broker_->Start();
    client_.emplace(executor_, network_, "Produce");
  }

  std::optional<FrameClient> client_{std::in_place, executor_, network_, "Produce"};
};

TEST_F(RetentionTest, RecordsStayTheirTimeAndGoSoonAfter) {
  CreateTopic("t", 1, {{"retention.ms", "100s"}});  // segments of 10 s
  Settle();
  std::map<int64_t, std::chrono::nanoseconds> appended;
  for (int i = 0; i < 60; ++i) {
    appended[Produce("t", "v")] = executor_.clock().Monotonic();
    executor_.Advance(seconds(5));
    const int64_t start = LogStart("t");
    for (const auto& [offset, at] : appended) {
      const auto age = executor_.clock().Monotonic() - at;
      ASSERT_TRUE(age > seconds(100) || start <= offset);
      ASSERT_TRUE(age <= seconds(100 + 10 + 5 + 2) || start > offset);
    }
  }
  EXPECT_GT(LogStart("t"), 30);
  EXPECT_EQ(metrics().retention_records.Value(), static_cast<uint64_t>(LogStart("t")));
  EXPECT_GT(metrics().retention_segments.Value(), 10u);
  EXPECT_GT(metrics().retention_bytes.Value(), metrics().retention_records.Value());
}

TEST_F(RetentionTest, APartitionThatNobodyWritesToEndsEmpty) {
  CreateTopic("t", 1, {{"retention.ms", "60s"}});
  for (int i = 0; i < 3; ++i) Produce("t", "v");
  executor_.Advance(seconds(58));
  EXPECT_EQ(LogStart("t"), 0);
  executor_.Advance(seconds(4));
  const v1::PartitionDescription empty = Describe("t");
  EXPECT_EQ(empty.log_start_offset(), 3);
  EXPECT_EQ(empty.high_watermark(), 3);
  EXPECT_LT(empty.bytes(), 10) << "all but the entry that moved the log start";
  const uint64_t writes = disk_.writes();
  executor_.Advance(seconds(300));
  EXPECT_EQ(disk_.writes(), writes) << "there is nothing left to remove";
  EXPECT_EQ(Produce("t", "next"), 3);
}

TEST_F(RetentionTest, SoManyBytesStayAndATenthMore) {
  CreateTopic("t", 1, {{"retention.bytes", "1MiB"}});
  for (int i = 0; i < 400; ++i) {
    Produce("t", "v", 10'000);
    if (i % 10 != 0) continue;
    executor_.Advance(seconds(2));
    const int64_t bytes = Describe("t").bytes();
    ASSERT_GE(bytes, std::min(i * 10'000, 1 << 20));
    ASSERT_LE(bytes, (1 << 20) * 11 / 10 + 10 * 10'100);
  }
  EXPECT_GT(LogStart("t"), 250);
}

TEST_F(RetentionTest, AClockThatJumpsForwardRemovesNothing) {
  CreateTopic("t", 1, {{"retention.ms", "1h"}});
  Settle();
  Produce("t", "before");
  executor_.clock().JumpWall(1000 * kHourMs);
  executor_.Advance(seconds(10));
  Produce("t", "during");
  executor_.Advance(std::chrono::minutes(30));
  EXPECT_EQ(LogStart("t"), 0);
  EXPECT_EQ(metrics().clock_in_doubt.Value(), 1);
  executor_.clock().JumpWall(-1000 * kHourMs);
  executor_.Advance(std::chrono::minutes(29));
  EXPECT_EQ(metrics().clock_in_doubt.Value(), 0);
  EXPECT_EQ(LogStart("t"), 0);
  executor_.Advance(std::chrono::hours(2));
  EXPECT_EQ(LogStart("t"), 1) << "what got the wrong time stays until that is due";
}

TEST_F(RetentionTest, AClockThatJumpsBackRemovesNothingAndNothingEarlyLater) {
  CreateTopic("t", 1, {{"retention.ms", "1h"}});
  Settle();
  executor_.clock().JumpWall(-1000 * kHourMs);
  executor_.Advance(seconds(10));
  Produce("t", "during");
  executor_.Advance(std::chrono::minutes(30));
  EXPECT_EQ(metrics().clock_in_doubt.Value(), 1);
  executor_.clock().JumpWall(1000 * kHourMs);
  executor_.Advance(std::chrono::minutes(29));
  EXPECT_EQ(metrics().clock_in_doubt.Value(), 0);
  EXPECT_EQ(LogStart("t"), 0);
  executor_.Advance(std::chrono::minutes(2));
  EXPECT_EQ(LogStart("t"), 1);
}

TEST_F(RetentionTest, ARestartTakesTheClockAsItIs) {
  CreateTopic("t", 1, {{"retention.ms", "1h"}});
  Settle();
  Produce("t", "v");
  executor_.clock().JumpWall(2 * kHourMs);
  executor_.Advance(seconds(60));
  EXPECT_EQ(LogStart("t"), 0);
  Restart();
  executor_.Advance(seconds(20));
  EXPECT_EQ(LogStart("t"), 0) << "it may still be set";
  executor_.Advance(seconds(20));
  EXPECT_EQ(LogStart("t"), 1);
}

TEST_F(RetentionTest, BytesGoWhateverTheClockDoes) {
  CreateTopic("t", 1, {{"retention.bytes", "160KiB"}});
  Settle();
  executor_.clock().JumpWall(1000 * kHourMs);
  for (int i = 0; i < 100; ++i) Produce("t", "v", 10'000);
  executor_.Advance(seconds(2));
  EXPECT_GT(LogStart("t"), 70);
}

TEST_F(RetentionTest, ChangedSettingsTakeEffectAtOnce) {
  CreateTopic("t", 1, {{"segment.bytes", "16KiB"}});
  Settle();
  for (int i = 0; i < 100; ++i) Produce("t", "v", 1000);
  executor_.Advance(seconds(100));
  EXPECT_EQ(LogStart("t"), 0);
  Alter("t", "retention.bytes", "64KiB");
  executor_.Advance(seconds(2));
  const int64_t by_size = LogStart("t");
  EXPECT_GT(by_size, 10);
  Alter("t", "retention.ms", "1h");
  executor_.Advance(seconds(2));
  EXPECT_EQ(LogStart("t"), by_size);
  Alter("t", "retention.ms", "10s");
  executor_.Advance(seconds(2));
  EXPECT_EQ(LogStart("t"), 100);
}

TEST_F(RetentionTest, AReaderThatIsOvertakenIsToldOfTheGap) {
  CreateTopic("t", 1, {{"segment.bytes", "16KiB"}});
  for (int i = 0; i < 100; ++i) Produce("t", std::to_string(i) + " ", 1000);
  FrameClient fetch(executor_, network_, "Fetch");
  FetchSubscriptionFrame reader = At(1, "t", 0, 0);
  reader.out_of_range = static_cast<int32_t>(OutOfRange::kGap);
  fetch.Send(FetchFrom(reader, 1));  // one batch, then it is out of credit
  ASSERT_EQ(ValuesFetched(fetch, 1).size(), 1u);

  Alter("t", "retention.bytes", "32KiB");
  executor_.Advance(seconds(2));
  const int64_t start = LogStart("t");
  ASSERT_GT(start, 10);
  FetchRequestFrame more;
  more.credit = 1 << 20;
  fetch.Send(SerializeFetchRequest(more));
  executor_.Advance(seconds(1));
  int64_t next = 0;
  for (const FetchPartitionFrame& frame : PartitionsOf(fetch, 1)) {
    if (frame.gap) {
      EXPECT_EQ(frame.gap->from, next);
      EXPECT_EQ(frame.gap->reason, v1::Gap::RETENTION);
      next = frame.gap->to;
    }
    for (const FetchedBatchFrame& batch : frame.batches) {
      EXPECT_EQ(batch.base_offset, next);
      EXPECT_THAT(ValuesOf(batch.batch).at(0), ::testing::StartsWith(std::to_string(next) + " "));
      ++next;
    }
  }
  EXPECT_EQ(next, 100) << "every offset is there or named as missing";
}

TEST_F(RetentionTest, ReadersThatWaitAtTheEndOfAnEmptiedPartitionGoOn) {
  CreateTopic("t", 1, {{"retention.ms", "60s"}});
  Produce("t", "old");
  FrameClient fetch(executor_, network_, "Fetch");
  fetch.Send(FetchFrom(At(1, "t", 0, 1)));
  executor_.Advance(seconds(100));
  ASSERT_EQ(LogStart("t"), 1);
  Produce("t", "new");
  executor_.Advance(seconds(1));
  EXPECT_THAT(ValuesFetched(fetch, 1), ElementsAre("new"));
}

TEST_F(RetentionTest, RepeatsAreKnownWhenTheOriginalIsGoneAndTheMachineWentDown) {
  CreateTopic("t", 1, {{"retention.ms", "60s"}});
  v1::InitProducerResponse producer;
  ASSERT_TRUE(Unary("Broker/InitProducer", v1::InitProducerRequest(), &producer).status.ok());
  BatchBuilder::Options options;
  options.producer_id = producer.producer_id();
  const absl::Cord batch = OldBatchOf("a", options);
  ASSERT_EQ(Send(*client_, "t", 0, batch).base_offset, 0);
  executor_.Advance(seconds(100));
  ASSERT_EQ(LogStart("t"), 1);
  Restart();
  const ProduceAckFrame ack = Send(*client_, "t", 0, batch);
  EXPECT_TRUE(ack.duplicate) << ack.error.message;
  EXPECT_EQ(ack.base_offset, 0);
}

TEST_F(RetentionTest, PartitionsThatNobodyUsedSinceTheStartAreNotForgotten) {
  CreateTopic("t", 40, {{"retention.ms", "60s"}});
  for (int p = 0; p < 40; ++p) Produce("t", "v", 0, p);
  Restart();
  executor_.Advance(seconds(100));
  for (int p = 0; p < 40; ++p) EXPECT_EQ(LogStart("t", p), 1) << p;
}

TEST_F(RetentionTest, ManyLogStartsMoveAFewAtATime) {
  CreateTopic("t", 100, {{"retention.ms", "60s"}});
  for (int p = 0; p < 100; ++p) Produce("t", "v", 0, p);
  executor_.Advance(seconds(50));
  const uint64_t before = disk_.writes();
  executor_.Advance(seconds(30));
  EXPECT_EQ(metrics().retention_segments.Value(), 100u);
  EXPECT_GE(disk_.writes() - before, 100u / server::Retention::kMovesPerTurn);
}

TEST_F(RetentionTest, ATopicMayGoInTheMiddleOfAPass) {
  CreateTopic("a", 50, {{"retention.ms", "60s"}});
  CreateTopic("b", 50, {{"retention.ms", "60s"}});
  for (int p = 0; p < 50; ++p) {
    Produce("a", "v", 0, p);
    Produce("b", "v", 0, p);
  }
  executor_.Advance(seconds(59));
  v1::DeleteTopicRequest remove;
  remove.set_name("a");
  v1::DeleteTopicResponse removed;
  ASSERT_TRUE(Unary("Admin/DeleteTopic", remove, &removed).status.ok());
  executor_.Advance(seconds(10));
  for (int p = 0; p < 50; ++p) EXPECT_EQ(LogStart("b", p), 1) << p;
}

TEST_F(RetentionTest, GoesOnWhileTheDiskIsTooFullForRecords) {
  int64_t free_bytes = 1000;
  server::Broker::Options options = SimBroker::DefaultOptions();
  options.disk_free_floor = 100;
  options.disk_space = [&free_bytes] { return server::DiskSpace{.free_bytes = free_bytes, .total_bytes = 1000}; };
  client_.reset();
  broker_.reset();
  broker_ = std::make_unique<SimBroker>(executor_, network_, disk_, options);
  client_.emplace(executor_, network_, "Produce");
  CreateTopic("t", 1, {{"retention.ms", "60s"}});
  Produce("t", "v");
  free_bytes = 0;
  executor_.Advance(seconds(2));
  EXPECT_EQ(Send(*client_, "t", 0, BatchOf({"refused"})).error.code, Error::KAFKA_STORAGE_ERROR);
  executor_.Advance(seconds(100));
  EXPECT_EQ(LogStart("t"), 1);
  broker_.reset();
}

TEST_F(RetentionTest, ALogWhoseEndIsDamagedKeepsWhatItHas) {
  CreateTopic("t", 1, {{"retention.ms", "1h"}});
  for (int i = 0; i < 5; ++i) Produce("t", "v");
  const raft::GroupId group = GroupOf("t", 0);
  client_.reset();
  broker_->Crash(FakeLogStore::kKeepUnsynced);
  disk_.DamageEnd(group);
  broker_->Start();
  Settle();
  executor_.Advance(std::chrono::hours(3));
  EXPECT_EQ(LogStart("t"), 0);
  EXPECT_EQ(disk_.State(group).log_start, raft::Offset(0));
}

TEST_F(RetentionTest, WaitsWhileTheStoreStalls) {
  CreateTopic("t", 1, {{"retention.ms", "1h"}});
  for (int i = 0; i < 5; ++i) Produce("t", "v");
  Settle();
  const raft::GroupId group = GroupOf("t", 0);
  disk_.Stall();
  executor_.Advance(std::chrono::hours(3));
  EXPECT_EQ(disk_.State(group).log_start, raft::Offset(0));
  disk_.EndStall();
  executor_.Advance(seconds(4));
  EXPECT_EQ(disk_.State(group).log_start, raft::Offset(5));
  EXPECT_EQ(Produce("t", "next"), 5);
  Restart(FakeLogStore::kLoseUnsynced);
  EXPECT_EQ(LogStart("t"), 5);
}

// Random appends, settings, jumps of the clock and crashes, against the promise alone: nothing goes that either setting asks
// for, every record that is there is the one that was acked, and what is due is gone in the end.
TEST_F(RetentionTest, KeepsItsPromiseWhateverHappens) {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << '\n';
  std::mt19937_64 random(seed);
  struct Record {
    std::chrono::nanoseconds at;
    int64_t bytes;
    std::string value;
  };
  std::vector<Record> records;
  constexpr int64_t kOwnBytes = 100;  // of the broker's own entries in the log, at most
  constexpr int64_t kForEver = std::numeric_limits<int64_t>::max();
  int64_t retention_ms = 200'000, retention_bytes = kForEver, away_ms = 0, start = 0;
  CreateTopic("t", 1, {{"retention.ms", "200s"}, {"segment.bytes", "16KiB"}});
  Settle();
  for (int step = 0; step < 400; ++step) {
    SCOPED_TRACE("seed " + std::to_string(seed) + " step " + std::to_string(step));
    for (uint64_t i = random() % 4; i > 0; --i) {
      const std::string value = std::to_string(records.size()) + std::string(random() % 8000, 'x');
      const absl::Cord batch = OldBatchOf(value);
      records.push_back({executor_.clock().Monotonic(), static_cast<int64_t>(batch.size()), value});
      ASSERT_EQ(Send(*client_, "t", 0, batch).base_offset, static_cast<int64_t>(records.size()) - 1);
    }
    // What went in this step may have gone by the settings before or after their change.
    int64_t least_ms = retention_ms, least_bytes = retention_bytes;
    if (random() % 40 == 0) {
      retention_ms = static_cast<int64_t>(random() % 300 + 20) * 1000;
      Alter("t", "retention.ms", std::to_string(retention_ms));
    }
    if (random() % 40 == 0) {
      retention_bytes = random() % 2 == 0 ? kForEver : static_cast<int64_t>(random() % 100'000) + 20'000;
      Alter("t", "retention.bytes", retention_bytes == kForEver ? "-1" : std::to_string(retention_bytes));
    }
    if (random() % 30 == 0) {
      const int64_t to = random() % 2 == 0 ? 0 : static_cast<int64_t>(random() % (4 * kHourMs)) - 2 * kHourMs;
      executor_.clock().JumpWall(to - away_ms);
      away_ms = to;
    } else if (away_ms == 0 && random() % 40 == 0) {
      Restart();
      Settle();
    }
    least_ms = std::min(least_ms, retention_ms);
    least_bytes = std::min(least_bytes, retention_bytes);
    executor_.Advance(std::chrono::milliseconds(random() % 15'000));

    const v1::PartitionDescription now = Describe("t");
    ASSERT_GE(now.log_start_offset(), start);
    int64_t behind = 0;
    for (size_t i = static_cast<size_t>(now.log_start_offset()); i < records.size(); ++i) behind += records[i].bytes;
    if (now.log_start_offset() > start) {
      const Record& newest_gone = records[static_cast<size_t>(now.log_start_offset()) - 1];
      const auto age = (executor_.clock().Monotonic() - newest_gone.at) / std::chrono::milliseconds(1);
      ASSERT_TRUE(age + age / 1000 >= least_ms || behind + kOwnBytes >= least_bytes)
          << "age " << age << " of " << least_ms << ", behind " << behind << " of " << least_bytes;
    }
    start = now.log_start_offset();
  }
  FrameClient fetch(executor_, network_, "Fetch");
  fetch.Send(FetchFrom(At(1, "t", 0, start), 1 << 30));
  executor_.Advance(seconds(1));
  std::vector<std::string> left;
  for (size_t i = static_cast<size_t>(start); i < records.size(); ++i) left.push_back(records[i].value);
  EXPECT_EQ(ValuesFetched(fetch, 1), left);

  executor_.clock().JumpWall(-away_ms);
  Restart();
  executor_.Advance(std::chrono::hours(5));
  EXPECT_EQ(LogStart("t"), static_cast<int64_t>(records.size()));
}

}  // namespace
}  // namespace millrace
