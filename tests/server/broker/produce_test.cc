#include "server/log.h"
#include "tests/server/broker/fixture.h"

namespace millrace {
namespace {

class Produce : public BrokerTest {
 protected:
  // Producer ids up to 20 are given out.
  Produce() {
    CreateTopic("t", 2);
    for (int i = 0; i < 20; ++i) NewProducerId();
  }
  int64_t NewProducerId() {
    v1::InitProducerResponse response;
    EXPECT_TRUE(Unary("Broker/InitProducer", v1::InitProducerRequest(), &response).status.ok());
    return response.producer_id();
  }
  CallEnd Name(const std::string& name, uint64_t session, v1::InitProducerResponse* given) {
    v1::InitProducerRequest request;
    request.set_name(name);
    request.set_session(session);
    request.set_producer_id(given->producer_id());
    request.set_producer_epoch(given->producer_epoch());
    return Unary("Broker/InitProducer", request, given);
  }
  std::shared_ptr<server::Partition> FindPartition(const std::string& topic, int32_t partition) {
    ErrorFrame error;
    return broker_->broker().FindPartition(topic, partition, 0, &error);
  }
  FrameClient client_{executor_, network_, "Produce"};
};

BatchBuilder::Options From(int64_t producer, int32_t epoch, int32_t sequence) {
  BatchBuilder::Options options;
  options.producer_id = producer;
  options.producer_epoch = epoch;
  options.base_sequence = sequence;
  return options;
}

TEST_F(Produce, OffsetsAreDensePerPartition) {
  EXPECT_EQ(Send(client_, "t", 0, BatchOf({"a", "b", "c"})).base_offset, 0);
  EXPECT_EQ(Send(client_, "t", 0, BatchOf({"d"})).base_offset, 3);
  EXPECT_EQ(Send(client_, "t", 1, BatchOf({"e"})).base_offset, 0);
  const ProduceAckFrame ack = Send(client_, "t", 0, BatchOf({"f"}));
  EXPECT_EQ(ack.base_offset, 4);
  EXPECT_EQ(ack.high_watermark, 5);
  EXPECT_EQ(ack.log_start_offset, 0);
  EXPECT_EQ(ack.leader_epoch, 1);
}

TEST_F(Produce, CommitTopicsAreAckedOnlyAfterTheSync) {
  ProduceRequestFrame request;
  request.batches.push_back({7, "t", 0, 0, 0, BatchOf({"a"})});
  const uint64_t syncs = disk_.syncs();
  client_.Send(SerializeProduceRequest(request));
  EXPECT_TRUE(AcksOf(client_).empty()) << "written, but not synced yet";
  executor_.Advance(std::chrono::milliseconds(5));
  ASSERT_EQ(AcksOf(client_).size(), 1u);
  EXPECT_GT(disk_.syncs(), syncs);
  EXPECT_EQ(AcksOf(client_)[0].durability, Durability::kQuorumDisk);
}

TEST_F(Produce, AsyncTopicsAreAckedOnceWritten) {
  CreateTopic("fast", 1, {{"flush", "async"}});
  Send(client_, "fast", 0, BatchOf({"starts the replica, which syncs"}));
  client_.messages.clear();
  const uint64_t syncs = disk_.syncs();
  ProduceRequestFrame request;
  request.batches.push_back({7, "fast", 0, 0, 0, BatchOf({"a"})});
  client_.Send(SerializeProduceRequest(request));
  ASSERT_EQ(AcksOf(client_).size(), 1u);
  EXPECT_EQ(AcksOf(client_)[0].durability, Durability::kQuorumMemory);
  EXPECT_EQ(disk_.syncs(), syncs);
}

TEST_F(Produce, OneWriteAndOneSyncCoverAllPartitionsThatWroteTogether) {
  CreateTopic("wide", 50);
  ProduceRequestFrame request;
  for (int p = 0; p < 50; ++p) request.batches.push_back({static_cast<uint64_t>(p), "wide", p, 0, 0, BatchOf({"a"})});
  client_.Send(SerializeProduceRequest(request));  // opens the logs
  executor_.Advance(std::chrono::milliseconds(5));
  const uint64_t writes = disk_.writes(), syncs = disk_.syncs();
  client_.Send(SerializeProduceRequest(request));
  executor_.Advance(std::chrono::milliseconds(5));
  EXPECT_EQ(AcksOf(client_).size(), 100u);
  EXPECT_EQ(disk_.writes() - writes, 1u);
  EXPECT_EQ(disk_.syncs() - syncs, 1u);
}

TEST_F(Produce, AcksNoneAnswersNothingAndStoresIt) {
  ProduceRequestFrame request;
  request.acks = static_cast<int32_t>(Acks::kNone);
  request.batches.push_back({7, "t", 0, 0, 0, BatchOf({"a"})});
  client_.Send(SerializeProduceRequest(request));
  executor_.Advance(std::chrono::milliseconds(5));
  EXPECT_TRUE(client_.messages.empty());
  EXPECT_EQ(Send(client_, "t", 0, BatchOf({"b"})).base_offset, 1);
}

TEST_F(Produce, OneBadBatchDoesNotHoldUpTheOthers) {
  ProduceRequestFrame request;
  request.batches.push_back({1, "t", 0, 0, 0, BatchOf({"a"})});
  request.batches.push_back({2, "missing", 0, 0, 0, BatchOf({"a"})});
  request.batches.push_back({3, "t", 1, 0, 0, BatchOf({"a"})});
  client_.Send(SerializeProduceRequest(request));
  executor_.Advance(std::chrono::milliseconds(5));
  std::map<uint64_t, int32_t> codes;
  for (const ProduceAckFrame& ack : AcksOf(client_)) codes[ack.id] = ack.error.code;
  EXPECT_EQ(codes, (std::map<uint64_t, int32_t>{{1, 0}, {2, Error::UNKNOWN_TOPIC_OR_PARTITION}, {3, 0}}));
  EXPECT_FALSE(client_.closed);
}

TEST_F(Produce, RefusedBatchesChangeNothing) {
  absl::Cord good = BatchOf({"a", "b"});
  auto view = ParseBatch(good);
  ASSERT_TRUE(view.ok());
  const auto with = [&](auto change) {
    BatchHeader header = view->header;
    header.crc32c.reset();
    change(header);
    return SerializeBatch(header, view->payload);
  };
  const std::vector<std::pair<absl::Cord, ErrorCode>> cases = {
      {absl::Cord("\x0a"), Error::CORRUPT_MESSAGE},
      {absl::Cord(std::string(300, '\xff')), Error::CORRUPT_MESSAGE},
      {absl::Cord(), Error::CORRUPT_MESSAGE},
      {with([](BatchHeader& h) { h.record_count = 0; }), Error::CORRUPT_MESSAGE},
      {with([](BatchHeader& h) { h.record_count = -1; }), Error::CORRUPT_MESSAGE},
      {with([](BatchHeader& h) { h.record_count = 3; }), Error::CORRUPT_MESSAGE},
      {with([](BatchHeader& h) { h.crc32c = 1; }), Error::CORRUPT_MESSAGE},
      {with([](BatchHeader& h) { h.codec = 9; }), Error::UNSUPPORTED_COMPRESSION_TYPE},
      {with([](BatchHeader& h) { h.payload_format = 2; }), Error::UNSUPPORTED_VERSION},
      {with([](BatchHeader& h) { h.ttl_ms = 5; }), Error::UNSUPPORTED_VERSION},
      {with([](BatchHeader& h) { h.transaction_id = 5; }), Error::UNSUPPORTED_VERSION},
      {with([](BatchHeader& h) { h.base_timestamp = -1; }), Error::INVALID_TIMESTAMP},
      {with([](BatchHeader& h) { h.max_timestamp = 1'700'000'000'000'000; }), Error::INVALID_TIMESTAMP},
      {with([](BatchHeader& h) { h.producer_epoch = -1; }), Error::INVALID_REQUEST},
      {BatchOf({std::string(2 << 20, 'x')}), Error::MESSAGE_TOO_LARGE},
  };
  for (const auto& [batch, code] : cases) {
    const ProduceAckFrame ack = Send(client_, "t", 0, batch);
    EXPECT_EQ(ack.error.code, code) << ack.error.message;
    EXPECT_EQ(ack.error.topic, "t");
    EXPECT_FALSE(ack.error.may_have_happened);
    EXPECT_FALSE(ack.error.message.empty());
  }
  EXPECT_EQ(Send(client_, "t", 0, good).base_offset, 0) << "nothing was stored before";
}

TEST_F(Produce, TooLargeSaysLimitAndSize) {
  const absl::Cord batch = BatchOf({std::string(2 << 20, 'x')});
  const ProduceAckFrame ack = Send(client_, "t", 0, batch);
  EXPECT_EQ(ack.error.limit, 1 << 20);
  EXPECT_EQ(ack.error.size, static_cast<int64_t>(batch.size()));
}

TEST_F(Produce, WrongPartitionsAndEpochsAreRefused) {
  EXPECT_EQ(Send(client_, "t", 2, BatchOf({"a"})).error.code, Error::UNKNOWN_TOPIC_OR_PARTITION);
  EXPECT_EQ(Send(client_, "t", -1, BatchOf({"a"})).error.code, Error::UNKNOWN_TOPIC_OR_PARTITION);
  ProduceRequestFrame request;
  request.batches.push_back({1, "t", 0, 12345, 0, BatchOf({"a"})});
  request.batches.push_back({2, "t", 0, 0, 9, BatchOf({"a"})});
  client_.Send(SerializeProduceRequest(request));
  executor_.Advance(std::chrono::milliseconds(5));
  std::map<uint64_t, int32_t> codes;
  for (const ProduceAckFrame& ack : AcksOf(client_)) codes[ack.id] = ack.error.code;
  EXPECT_EQ(codes[1], Error::UNKNOWN_TOPIC_ID);
  EXPECT_EQ(codes[2], Error::UNKNOWN_LEADER_EPOCH);
}

TEST_F(Produce, BytesThatAreNoRequestEndTheStream) {
  client_.Send(absl::Cord("\xff\xff\xff"));
  EXPECT_TRUE(client_.closed);
  EXPECT_EQ(client_.end.error.code, Error::INVALID_REQUEST);
}

TEST_F(Produce, ABatchWithoutChecksumGetsOneAndTheAckSaysSo) {
  absl::Cord batch = BatchOf({"a"});
  auto view = ParseBatch(batch);
  view->header.crc32c.reset();
  const ProduceAckFrame ack = Send(client_, "t", 0, SerializeBatch(view->header, view->payload));
  EXPECT_TRUE(ack.crc_computed);
  FrameClient fetch(executor_, network_, "Fetch");
  fetch.Send(FetchFrom(At(1, "t", 0, 0)));
  auto frames = PartitionsOf(fetch, 1);
  ASSERT_FALSE(frames.empty());
  EXPECT_EQ(ParseBatch(frames.back().batches.at(0).batch)->header.crc32c, ComputeBatchCrc(view->header, view->payload));
}

TEST_F(Produce, RepeatedBatchesAreStoredOnce) {
  const absl::Cord first = BatchOf({"a", "b"}, From(9, 0, 0)), second = BatchOf({"c"}, From(9, 0, 2));
  EXPECT_EQ(Send(client_, "t", 0, first).base_offset, 0);
  EXPECT_EQ(Send(client_, "t", 0, second).base_offset, 2);
  const ProduceAckFrame again = Send(client_, "t", 0, first);
  EXPECT_TRUE(again.error.ok());
  EXPECT_TRUE(again.duplicate);
  EXPECT_EQ(again.base_offset, 0);
  EXPECT_EQ(Send(client_, "t", 0, BatchOf({"d"}, From(9, 0, 3))).base_offset, 3);
}

TEST_F(Produce, ARepeatIsAckedOnlyWhenItsOriginalIsDurable) {
  const absl::Cord batch = BatchOf({"a"}, From(9, 0, 0));
  ProduceRequestFrame request;
  request.batches.push_back({1, "t", 0, 0, 0, batch});
  request.batches.push_back({2, "t", 0, 0, 0, batch});
  client_.Send(SerializeProduceRequest(request));
  EXPECT_TRUE(AcksOf(client_).empty());
  executor_.Advance(std::chrono::milliseconds(5));
  ASSERT_EQ(AcksOf(client_).size(), 2u);
  EXPECT_TRUE(AcksOf(client_)[1].duplicate);
}

TEST_F(Produce, GapsOldEpochsAndUnknownProducersAreRefused) {
  Send(client_, "t", 0, BatchOf({"a"}, From(9, 1, 0)));
  EXPECT_EQ(Send(client_, "t", 0, BatchOf({"x"}, From(9, 1, 5))).error.code, Error::OUT_OF_ORDER_SEQUENCE_NUMBER);
  EXPECT_EQ(Send(client_, "t", 0, BatchOf({"x"}, From(9, 0, 1))).error.code, Error::INVALID_PRODUCER_EPOCH);
  EXPECT_EQ(Send(client_, "t", 0, BatchOf({"x"}, From(10, 0, 3))).error.code, Error::UNKNOWN_PRODUCER_ID);
  EXPECT_EQ(Send(client_, "t", 0, BatchOf({"x"}, From(9, kEpochsRaised, 0))).base_offset, 1)
      << "an epoch that was given out begins at 0";
}

// What was given up on may still come. It is refused once the producer went on without it, and that is refused if it came first.
TEST_F(Produce, AnEpochThatTheProducerRaisedGoesOnWhereTheOneBeforeEnded) {
  Send(client_, "t", 0, BatchOf({"a"}, From(9, 0, 0)));
  const absl::Cord late = BatchOf({"late"}, From(9, 0, 1));
  const ProduceAckFrame gap = Send(client_, "t", 0, BatchOf({"b"}, From(9, 0, 2)));
  EXPECT_EQ(gap.error.code, Error::OUT_OF_ORDER_SEQUENCE_NUMBER);
  EXPECT_EQ(gap.error.producer_epoch, 0);
  EXPECT_EQ(gap.error.expected_sequence, 1);
  EXPECT_EQ(Send(client_, "t", 0, BatchOf({"b"}, From(9, 1, 0))).error.code, Error::OUT_OF_ORDER_SEQUENCE_NUMBER);
  EXPECT_EQ(Send(client_, "t", 0, BatchOf({"b"}, From(9, 1, 1))).base_offset, 1);
  const ProduceAckFrame fenced = Send(client_, "t", 0, late);
  EXPECT_EQ(fenced.error.code, Error::INVALID_PRODUCER_EPOCH);
  EXPECT_EQ(fenced.error.producer_epoch, 1);
  EXPECT_EQ(fenced.error.expected_sequence, 2);
}

TEST_F(Produce, AProducerIsFencedByALaterOneOfItsName) {
  v1::InitProducerResponse a, b;
  ASSERT_TRUE(Name("orders", 1, &a).status.ok());
  const auto from = [](const v1::InitProducerResponse& given, int32_t sequence) {
    return From(given.producer_id(), given.producer_epoch(), sequence);
  };
  EXPECT_TRUE(Send(client_, "t", 0, BatchOf({"a"}, from(a, 0))).error.ok());
  ASSERT_TRUE(Name("orders", 2, &b).status.ok());
  EXPECT_EQ(b.producer_id(), a.producer_id());
  EXPECT_EQ(b.producer_epoch(), a.producer_epoch() + kEpochsRaised);
  for (const bool restarted : {false, true}) {
    if (restarted) {
      broker_->Crash(FakeLogStore::kLoseUnsynced);
      broker_->Start();
    }
    FrameClient client(executor_, network_, "Produce");
    for (int32_t partition : {0, 1}) {  // also where the later one has sent nothing yet
      const ProduceAckFrame fenced = Send(client, "t", partition, BatchOf({"late"}, from(a, partition == 0 ? 1 : 0)));
      EXPECT_EQ(fenced.error.code, Error::INVALID_PRODUCER_EPOCH);
      EXPECT_EQ(fenced.error.producer_epoch, b.producer_epoch());
      EXPECT_FALSE(fenced.error.retriable);
    }
    EXPECT_EQ(Name("orders", 1, &a).error.code, Error::INVALID_PRODUCER_EPOCH) << "it cannot fence its successor";
    EXPECT_EQ(Send(client, "t", 0, BatchOf({"b"}, from(b, restarted))).base_offset, 1 + restarted);
  }
  v1::InitProducerResponse other;
  ASSERT_TRUE(Name("payments", 3, &other).status.ok());
  EXPECT_NE(other.producer_id(), a.producer_id());
  v1::InitProducerResponse none;
  EXPECT_EQ(Name(std::string(256, 'x'), 3, &none).error.code, Error::INVALID_REQUEST);
}

// A made-up id would later be given to another producer, whose first records would pass for repeats.
TEST_F(Produce, ProducerIdsThatWereNeverGivenOutAreRefused) {
  const int64_t id = NewProducerId();
  EXPECT_EQ(Send(client_, "t", 0, BatchOf({"x"}, From(id + 1, 0, 0))).error.code, Error::UNKNOWN_PRODUCER_ID);
  ASSERT_EQ(NewProducerId(), id + 1);
  const ProduceAckFrame ack = Send(client_, "t", 0, BatchOf({"real"}, From(id + 1, 0, 0)));
  EXPECT_TRUE(ack.error.ok());
  EXPECT_FALSE(ack.duplicate);
}

TEST_F(Produce, RepeatsAreKnownAfterATrimAndACrash) {
  const absl::Cord batch = BatchOf({"a"}, From(9, 0, 0));
  ASSERT_EQ(Send(client_, "t", 0, batch).base_offset, 0);
  Trim("t", 1);
  broker_->Crash(FakeLogStore::kLoseUnsynced);
  broker_->Start();
  FrameClient client(executor_, network_, "Produce");
  EXPECT_TRUE(Send(client, "t", 0, batch).duplicate);
  EXPECT_EQ(Send(client, "t", 0, BatchOf({"b"}, From(9, 0, 1))).base_offset, 1);
}

TEST_F(Produce, WhatADamagedBatchSaysOfItsProducerMakesNoRepeats) {
  Send(client_, "t", 0, BatchOf({"a"}, From(9, 0, 0)));
  Send(client_, "t", 0, BatchOf({"b"}, From(9, 0, 1)));
  const raft::GroupId group = GroupOf("t", 0);
  broker_->Crash(FakeLogStore::kKeepUnsynced);
  disk_.ChangePayload(group, raft::LogIndex(3), [](std::string& payload) {
    auto batch = ParseBatch(absl::Cord(payload));
    ASSERT_TRUE(batch.ok());
    batch->header.base_sequence ^= 3;
    payload = std::string(SerializeBatch(batch->header, batch->payload));
  });
  broker_->Start();
  FrameClient client(executor_, network_, "Produce");
  const ProduceAckFrame ack = Send(client, "t", 0, BatchOf({"c"}, From(9, 0, 2)));
  EXPECT_FALSE(ack.duplicate);
  EXPECT_EQ(ack.error.code, Error::OUT_OF_ORDER_SEQUENCE_NUMBER);
}

TEST_F(Produce, ARepeatedTrimIsAnsweredOnlyWhenTheFirstIsDurable) {
  Send(client_, "t", 0, BatchOf({"a", "b"}));
  int answered = 0;
  const auto partition = FindPartition("t", 0);
  for (int i = 0; i < 2; ++i) partition->Trim(raft::Offset(1), [&](const ErrorFrame&, raft::Offset) { ++answered; });
  EXPECT_EQ(answered, 0);
  executor_.Advance(std::chrono::milliseconds(5));
  EXPECT_EQ(answered, 2);
}

TEST_F(Produce, AnAckSaysWhatWasDoneWhenTheTopicChangesMeanwhile) {
  CreateTopic("fast", 1, {{"flush", "async"}});
  Send(client_, "fast", 0, BatchOf({"starts the replica"}));
  const auto partition = FindPartition("fast", 0);
  const auto said_after_change = [&](server::FlushPolicy flush) {
    auto changed = std::make_shared<server::TopicConfig>(*partition->config());
    changed->flush = flush;
    server::ValidBatch batch;
    ErrorFrame error;
    EXPECT_TRUE(server::ValidateBatch(BatchOf({"a"}), *partition->config(), 1'700'000'000'000, &batch, &error))
        << error.message;
    Durability said = Durability::kUnspecified;
    partition->Append(std::move(batch), {.acks = Acks::kQuorum},
                      [&](const server::AppendOutcome& outcome) { said = outcome.durability; });
    partition->SetConfig(changed);
    executor_.Advance(std::chrono::milliseconds(5));
    return said;
  };
  EXPECT_EQ(said_after_change(server::FlushPolicy::kCommit), Durability::kQuorumDisk)
      << "it was written after the change";
  EXPECT_EQ(said_after_change(server::FlushPolicy::kAsync), Durability::kQuorumMemory);
}

TEST_F(Produce, ARepeatOfWhatIsNotSyncedYetSaysSo) {
  CreateTopic("fast", 1, {{"flush", "async"}});
  Send(client_, "fast", 0, BatchOf({"a"}, From(9, 0, 0)));
  ProduceRequestFrame request;
  request.batches.push_back({7, "fast", 0, 0, 0, BatchOf({"b"}, From(9, 0, 1))});
  client_.messages.clear();
  client_.Send(SerializeProduceRequest(request));
  ASSERT_EQ(AcksOf(client_).size(), 1u);
  const auto partition = FindPartition("fast", 0);
  auto synced = std::make_shared<server::TopicConfig>(*partition->config());
  synced->flush = server::FlushPolicy::kCommit;
  partition->SetConfig(synced);
  client_.messages.clear();
  client_.Send(SerializeProduceRequest(request));
  ASSERT_EQ(AcksOf(client_).size(), 1u);
  EXPECT_TRUE(AcksOf(client_)[0].duplicate);
  EXPECT_EQ(AcksOf(client_)[0].durability, Durability::kQuorumMemory);
  executor_.Advance(std::chrono::milliseconds(5));
  client_.messages.clear();
  client_.Send(SerializeProduceRequest(request));
  ASSERT_EQ(AcksOf(client_).size(), 1u);
  EXPECT_EQ(AcksOf(client_)[0].durability, Durability::kQuorumDisk);
}

TEST_F(Produce, ADamagedBatchCostsItselfOnly) {
  for (int i = 0; i < 5; ++i) Send(client_, "t", 0, BatchOf({std::to_string(i)}, From(9, 0, i)));
  disk_.Damage(FindPartition("t", 0)->group(), raft::LogIndex(4));
  broker_->Crash(FakeLogStore::kKeepUnsynced);
  broker_->Start();
  FrameClient client(executor_, network_, "Produce");
  EXPECT_TRUE(Send(client, "t", 0, BatchOf({"4"}, From(9, 0, 4))).duplicate);
  EXPECT_EQ(Send(client, "t", 0, BatchOf({"5"}, From(9, 0, 5))).base_offset, 5);
}

TEST_F(Produce, PartitionsOfADeletedTopicAreClosed) {
  const auto partition = FindPartition("t", 0);
  ASSERT_TRUE(partition->Open().ok());
  v1::DeleteTopicRequest request;
  request.set_name("t");
  v1::DeleteTopicResponse response;
  ASSERT_TRUE(Unary("Admin/DeleteTopic", request, &response).status.ok());
  EXPECT_TRUE(absl::IsNotFound(partition->Open()));
  EXPECT_EQ(partition->bytes(), 0);
}

// Goal: what was written after a crash of the machine is never taken for what was there before it, crash after crash.
TEST_F(Produce, TheLeaderEpochRisesWithEveryPowerCut) {
  int32_t epoch = Send(client_, "t", 0, BatchOf({"a"})).leader_epoch;
  for (int cut = 1; cut <= 3; ++cut) {
    broker_->Crash(FakeLogStore::kLoseUnsynced);
    broker_->Start();
    FrameClient client(executor_, network_, "Produce");
    const int32_t next = Send(client, "t", 0, BatchOf({"a"})).leader_epoch;
    EXPECT_GT(next, epoch);
    epoch = next;
  }
}

// Goal: no doubles whenever the broker dies. Method: every batch is sent again after a crash that kept what was written.
TEST_F(Produce, TheProducerTableSurvivesACrash) {
  for (int i = 0; i < 600; ++i) Send(client_, "t", 0, BatchOf({"a"}, From(9, 0, i)));
  broker_->Crash(FakeLogStore::kKeepUnsynced);
  broker_->Start();
  FrameClient client(executor_, network_, "Produce");
  for (int i = 595; i < 600; ++i) {
    const ProduceAckFrame ack = Send(client, "t", 0, BatchOf({"a"}, From(9, 0, i)));
    EXPECT_TRUE(ack.duplicate);
    EXPECT_EQ(ack.base_offset, i);
  }
  EXPECT_EQ(Send(client, "t", 0, BatchOf({"a"}, From(9, 0, 100))).error.code, Error::DUPLICATE_SEQUENCE_NUMBER);
  EXPECT_EQ(Send(client, "t", 0, BatchOf({"a"}, From(9, 0, 600))).base_offset, 600);
}

TEST_F(Produce, WhatWasAckedSurvivesAPowerCut) {
  for (int i = 0; i < 20; ++i) Send(client_, "t", 0, BatchOf({std::to_string(i)}));
  broker_->Crash(FakeLogStore::kLoseUnsynced);
  broker_->Start();
  FrameClient fetch(executor_, network_, "Fetch");
  fetch.Send(FetchFrom(At(1, "t", 0, 0)));
  executor_.Advance(std::chrono::milliseconds(5));
  EXPECT_EQ(ValuesFetched(fetch, 1).size(), 20u);
}

TEST_F(Produce, AStreamWithTooMuchUnackedIsNotReadFrom) {
  CreateTopic("big", 1, {{"max.message.bytes", "16777216"}});
  ProduceRequestFrame request;
  request.batches.push_back({1, "big", 0, 0, 0, BatchOf({std::string(15 << 20, 'x')})});
  const absl::Cord message = SerializeProduceRequest(request);
  for (int i = 0; i < 12; ++i) client_.Send(message);
  EXPECT_LT(client_.written, 10) << "more than the stream's share was taken before anything was acked";
  executor_.Advance(std::chrono::milliseconds(50));
  EXPECT_EQ(AcksOf(client_).size(), 12u) << "acks make room for the rest";
}

class FullDisk : public BrokerTest {
 protected:
  FullDisk() {
    server::Broker::Options options = SimBroker::DefaultOptions();
    options.disk_free_floor = 100;
    options.disk_space = [this] { return server::DiskSpace{.free_bytes = free_bytes_, .total_bytes = 1000}; };
    broker_.reset();
    broker_ = std::make_unique<SimBroker>(executor_, network_, disk_, options);
    CreateTopic("t", 1);
  }
  int64_t free_bytes_ = 100;
};

TEST_F(FullDisk, RecordsAreRefusedBelowTheFloorAndRepeatsAndTrimsAreNot) {
  FrameClient client(executor_, network_, "Produce");
  v1::InitProducerResponse producer;
  ASSERT_TRUE(Unary("Broker/InitProducer", v1::InitProducerRequest(), &producer).status.ok());
  const absl::Cord first = BatchOf({"a"}, From(producer.producer_id(), 0, 0));
  const absl::Cord second = BatchOf({"b"}, From(producer.producer_id(), 0, 1));
  EXPECT_TRUE(Send(client, "t", 0, first).error.ok());

  free_bytes_ = 99;
  executor_.Advance(std::chrono::seconds(1));
  const ProduceAckFrame refused = Send(client, "t", 0, second);
  EXPECT_EQ(refused.error.code, Error::KAFKA_STORAGE_ERROR);
  EXPECT_TRUE(refused.error.retriable);
  EXPECT_NE(refused.error.message.find("disk.free.floor (100)"), std::string::npos) << refused.error.message;
  EXPECT_TRUE(Send(client, "t", 0, first).duplicate);
  Trim("t", 1);

  free_bytes_ = 100;
  executor_.Advance(std::chrono::seconds(1));
  EXPECT_EQ(Send(client, "t", 0, second).base_offset, 1);
}

TEST_F(FullDisk, IsSeenAsSoonAsRecordsHaveComeDownToIt) {
  FrameClient client(executor_, network_, "Produce");
  free_bytes_ = 150;
  executor_.Advance(std::chrono::seconds(1));
  EXPECT_TRUE(Send(client, "t", 0, BatchOf({"a"})).error.ok());
  free_bytes_ = 99;  // within the second
  EXPECT_EQ(Send(client, "t", 0, BatchOf({std::string(200, 'b')})).error.code, Error::KAFKA_STORAGE_ERROR);
}

TEST_F(FullDisk, TopicsAreMadeDownToTheReserve) {
  const auto create = [this](const std::string& name) {
    v1::CreateTopicRequest request;
    request.set_name(name);
    request.set_partitions(1);
    v1::CreateTopicResponse response;
    return Unary("Admin/CreateTopic", request, &response).error;
  };
  free_bytes_ = 50;
  EXPECT_TRUE(create("below-the-floor").ok());
  free_bytes_ = 49;
  const ErrorFrame refused = create("in-the-reserve");
  EXPECT_EQ(refused.code, Error::KAFKA_STORAGE_ERROR);
  EXPECT_NE(refused.message.find("49 bytes free"), std::string::npos) << refused.message;
  Trim("t", 0);
  free_bytes_ = 50;
  EXPECT_TRUE(create("in-the-reserve").ok());
}

TEST_F(FullDisk, TheOperatorIsToldOfItsBeginningAndEnd) {
  std::vector<std::string> lines;
  log::SetSink([&lines](std::string_view line) {
    if (line.find("disk_floor") != std::string_view::npos) lines.emplace_back(line);
  });
  const auto full = [this] {
    executor_.Advance(std::chrono::seconds(1));
    v1::DescribeClusterResponse cluster;
    EXPECT_TRUE(Unary("Admin/DescribeCluster", v1::DescribeClusterRequest(), &cluster).status.ok());
    return cluster.brokers(0).disk_full();
  };
  EXPECT_FALSE(full());
  free_bytes_ = 99;
  EXPECT_TRUE(full());
  EXPECT_TRUE(full());
  free_bytes_ = 100;
  EXPECT_FALSE(full());
  log::SetSink(nullptr);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_NE(lines[0].find("records are refused"), std::string::npos) << lines[0];
  EXPECT_NE(lines[1].find("room again"), std::string::npos) << lines[1];
}

TEST_F(Produce, HalfCloseEndsTheStreamAfterTheLastAck) {
  ProduceRequestFrame request;
  request.batches.push_back({1, "t", 0, 0, 0, BatchOf({"a"})});
  client_.Send(SerializeProduceRequest(request));
  client_.HalfClose();
  EXPECT_FALSE(client_.closed);
  executor_.Advance(std::chrono::milliseconds(5));
  EXPECT_TRUE(client_.closed);
  EXPECT_TRUE(client_.end.status.ok());
  EXPECT_EQ(AcksOf(client_).size(), 1u);
}

TEST_F(Produce, PingIsAnswered) {
  ProduceRequestFrame request;
  request.ping = 42;
  client_.Send(SerializeProduceRequest(request));
  ASSERT_EQ(client_.messages.size(), 1u);
  EXPECT_EQ(ParseProduceResponse(client_.messages[0])->ping, 42u);
}

TEST_F(Produce, AClientThatGoesAwayLeavesNothingBehind) {
  ProduceRequestFrame request;
  request.batches.push_back({1, "t", 0, 0, 0, BatchOf({"a"})});
  client_.Send(SerializeProduceRequest(request));
  client_.Drop();
  executor_.Advance(std::chrono::milliseconds(5));
  FrameClient other(executor_, network_, "Produce");
  EXPECT_EQ(Send(other, "t", 0, BatchOf({"b"})).base_offset, 1);
  EXPECT_EQ(broker_->broker().shards()[0]->produce_budget.bytes(), 0);
}

}  // namespace
}  // namespace millrace
