// Memory under way is bounded, and what one client holds never stops the others.
#include <deque>

#include "tests/server/broker/fixture.h"

namespace millrace {
namespace {

constexpr int64_t kMemoryLimit = 16 << 20;  // 1 MiB for frames, 1 MiB for reading ahead

class Memory : public BrokerTest {
 protected:
  Memory() {
    StartWith(kMemoryLimit);
    CreateTopic("t", 8, {{"max.message.bytes", "8388608"}});
  }

  void StartWith(int64_t memory_limit) {
    server::Broker::Options options = SimBroker::DefaultOptions();
    options.memory_limit = memory_limit;
    broker_.reset();
    broker_ = std::make_unique<SimBroker>(executor_, network_, disk_, options);
  }

  void Fill(int32_t partition, int count, size_t bytes) {
    FrameClient produce(executor_, network_, "Produce");
    for (int i = 0; i < count; ++i) Send(produce, "t", partition, BatchOf({std::string(bytes, 'x')}));
  }

  // Subscribes to all partitions and takes nothing but the first message.
  FrameClient& AddSilentClient() {
    FrameClient& client = silent_.emplace_back(executor_, network_, "Fetch");
    client.reading = false;
    FetchRequestFrame request;
    request.max_reply_bytes = 16 << 20;
    for (int p = 0; p < 8; ++p) request.subscribe.push_back(At(static_cast<uint64_t>(p + 1), "t", p, 0));
    request.credit = 1 << 30;
    client.Send(SerializeFetchRequest(request));
    return client;
  }

  server::Shard& shard() { return *broker_->broker().shards()[0]; }

  std::deque<FrameClient> silent_;
};

TEST_F(Memory, ClientsThatDoNotReadDoNotStopTheOthers) {
  Fill(0, 60, 100 << 10);
  for (int i = 0; i < 8; ++i) AddSilentClient();
  EXPECT_TRUE(shard().fetch_budget.exhausted());
  FrameClient reader(executor_, network_, "Fetch");
  reader.Send(FetchFrom(At(1, "t", 0, 0), 1 << 30));
  EXPECT_EQ(ValuesFetched(reader, 1).size(), 60u);
}

TEST_F(Memory, ALargeBatchWaitsForTheBudgetAndSmallOnesOvertakeIt) {
  Fill(0, 60, 100 << 10);
  Fill(1, 1, 4 << 20);
  for (int i = 0; i < 8; ++i) AddSilentClient();
  FrameClient reader(executor_, network_, "Fetch");
  FetchRequestFrame request;
  request.max_reply_bytes = 16 << 20;
  request.subscribe = {At(1, "t", 0, 0), At(2, "t", 1, 0)};
  request.credit = 1 << 30;
  reader.Send(SerializeFetchRequest(request));
  EXPECT_EQ(ValuesFetched(reader, 1).size(), 60u);
  EXPECT_TRUE(ValuesFetched(reader, 2).empty());
  silent_.clear();
  executor_.RunUntilIdle();
  EXPECT_EQ(ValuesFetched(reader, 2).size(), 1u);
}

TEST_F(Memory, AClientThatTakesNothingForAMinuteIsEnded) {
  Fill(0, 60, 100 << 10);
  FrameClient& silent = AddSilentClient();
  EXPECT_GT(shard().fetch_budget.bytes(), 0);
  executor_.Advance(std::chrono::seconds(59));
  EXPECT_FALSE(silent.closed);
  executor_.Advance(std::chrono::seconds(2));
  EXPECT_TRUE(silent.closed);
  EXPECT_EQ(shard().fetch_budget.bytes(), 0);
  EXPECT_EQ(shard().read_ahead_budget.bytes(), 0);
  EXPECT_EQ(metrics().fetch_queue_bytes.Value(), 0);
  EXPECT_EQ(metrics().errors.Value(Error::REQUEST_TIMED_OUT), 1u);
}

TEST_F(Memory, AClientThatReadsNowAndThenIsNotEnded) {
  Fill(0, 60, 100 << 10);
  FrameClient& slow = AddSilentClient();
  for (int minutes = 0; minutes < 3; ++minutes) {
    executor_.Advance(std::chrono::seconds(50));
    slow.Resume();
    slow.reading = false;
  }
  EXPECT_FALSE(slow.closed);
}

TEST_F(Memory, ATailThatTakesNothingForAMinuteIsEnded) {
  Fill(0, 6, 100 << 10);
  FrameClient tail(executor_, network_, "Tail");
  tail.reading = false;
  v1::TailRequest request;
  request.set_topic("t");
  request.set_offset(0);
  request.set_max_reply_bytes(150 << 10);
  tail.Send(absl::Cord(request.SerializeAsString()));
  executor_.Advance(std::chrono::seconds(61));
  EXPECT_TRUE(tail.closed);
}

// Goal: what is read ahead for clients that do not read is bounded, and a new client still reads from disk.
TEST_F(Memory, ReadingAheadIsBoundedOverAllStreams) {
  for (int p = 0; p < 8; ++p) Fill(p, 12, 100 << 10);
  disk_.DropCache();
  executor_.Advance(2 * server::ColdReadPacer::kQuietAfter);
  for (int i = 0; i < 12; ++i) AddSilentClient();
  constexpr int64_t kShare = kMemoryLimit / 16, kStepOfEach = 512 << 10;
  EXPECT_LE(shard().read_ahead_budget.bytes(), kShare + 12 * kStepOfEach);
  EXPECT_TRUE(shard().read_ahead_budget.exhausted());
  FrameClient reader(executor_, network_, "Fetch");
  reader.Send(FetchFrom(At(1, "t", 3, 0), 1 << 30));
  EXPECT_EQ(ValuesFetched(reader, 1).size(), 12u);
}

TEST_F(Memory, NothingIsHeldForClientsThatWentAwayOrPaused) {
  StartWith(8 * kMemoryLimit);  // enough for more than one read at a time
  for (int p = 0; p < 8; ++p) Fill(p, 12, 100 << 10);
  disk_.DropCache();
  executor_.Advance(2 * server::ColdReadPacer::kQuietAfter);
  AddSilentClient();
  EXPECT_GT(shard().read_ahead_budget.bytes(), 0);
  FetchRequestFrame pause;
  for (uint64_t id = 1; id <= 8; ++id) pause.pause.push_back(id);
  silent_.front().Send(SerializeFetchRequest(pause));
  EXPECT_EQ(shard().read_ahead_budget.bytes(), 0);
  silent_.clear();
  executor_.RunUntilIdle();
  EXPECT_EQ(shard().fetch_budget.bytes(), 0);
  EXPECT_EQ(metrics().fetch_queue_bytes.Value(), 0);
}

// Goal: tiny batches are not free. Method: requests of many; the second waits until the first is acked.
TEST_F(Memory, SmallBatchesCountWithWhatTheyCost) {
  constexpr int64_t kBatches = 9'000, kRequests = 3;
  FrameClient produce(executor_, network_, "Produce");
  ProduceRequestFrame request;
  const absl::Cord batch = BatchOf({"x"});
  for (uint64_t i = 0; i < kBatches; ++i) request.batches.push_back({i + 1, "t", static_cast<int>(i % 8), 0, 0, batch});
  const absl::Cord message = SerializeProduceRequest(request);
  const uint64_t writes = disk_.writes();
  for (int i = 0; i < kRequests; ++i) produce.Send(message);
  EXPECT_GE(disk_.writes() - writes, 3u) << "one request's batches are not all staged before the first is written";
  EXPECT_GT(shard().produce_budget.bytes(), kBatches << 10);
  EXPECT_LT(shard().produce_budget.bytes(), 2 * kBatches << 10) << "the next request waits";
  executor_.Advance(std::chrono::seconds(1));
  EXPECT_EQ(AcksOf(produce).size(), static_cast<size_t>(kRequests * kBatches));
  EXPECT_EQ(shard().produce_budget.bytes(), 0);
}

TEST_F(Memory, RefusalsComeInRepliesThatStockClientsTake) {
  FrameClient produce(executor_, network_, "Produce");
  ProduceRequestFrame request;
  const absl::Cord batch = BatchOf({"x"});
  for (uint64_t i = 1; i <= 20'000; ++i) request.batches.push_back({i, std::string(240, 'n'), 0, 0, 0, batch});
  produce.Send(SerializeProduceRequest(request));
  EXPECT_EQ(AcksOf(produce).size(), 20'000u);
  for (const absl::Cord& message : produce.messages) EXPECT_LE(message.size(), 4'000'000u);
}

TEST_F(Memory, ManyErrorsOfAFetchStreamComeInRepliesThatStockClientsTake) {
  FrameClient fetch(executor_, network_, "Fetch");
  FetchRequestFrame request;
  for (uint64_t id = 1; id <= 20'000; ++id) request.subscribe.push_back(At(id, std::string(240, 'n'), 0, 0));
  request.credit = 1;
  fetch.Send(SerializeFetchRequest(request));
  size_t errors = 0;
  for (const absl::Cord& message : fetch.messages) {
    EXPECT_LE(message.size(), 4'000'000u);
    errors += ParseFetchResponse(message)->partitions.size();
  }
  EXPECT_EQ(errors, 20'000u);
}

TEST_F(Memory, OneReadTakesAPageHoweverMuchIsAskedFor) {
  Fill(0, 100, 100 << 10);
  v1::ReadRequest read;
  read.set_topic("t");
  read.set_max_bytes(1 << 30);
  read.set_max_reply_bytes(1 << 30);
  v1::ReadResponse response;
  ASSERT_TRUE(Unary("Broker/Read", read, &response).status.ok());
  EXPECT_GT(response.records_size(), 0);
  EXPECT_LE(response.ByteSizeLong(), 4u << 20);
}

TEST_F(Memory, ABatchThatGrowsTooMuchIsNotUnpacked) {
  BatchBuilder::Options options;
  options.codec = Codec::kZstd;
  CreateTopic("small", 1);
  FrameClient produce(executor_, network_, "Produce");
  ASSERT_TRUE(Send(produce, "small", 0, BatchOf({std::string(40 << 20, 'x')}, options)).error.ok());
  v1::ReadRequest read;
  read.set_topic("small");
  read.set_max_reply_bytes(100 << 20);
  v1::ReadResponse response;
  const CallEnd end = Unary("Broker/Read", read, &response);
  EXPECT_EQ(end.error.code, Error::REPLY_TOO_LARGE);
  EXPECT_EQ(end.error.limit, 32 << 20);
  EXPECT_EQ(end.error.topic, "small");
}

}  // namespace
}  // namespace millrace
