#include "client/producer_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/error.h"
#include "tests/client/producer_fixture.h"

namespace millrace {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr ErrorFrame kNotLeader{.code = 6, .message = "not here", .retriable = true};

std::vector<std::string> Numbers(int from, int to) {
  std::vector<std::string> values;
  for (int i = from; i < to; ++i) values.push_back(std::to_string(i));
  return values;
}

TEST_F(ProducerTest, RecordIsStoredAndItsCallbackToldWhere) {
  Send("a");
  Send("b");
  executor.RunUntilIdle();
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("a", "b"));
  ASSERT_EQ(deliveries.size(), 2u);
  EXPECT_EQ(deliveries[0].result->offset, 0);
  EXPECT_EQ(deliveries[1].result->offset, 1);
  EXPECT_EQ(deliveries[1].result->durability, DurabilityReached::kQuorumDisk);
  EXPECT_EQ(Core().accumulator().counters().buffered_bytes, 0);
}

TEST_F(ProducerTest, RecordAloneLeavesAtOnceAndLoadMakesBatchesGrow) {
  Send("first");
  executor.RunUntilIdle();
  broker.HoldAcks();
  for (const std::string& value : Numbers(0, 100)) {
    Send(value);
    executor.RunUntilIdle();
  }
  // One small request in flight, the rest waits for its ack.
  EXPECT_EQ(broker.request_batches.size(), 2u);
  broker.ReleaseAcks();
  executor.Advance(milliseconds(1));
  EXPECT_EQ(broker.request_batches.size(), 3u);
  EXPECT_EQ(Delivered().size(), 101u);
}

// Requests of a round trip's worth of records each took all the processor time there was at a tenth of the load that it is enough for.
TEST_F(ProducerTest, SmallRequestsUnderLoadKeepTwiceARoundTripApartAtMostAMillisecond) {
  Send("first");
  executor.RunUntilIdle();
  std::vector<std::string> sent = {"first"};
  for (const auto& [round_trip, left] : {std::pair(microseconds(300), microseconds(300)),
                                         {microseconds(800), microseconds(200)},
                                         {microseconds(5'000), microseconds(0)}}) {
    broker.HoldAcks();
    Send("a");
    executor.RunUntilIdle();
    Send("b");
    executor.Advance(round_trip);
    sent.push_back("a");
    broker.ReleaseAcks();
    executor.Advance(std::max(left - microseconds(1), microseconds(0)));
    if (left > microseconds(0)) {
      Send("c");
      executor.RunUntilIdle();
      EXPECT_EQ(broker.Values("t", 0), sent);
      executor.Advance(microseconds(1));
      sent.insert(sent.end(), {"b", "c"});
    } else {
      sent.push_back("b");
    }
    EXPECT_EQ(broker.Values("t", 0), sent);
    sent.push_back("alone");  // nothing waited for the last ack: no load
    Send("alone");
    executor.RunUntilIdle();
    EXPECT_EQ(broker.Values("t", 0), sent);
  }
}

TEST_F(ProducerTest, WhatIsWorthARequestDoesNotWaitUnderLoadAndNothingWaitsForAFlush) {
  Send("first");
  executor.RunUntilIdle();
  broker.HoldAcks();
  Send("a");
  executor.RunUntilIdle();
  Send("b");
  executor.Advance(microseconds(400));
  broker.ReleaseAcks();
  executor.RunUntilIdle();
  ASSERT_EQ(broker.request_batches.size(), 2u);
  Send(std::string(300 << 10, 'x'));
  executor.RunUntilIdle();
  EXPECT_EQ(broker.Values("t", 0).size(), 4u);

  broker.HoldAcks();
  Send("c");
  executor.RunUntilIdle();
  Send("d");
  executor.Advance(microseconds(400));
  broker.ReleaseAcks();
  executor.RunUntilIdle();
  ASSERT_EQ(broker.Values("t", 0).size(), 5u);
  Core().accumulator().BeginFlush();
  Core().PumpAll();
  executor.RunUntilIdle();
  EXPECT_EQ(broker.Values("t", 0).size(), 6u);
}

TEST_F(ProducerTest, WhatIsSentUponAnAckLeavesAtOnce) {
  Send("first");
  executor.RunUntilIdle();
  int left = 10;
  std::function<void()> send = [&] {
    DeliveryCallback callback = [&](const absl::StatusOr<RecordMetadata>&) {
      if (--left > 0) send();
    };
    absl::Status refusal;
    const RecordView record{.timestamp = 1, .value = "x", .headers = {}};
    EXPECT_EQ(Core().accumulator().Append({.topic = "t", .partition = 0, .record = record}, &callback, &refusal),
              Outcome::kTaken);
  };
  send();
  executor.RunUntilIdle();
  EXPECT_EQ(left, 0);
}

TEST_F(ProducerTest, AFlushThatBeginsWhileARequestIsUnderWayWaitsForItsAnswerAlone) {
  Send("first");
  executor.RunUntilIdle();
  broker.HoldAcks();
  Send("a");
  executor.RunUntilIdle();
  Send("b");
  Core().accumulator().BeginFlush();
  Core().PumpAll();
  executor.Advance(microseconds(400));
  broker.ReleaseAcks();
  executor.RunUntilIdle();
  EXPECT_EQ(broker.Values("t", 0).size(), 3u);
}

// The broker has forgotten the producer, and with it whether it has what was sent before: sent anew it might be there twice.
TEST_F(ProducerTest, ABatchThatMayBeStoredIsNotSentAnewToABrokerThatForgotTheProducer) {
  const ErrorFrame forgotten{.code = static_cast<int32_t>(ErrorCode::kUnknownProducerId), .message = "who?"};
  Send("a");
  executor.RunUntilIdle();
  broker.LoseNextAck();
  Send("b");
  executor.RunUntilIdle();
  broker.Script(forgotten);
  executor.Advance(seconds(5));
  ASSERT_EQ(deliveries.size(), 2u);
  EXPECT_EQ(ErrorFrom(deliveries[1].result.status()).code, ErrorCode::kUnknownProducerId);
  EXPECT_TRUE(ErrorFrom(deliveries[1].result.status()).may_have_happened);
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("a", "b"));

  broker.Script(forgotten);
  Send("c");
  executor.Advance(seconds(5));
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("a", "b", "c"))
      << "what was not sent before goes under the next epoch";
}

// The new leader did not serve yet when the first of them came again, and did for the second.
TEST_F(ProducerTest, ABatchBehindOneThatWasRefusedIsNotTakenForForgotten) {
  ErrorFrame lost{.code = static_cast<int32_t>(ErrorCode::kNotLeaderOrFollower), .retriable = true};
  lost.may_have_happened = true;
  const ErrorFrame leaderless{.code = static_cast<int32_t>(ErrorCode::kLeaderNotAvailable), .retriable = true};
  const ErrorFrame unknown{.code = static_cast<int32_t>(ErrorCode::kUnknownProducerId), .message = "who?"};
  const std::string b(300 << 10, 'b');  // large enough to go while the other is in flight
  broker.HoldAcks();
  for (const ErrorFrame& answer : {lost, lost, leaderless, unknown}) broker.Script(answer);
  Send("a");
  executor.RunUntilIdle();
  Send(b);
  executor.RunUntilIdle();
  broker.ReleaseAcks();
  executor.Advance(seconds(5));
  EXPECT_THAT(Delivered(), ElementsAre("a", b));
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("a", b));
}

TEST_F(ProducerTest, LingeringBatchWaitsForItsTimeOrAFlush) {
  options.linger = milliseconds(50);
  Send("a");
  executor.RunUntilIdle();
  EXPECT_THAT(broker.Values("t", 0), ElementsAre());
  executor.Advance(milliseconds(20));
  Send("b");
  executor.Advance(milliseconds(29));
  EXPECT_THAT(broker.Values("t", 0), ElementsAre());
  executor.Advance(milliseconds(1));
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("a", "b"));

  Send("c");
  const uint64_t flush = Core().accumulator().BeginFlush();
  EXPECT_FALSE(Core().accumulator().Flushed(flush));
  Core().PumpAll();
  executor.RunUntilIdle();
  EXPECT_TRUE(Core().accumulator().Flushed(flush));
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("a", "b", "c"));
}

TEST_F(ProducerTest, FullLingeringBatchLeavesBeforeItsTime) {
  options.linger = seconds(20);
  options.batch_size = 1024;
  options.buffer_memory = 1 << 20;
  for (int i = 0; i < 3; ++i) Send(std::string(600, 'x'));
  executor.RunUntilIdle();
  EXPECT_EQ(broker.Values("t", 0).size(), 2u);
}

TEST_F(ProducerTest, RetriableErrorIsRetriedInOrder) {
  Send("0");
  executor.RunUntilIdle();
  broker.HoldAcks();
  broker.Script(kNotLeader);
  Send("1");
  executor.RunUntilIdle();
  Send("2");  // in flight behind 1; the broker refuses it as out of order
  executor.RunUntilIdle();
  Send("3");
  broker.ReleaseAcks();
  executor.RunUntilIdle();
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("0"));
  executor.Advance(seconds(1));
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("0", "1", "2", "3"));
  EXPECT_THAT(Delivered(), ElementsAre("0", "1", "2", "3"));
  EXPECT_EQ(broker.producer_ids_given, 1);
}

TEST_F(ProducerTest, LostAckIsAnsweredFromTheBrokersMemory) {
  Send("0");
  executor.RunUntilIdle();
  broker.LoseNextAck();
  Send("1");
  executor.RunUntilIdle();
  EXPECT_EQ(deliveries.size(), 1u);
  executor.Advance(seconds(2));
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("0", "1"));
  ASSERT_EQ(deliveries.size(), 2u);
  EXPECT_EQ(deliveries[1].result->offset, 1);
}

TEST_F(ProducerTest, BrokerRestartLosesNothingAndDoublesNothing) {
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 10; ++i) {
      Send(std::to_string(round * 10 + i));
      if (i % 3 == round % 3) executor.RunUntilIdle();
    }
    if (round % 4 == 1) broker.LoseNextAck();
    if (round % 4 == 2) {
      broker.GoDown();
      executor.Advance(seconds(1));
      broker.ComeUp();
    }
    if (round % 4 == 3) broker.Script(kNotLeader);
    executor.Advance(milliseconds(10));
  }
  executor.Advance(seconds(10));
  EXPECT_EQ(broker.Values("t", 0), Numbers(0, 200));
  EXPECT_EQ(Delivered(), Numbers(0, 200));
}

TEST_F(ProducerTest, DeliveryTimeoutOfWhatWasNeverSentSaysSo) {
  Send("0");
  executor.RunUntilIdle();
  broker.GoDown();
  executor.Advance(seconds(1));
  Send("1");
  executor.Advance(seconds(29));
  EXPECT_EQ(deliveries.size(), 1u);
  executor.Advance(seconds(2));
  ASSERT_EQ(deliveries.size(), 2u);
  const Error error = ErrorFrom(deliveries[1].result.status());
  EXPECT_EQ(error.code, ErrorCode::kRequestTimedOut);
  EXPECT_FALSE(error.may_have_happened);
  EXPECT_THAT(error.message, HasSubstr("t[0]"));
  EXPECT_THAT(error.message, HasSubstr("connection refused"));
  EXPECT_THAT(error.message, HasSubstr("sending them again is safe"));
}

TEST_F(ProducerTest, DeliveryTimeoutOfWhatWasSentSaysSo) {
  Send("0");
  executor.RunUntilIdle();
  broker.HoldAcks();
  Send("1");
  executor.Advance(seconds(5));
  broker.GoDown();
  executor.Advance(seconds(30));
  ASSERT_EQ(deliveries.size(), 2u);
  EXPECT_TRUE(ErrorFrom(deliveries[1].result.status()).may_have_happened);
}

// A partition whose quorum is away must not hold up the others of its leader.
TEST_F(ProducerTest, WithoutAnAnswerAnotherSmallRequestLeavesAfterAWhile) {
  Send("0", 0);
  executor.RunUntilIdle();
  broker.HoldAcks();
  Send("a", 1);
  executor.RunUntilIdle();
  Send("b", 2);
  executor.Advance(milliseconds(9));
  EXPECT_THAT(broker.Values("t", 2), ElementsAre());
  executor.Advance(milliseconds(1));
  EXPECT_THAT(broker.Values("t", 2), ElementsAre("b"));
  Send("c", 2);
  executor.Advance(milliseconds(9));
  EXPECT_THAT(broker.Values("t", 2), ElementsAre("b"));
  executor.Advance(milliseconds(1));
  EXPECT_THAT(broker.Values("t", 2), ElementsAre("b", "c"));
  broker.ReleaseAcks();
  executor.RunUntilIdle();
  EXPECT_EQ(Delivered().size(), 4u);
}

// Those behind it are refused for their sequence, which is not why none was stored.
TEST_F(ProducerTest, DeliveryTimeoutTellsWhatTheFirstBatchWasRefusedFor) {
  Send("0");
  executor.RunUntilIdle();
  broker.HoldAcks();
  broker.Script({.code = 56, .message = "the disk is full", .retriable = true});  // KAFKA_STORAGE_ERROR
  for (const char* value : {"1", "2", "3"}) {
    Send(value);
    executor.RunUntilIdle();
  }
  broker.ReleaseAcks();
  broker.HoldAcks();  // of what is sent again
  executor.Advance(seconds(60));
  ASSERT_EQ(deliveries.size(), 4u);
  for (int i = 1; i < 4; ++i) {
    EXPECT_THAT(ErrorFrom(deliveries[i].result.status()).message, HasSubstr("the disk is full")) << i;
  }
}

TEST_F(ProducerTest, RecordsBehindOneThatWasGivenUpOnGoUnderTheNextEpoch) {
  Send("0");
  executor.RunUntilIdle();
  broker.Script({.code = 87, .message = "bad", .retriable = false});  // INVALID_RECORD
  Send("1");
  executor.RunUntilIdle();
  ASSERT_EQ(deliveries.size(), 2u);
  EXPECT_EQ(ErrorFrom(deliveries[1].result.status()).code, ErrorCode::kInvalidRecord);
  Send("2");
  Send("3");
  executor.Advance(seconds(1));
  Send("4");
  executor.Advance(seconds(1));
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("0", "2", "3", "4"));
  EXPECT_THAT(Delivered(), ElementsAre("0", "2", "3", "4"));
  EXPECT_EQ(broker.producer_ids_given, 1);
  std::vector<int32_t> epochs;
  for (const FakeBroker::Stored& stored : broker.log("t", 0).batches) epochs.push_back(stored.header.producer_epoch);
  EXPECT_THAT(epochs, testing::IsSupersetOf({0, 1})) << "so that what is late of 1 is refused";
}

// It must not ask for the next epoch and take the name back.
TEST_F(ProducerTest, AProducerThatIsFencedByALaterOneOfItsNameStaysFenced) {
  options.name = "orders";
  Send("a");
  executor.RunUntilIdle();
  client::ProducerCore later({executor.clock(), executor, random, broker}, options, {kBrokerAddress});
  executor.RunUntilIdle();
  EXPECT_EQ(broker.named["orders"].second, kEpochsRaised) << "asked for before its first record";
  later.EnsureTopic("t");
  executor.RunUntilIdle();
  absl::Status refusal;
  const RecordView record{.timestamp = 1, .value = "b", .headers = {}};
  ASSERT_EQ(later.accumulator().Append({.topic = "t", .partition = 0, .record = record}, nullptr, &refusal),
            Outcome::kTaken);
  executor.RunUntilIdle();
  for (const char* value : {"c", "d"}) {
    Send(value);
    executor.Advance(seconds(5));
    EXPECT_EQ(ErrorFrom(deliveries.back().result.status()).code, ErrorCode::kInvalidProducerEpoch);
  }
  EXPECT_EQ(deliveries.size(), 3u);
  EXPECT_EQ(broker.named["orders"].second, kEpochsRaised);
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("a", "b"));
  later.Stop();
}

// The ack was lost before the later one came, and the retry is refused.
TEST_F(ProducerTest, WhatIsFencedAfterItWasSentMayBeStored) {
  Send("a");
  executor.RunUntilIdle();
  broker.LoseNextAck();
  Send("b");
  executor.RunUntilIdle();
  ErrorFrame fenced{.code = static_cast<int32_t>(ErrorCode::kInvalidProducerEpoch), .message = "fenced"};
  fenced.producer_epoch = kEpochsRaised;
  broker.Script(fenced);
  executor.Advance(seconds(5));
  ASSERT_EQ(deliveries.size(), 2u);
  EXPECT_EQ(ErrorFrom(deliveries[1].result.status()).code, ErrorCode::kInvalidProducerEpoch);
  EXPECT_TRUE(ErrorFrom(deliveries[1].result.status()).may_have_happened);
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("a", "b"));
}

TEST_F(ProducerTest, OtherPartitionsGoOnWhileOneIsRetried) {
  Send("a", 0);
  Send("b", 1);
  executor.RunUntilIdle();
  broker.on_batch = [this](const PartitionBatchFrame& batch) {
    if (batch.partition == 0) broker.Script(kNotLeader);
  };
  Send("c", 0);
  Send("d", 1);
  executor.Advance(seconds(3));
  Send("e", 1);
  executor.RunUntilIdle();
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("a"));
  EXPECT_THAT(broker.Values("t", 1), ElementsAre("b", "d", "e"));
  broker.on_batch = nullptr;
  executor.Advance(seconds(3));
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("a", "c"));
}

TEST_F(ProducerTest, AtMostFiveBatchesOfAPartitionAreInFlight) {
  options.batch_size = 64 << 10;
  Send("0");
  executor.RunUntilIdle();
  broker.HoldAcks();
  const size_t before = broker.request_batches.size();
  for (int i = 0; i < 200; ++i) Send(std::string(32 << 10, 'x'));
  executor.Advance(milliseconds(1));
  size_t batches = 0;
  for (size_t i = before; i < broker.request_batches.size(); ++i) batches += broker.request_batches[i];
  EXPECT_EQ(batches, 5u);
  broker.ReleaseAcks();
  executor.Advance(seconds(1));
  EXPECT_EQ(Delivered().size(), 201u);
}

// Brokers take no message without bound, and batches may be large.
TEST_F(ProducerTest, WhatIsSentAgainGoesInRequestsOfBoundedSize) {
  options.batch_size = 1 << 20;
  Send("0");
  executor.RunUntilIdle();
  for (const int refused : {5, 6}) {  // those that are lost, and one of those that go again
    broker.HoldAcks();
    for (int i = 0; i < refused; ++i) broker.Script(kNotLeader);
    for (char c = 'a'; c < 'f'; ++c) Send(std::string(900'000, c));
    executor.RunUntilIdle();
    const size_t before = broker.request_batches.size();
    broker.BreakStreams();
    broker.ForgetAcks();
    executor.Advance(seconds(5));
    ASSERT_GT(broker.request_batches.size(), before);
    for (size_t i = before; i < broker.request_batches.size(); ++i) EXPECT_LE(broker.request_batches[i], 2u);
  }
  EXPECT_EQ(deliveries.size(), 11u);
  EXPECT_EQ(broker.Values("t", 0), Delivered());
}

TEST_F(ProducerTest, KeysGoToKafkasPartitionsAndRecordsWithoutKeySpread) {
  Send("x");
  executor.RunUntilIdle();
  ASSERT_EQ(Append("v", std::nullopt, "foobar"), Outcome::kTaken);
  ASSERT_EQ(Append("w", std::nullopt, ""), Outcome::kTaken);
  executor.RunUntilIdle();
  // murmur2("foobar") is -790332482 in Kafka's tests, murmur2("") is 275646681.
  EXPECT_THAT(broker.Values("t", (-790332482 & 0x7fffffff) % 4), testing::Contains("v"));
  EXPECT_THAT(broker.Values("t", 275646681 % 4), testing::Contains("w"));

  std::set<int32_t> used;
  for (int i = 0; i < 8; ++i) {
    ASSERT_EQ(Append("spread", std::nullopt), Outcome::kTaken);
    executor.RunUntilIdle();
  }
  for (int32_t p = 0; p < 4; ++p) EXPECT_THAT(broker.Values("t", p), testing::Contains("spread").Times(2)) << p;
}

TEST_F(ProducerTest, TooLargeRecordIsRefusedAtOnceWithTheLimit) {
  broker.AddTopic("t", 1, 2000);
  Send("small");
  absl::Status refusal;
  EXPECT_EQ(Append(std::string(3000, 'x'), 0, std::nullopt, &refusal), Outcome::kRefused);
  const Error error = ErrorFrom(refusal);
  EXPECT_EQ(error.code, ErrorCode::kMessageTooLarge);
  EXPECT_EQ(error.limit, 2000);
  EXPECT_GT(error.size, 3000);
  EXPECT_EQ(error.topic, "t");
  // Several that fit alone make several batches.
  for (int i = 0; i < 5; ++i) ASSERT_EQ(Append(std::string(1500, 'y')), Outcome::kTaken);
  executor.RunUntilIdle();
  EXPECT_EQ(Delivered().size(), 6u);
  for (const FakeBroker::Stored& stored : broker.log("t", 0).batches) EXPECT_LE(stored.batch.size(), 2000u);
}

TEST_F(ProducerTest, UnknownTopicAndPartitionAreRefused) {
  RecordView record{.timestamp = 1, .key = std::nullopt, .value = "v", .headers = {}};
  absl::Status refusal;
  client::RecordAccumulator& accumulator = Core().accumulator();
  EXPECT_EQ(accumulator.Append({.topic = "no", .partition = 0, .record = record}, nullptr, &refusal),
            Outcome::kNoMetadata);
  const uint64_t seen = accumulator.BeginMetadataWait("no");
  Core().EnsureTopic("no");
  executor.RunUntilIdle();
  bool timed_out = false;
  absl::Status failure =
      accumulator.WaitForMetadata("no", seen, std::chrono::steady_clock::time_point::max(), &timed_out);
  EXPECT_EQ(ErrorFrom(failure).code, ErrorCode::kUnknownTopicOrPartition);
  EXPECT_EQ(ErrorFrom(failure).topic, "no");

  // Made in the meantime: the next question finds it.
  broker.AddTopic("no", 1);
  accumulator.BeginMetadataWait("no");
  Core().EnsureTopic("no");
  executor.RunUntilIdle();
  EXPECT_EQ(accumulator.Append({.topic = "no", .partition = 0, .record = record}, nullptr, &refusal), Outcome::kTaken);
  EXPECT_EQ(accumulator.Append({.topic = "no", .partition = 1, .record = record}, nullptr, &refusal),
            Outcome::kRefused);
  EXPECT_EQ(ErrorFrom(refusal).code, ErrorCode::kUnknownTopicOrPartition);
  EXPECT_EQ(ErrorFrom(refusal).partition, 1);
}

TEST_F(ProducerTest, DeletedTopicFailsItsRecords) {
  Send("0");
  executor.RunUntilIdle();
  broker.DeleteTopic("t");
  Send("1");
  executor.Advance(seconds(2));
  ASSERT_EQ(deliveries.size(), 2u);
  EXPECT_EQ(ErrorFrom(deliveries[1].result.status()).code, ErrorCode::kUnknownTopicOrPartition);
  EXPECT_EQ(Append("2"), Outcome::kNoMetadata);
}

TEST_F(ProducerTest, TopicMadeAnewTakesRecordsAgain) {
  Send("0");
  executor.RunUntilIdle();
  broker.AddTopic("t", 4);
  broker.log("t", 0) = {};
  broker.Script({.code = 100, .message = "made anew", .retriable = true});  // UNKNOWN_TOPIC_ID
  Send("1");
  executor.Advance(seconds(3));
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("1"));
}

TEST_F(ProducerTest, FullBufferIsSaidSo) {
  options.batch_size = 1024;
  options.buffer_memory = 4096;
  Send("0");
  executor.RunUntilIdle();
  broker.HoldAcks();
  int taken = 0;
  while (Append(std::string(500, 'x')) == Outcome::kTaken) ++taken;
  EXPECT_EQ(Append(std::string(500, 'x')), Outcome::kFull);
  EXPECT_EQ(taken, 8);
  executor.RunUntilIdle();
  broker.ReleaseAcks();
  executor.Advance(seconds(1));
  EXPECT_EQ(Append(std::string(500, 'x')), Outcome::kTaken);
  EXPECT_EQ(Delivered().size(), 9u);
}

TEST_F(ProducerTest, CompressedBatchesKeepTheirRecordsOverRetries) {
  options.compression = Compression::kLz4;
  options.batch_size = 2048;
  Send("0");
  executor.RunUntilIdle();
  broker.Script(kNotLeader);
  for (int i = 1; i < 50; ++i) Send(std::string(100, 'z'));
  executor.Advance(seconds(3));
  EXPECT_EQ(broker.Values("t", 0).size(), 50u);
  EXPECT_EQ(broker.log("t", 0).batches.back().header.codec, 3);
}

TEST_F(ProducerTest, AcksNoneCountsAsDeliveredWhenTheBrokerHasReadIt) {
  options.acks = AckLevel::kNone;
  Send("0");
  Send("1");
  executor.RunUntilIdle();
  ASSERT_EQ(deliveries.size(), 2u);
  EXPECT_EQ(deliveries[0].result->offset, -1);
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("0", "1"));
  EXPECT_EQ(broker.producer_ids_given, 0);
  broker.Freeze();
  Send("2");
  executor.RunUntilIdle();
  EXPECT_EQ(deliveries.size(), 2u) << "it was written, and may be lost with the process";
}

TEST_F(ProducerTest, WithoutIdempotenceOneBatchOfAPartitionIsInFlight) {
  const std::string two(300 << 10, '2');  // large enough to go beside another
  options.idempotence = false;
  Send("0");
  executor.RunUntilIdle();
  broker.HoldAcks();
  Send("1");
  executor.RunUntilIdle();
  Send(two);
  executor.RunUntilIdle();
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("0", "1"));
  broker.ReleaseAcks();
  executor.Advance(milliseconds(1));
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("0", "1", two));
  EXPECT_EQ(broker.producer_ids_given, 0);
}

TEST_F(ProducerTest, SilentBrokerIsNoticedByPings) {
  Send("0");
  executor.RunUntilIdle();
  const int opened = broker.streams_opened;
  executor.Advance(seconds(60));
  EXPECT_GE(broker.pings, 3);
  EXPECT_EQ(broker.streams_opened, opened);
  broker.GoSilent(true);
  executor.Advance(seconds(31));
  broker.GoSilent(false);
  Send("1");
  executor.Advance(seconds(5));
  EXPECT_GT(broker.streams_opened, opened);
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("0", "1"));
}

TEST_F(ProducerTest, UnreachableLeaderIsGoneAroundThroughTheBootstrapAddress) {
  broker.Advertise(2, "unreachable:9470");
  broker.SetLeader("t", 0, 2);
  Send("0");
  executor.Advance(milliseconds(400));
  EXPECT_THAT(broker.Values("t", 0), ElementsAre());
  executor.Advance(milliseconds(400));
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("0"));
  EXPECT_EQ(broker.routings.back(), static_cast<int32_t>(Routing::kAny));
}

// It may not have noticed yet that it leads no more, and what it has in flight would be waited for in vain.
TEST_F(ProducerTest, WhatABrokerHasThatStandsStillGoesToTheNextLeader) {
  broker.Advertise(2, "unreachable:9470");
  Send("0");
  executor.RunUntilIdle();
  broker.HoldAcks();
  Send("1");
  executor.Advance(milliseconds(700));
  broker.ForgetAcks();
  broker.SetLeader("t", 0, 2);
  executor.Advance(milliseconds(1500));
  EXPECT_THAT(Delivered(), ElementsAre("0", "1"));
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("0", "1"));
}

// Connecting to it again succeeds, and tells nothing.
TEST_F(ProducerTest, ABrokerThatStillStandsStillWhenItIsConnectedAnewIsLeftAsSoonAsAnotherLeads) {
  broker.Advertise(2, "2:9470");
  Send("0");
  executor.RunUntilIdle();
  broker.Freeze();
  Send("1");
  executor.Advance(milliseconds(800));
  broker.BreakStreams();
  executor.Advance(milliseconds(450));
  EXPECT_GT(broker.streams_opened, 1);
  broker.SetLeader("t", 0, 2);
  executor.Advance(milliseconds(260));
  EXPECT_THAT(broker.stream_addresses, testing::Contains("2:9470"));
}

// One that leads and is slow keeps what it has.
TEST_F(ProducerTest, ASlowLeaderIsWaitedFor) {
  broker.Advertise(2, "unreachable:9470");
  broker.HoldAcks();
  Send("0");
  executor.Advance(seconds(5));
  const int opened = broker.streams_opened;
  broker.ReleaseAcks();
  executor.RunUntilIdle();
  EXPECT_THAT(Delivered(), ElementsAre("0"));
  EXPECT_EQ(broker.streams_opened, opened);
}

TEST_F(ProducerTest, OnlyBrokerIsReachedByTheAddressGivenForIt) {
  broker.Advertise(1, "name-inside-the-container:9470");
  Send("0");
  executor.RunUntilIdle();
  EXPECT_THAT(broker.Values("t", 0), ElementsAre("0"));
}

TEST_F(ProducerTest, StopCancelsWhatIsNotStored) {
  Send("0");
  executor.RunUntilIdle();
  broker.HoldAcks();
  Send("1");
  executor.RunUntilIdle();
  broker.GoDown();
  executor.RunUntilIdle();
  Send("2");
  Core().Stop();
  ASSERT_EQ(deliveries.size(), 3u);
  EXPECT_EQ(ErrorFrom(deliveries[1].result.status()).code, ErrorCode::kCancelled);
  EXPECT_TRUE(ErrorFrom(deliveries[1].result.status()).may_have_happened);
  EXPECT_FALSE(ErrorFrom(deliveries[2].result.status()).may_have_happened);
  EXPECT_TRUE(Core().accumulator().Flushed(Core().accumulator().BeginFlush()));
}

}  // namespace
}  // namespace millrace
