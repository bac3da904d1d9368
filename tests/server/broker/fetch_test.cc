#include "tests/server/broker/fixture.h"

namespace millrace {
namespace {

class Fetch : public BrokerTest {
 protected:
  Fetch() { CreateTopic("t", 2, {{"max.message.bytes", "8388608"}}); }

  void Fill(const std::string& topic, int32_t partition, int first, int count) {
    for (int i = first; i < first + count; ++i) Send(produce_, topic, partition, BatchOf({std::to_string(i)}));
  }

  FrameClient produce_{executor_, network_, "Produce"};
  FrameClient client_{executor_, network_, "Fetch"};
};

TEST_F(Fetch, DeliversFromAnOffsetAndThenWhatIsAppended) {
  Fill("t", 0, 0, 5);
  client_.Send(FetchFrom(At(1, "t", 0, 2)));
  EXPECT_EQ(ValuesFetched(client_, 1), (std::vector<std::string>{"2", "3", "4"}));
  EXPECT_EQ(PartitionsOf(client_, 1).front().start_offset, 2);
  Fill("t", 0, 5, 2);
  EXPECT_EQ(ValuesFetched(client_, 1), (std::vector<std::string>{"2", "3", "4", "5", "6"}));
}

TEST_F(Fetch, TheBatchIsByteForByteWhatWasSent) {
  BatchBuilder::Options options;
  options.codec = Codec::kZstd;
  const absl::Cord batch = BatchOf({"a", "b"}, options);
  Send(produce_, "t", 0, batch);
  client_.Send(FetchFrom(At(1, "t", 0, 0)));
  EXPECT_EQ(PartitionsOf(client_, 1).back().batches.at(0).batch, batch);
}

TEST_F(Fetch, RecordsAreVisibleOnlyOnceDurable) {
  client_.Send(FetchFrom(At(1, "t", 0, 0)));
  ProduceRequestFrame request;
  request.batches.push_back({1, "t", 0, 0, 0, BatchOf({"a"})});
  produce_.Send(SerializeProduceRequest(request));
  EXPECT_TRUE(ValuesFetched(client_, 1).empty());
  executor_.Advance(std::chrono::milliseconds(5));
  EXPECT_EQ(ValuesFetched(client_, 1).size(), 1u);
}

TEST_F(Fetch, ReadsFromDiskWhatIsNotInMemory) {
  Fill("t", 0, 0, 50);
  disk_.DropCache();
  client_.Send(FetchFrom(At(1, "t", 0, 10)));
  EXPECT_EQ(ValuesFetched(client_, 1).size(), 40u);
}

TEST_F(Fetch, NothingIsSentWithoutCreditAndOneBatchMayOverdrawIt) {
  Fill("t", 0, 0, 3);
  client_.Send(FetchFrom(At(1, "t", 0, 0), 0));
  EXPECT_EQ(PartitionsOf(client_, 1).size(), 1u) << "where reading begins is said without credit";
  EXPECT_TRUE(ValuesFetched(client_, 1).empty());
  FetchRequestFrame more;
  more.credit = 1;
  client_.Send(SerializeFetchRequest(more));
  EXPECT_EQ(ValuesFetched(client_, 1).size(), 1u);
  client_.Send(SerializeFetchRequest(more));
  EXPECT_EQ(ValuesFetched(client_, 1).size(), 1u) << "the overdraft comes off first";
  more.credit = 1000;
  client_.Send(SerializeFetchRequest(more));
  EXPECT_EQ(ValuesFetched(client_, 1).size(), 3u);
}

// Goal: client and broker agree on what is left. Method: grant exactly the payload bytes of everything but the last batch.
TEST_F(Fetch, CreditCountsPayloadBytes) {
  Fill("t", 0, 0, 4);
  const int64_t payload = static_cast<int64_t>(ParseBatch(BatchOf({"0"}))->payload.size());
  client_.Send(FetchFrom(At(1, "t", 0, 0), 3 * payload));
  EXPECT_EQ(ValuesFetched(client_, 1).size(), 3u);
}

TEST_F(Fetch, APausedSubscriptionUsesNoCreditAndResumesWhereItWas) {
  FetchRequestFrame request;
  request.subscribe = {At(1, "t", 0, 0), At(2, "t", 1, 0)};
  request.pause = {1};
  request.credit = 1 << 20;
  client_.Send(SerializeFetchRequest(request));
  Fill("t", 0, 0, 2);
  Fill("t", 1, 0, 2);
  EXPECT_TRUE(ValuesFetched(client_, 1).empty());
  EXPECT_EQ(ValuesFetched(client_, 2).size(), 2u);
  FetchRequestFrame resume;
  resume.resume = {1};
  client_.Send(SerializeFetchRequest(resume));
  EXPECT_EQ(ValuesFetched(client_, 1), (std::vector<std::string>{"0", "1"}));
}

TEST_F(Fetch, SeekIsANewIdAndTheOldOneFallsSilent) {
  Fill("t", 0, 0, 4);
  client_.Send(FetchFrom(At(1, "t", 0, 3)));
  FetchRequestFrame seek;
  seek.unsubscribe = {1};
  seek.subscribe = {At(2, "t", 0, 1)};
  client_.Send(SerializeFetchRequest(seek));
  const size_t before = PartitionsOf(client_, 1).size();
  Fill("t", 0, 4, 1);
  EXPECT_EQ(PartitionsOf(client_, 1).size(), before);
  EXPECT_EQ(ValuesFetched(client_, 2), (std::vector<std::string>{"1", "2", "3", "4"}));
}

TEST_F(Fetch, PositionsByTimeSpecAndFromTheEnd) {
  for (int i = 0; i < 10; ++i) Send(produce_, "t", 0, BatchOf({std::to_string(i)}, {}, 1000 + 10 * i));
  FetchSubscriptionFrame by_time = At(1, "t", 0, 1045), latest = At(2, "t", 0, 0), back = At(3, "t", 0, 3),
                         earliest = At(4, "t", 0, 0);
  by_time.position = FetchSubscriptionFrame::Position::kTimestamp;
  latest.position = FetchSubscriptionFrame::Position::kSpec;
  latest.position_value = static_cast<int64_t>(OffsetSpec::kLatest);
  back.position = FetchSubscriptionFrame::Position::kRecordsBeforeEnd;
  earliest.position = FetchSubscriptionFrame::Position::kSpec;
  earliest.position_value = static_cast<int64_t>(OffsetSpec::kEarliest);
  FetchRequestFrame request;
  request.subscribe = {by_time, latest, back, earliest};
  request.credit = 1 << 20;
  client_.Send(SerializeFetchRequest(request));
  executor_.RunUntilIdle();
  EXPECT_EQ(PartitionsOf(client_, 1).at(0).start_offset, 5);
  EXPECT_EQ(PartitionsOf(client_, 2).at(0).start_offset, 10);
  EXPECT_EQ(PartitionsOf(client_, 3).at(0).start_offset, 7);
  EXPECT_EQ(PartitionsOf(client_, 4).at(0).start_offset, 0);
}

TEST_F(Fetch, EndOffsetEndsTheSubscription) {
  Fill("t", 0, 0, 5);
  FetchSubscriptionFrame bounded = At(1, "t", 0, 1);
  bounded.end_offset = 4;
  client_.Send(FetchFrom(bounded));
  EXPECT_EQ(ValuesFetched(client_, 1), (std::vector<std::string>{"1", "2", "3"}));
  EXPECT_TRUE(PartitionsOf(client_, 1).back().end_reached);
}

TEST_F(Fetch, OutsideTheLogIsAnErrorOfThatSubscriptionOnly) {
  Fill("t", 0, 0, 2);
  FetchRequestFrame request;
  request.subscribe = {At(1, "t", 0, 7), At(2, "t", 0, 0)};
  request.credit = 1000;
  client_.Send(SerializeFetchRequest(request));
  const FetchPartitionFrame frame = PartitionsOf(client_, 1).at(0);
  EXPECT_EQ(frame.error.code, Error::OFFSET_OUT_OF_RANGE);
  EXPECT_EQ(frame.error.log_start_offset, 0);
  EXPECT_EQ(frame.error.high_watermark, 2);
  EXPECT_EQ(ValuesFetched(client_, 2).size(), 2u);
  EXPECT_FALSE(client_.closed);
}

TEST_F(Fetch, TrimmedRecordsBecomeAGapWhenTheClientChoseSo) {
  Fill("t", 0, 0, 6);
  EXPECT_EQ(Trim("t", 4), 4);
  FetchSubscriptionFrame gap = At(1, "t", 0, 1);
  gap.out_of_range = static_cast<int32_t>(OutOfRange::kGap);
  FetchRequestFrame request;
  request.subscribe = {gap, At(2, "t", 0, 1)};
  request.credit = 1000;
  client_.Send(SerializeFetchRequest(request));
  const FetchPartitionFrame frame = PartitionsOf(client_, 1).at(0);
  ASSERT_TRUE(frame.gap);
  EXPECT_EQ(frame.gap->from, 1);
  EXPECT_EQ(frame.gap->to, 4);
  EXPECT_EQ(frame.gap->reason, v1::Gap::RETENTION);
  EXPECT_EQ(frame.start_offset, 4);
  EXPECT_EQ(ValuesFetched(client_, 1), (std::vector<std::string>{"4", "5"}));
  EXPECT_EQ(PartitionsOf(client_, 2).at(0).error.code, Error::OFFSET_OUT_OF_RANGE);
}

TEST_F(Fetch, ATrimmedLogGoesOnWhereItWas) {
  Fill("t", 0, 0, 3);
  EXPECT_EQ(Trim("t", -1), 3);
  client_.Send(FetchFrom(At(1, "t", 0, 3)));
  Fill("t", 0, 3, 2);
  EXPECT_EQ(ValuesFetched(client_, 1), (std::vector<std::string>{"3", "4"}))
      << "no offset is used up, nothing is skipped";
}

TEST_F(Fetch, ABatchThatTheClientCannotTakeNamesTheOption) {
  Send(produce_, "t", 0, BatchOf({std::string(5'000'000, 'x')}));
  client_.Send(FetchFrom(At(1, "t", 0, 0), 8 << 20));
  const FetchPartitionFrame frame = PartitionsOf(client_, 1).back();
  EXPECT_EQ(frame.error.code, Error::REPLY_TOO_LARGE);
  EXPECT_NE(frame.error.message.find("grpc.max_receive_message_length"), std::string::npos);
  FrameClient large(executor_, network_, "Fetch");
  FetchRequestFrame request;
  request.max_reply_bytes = 8 << 20;
  request.credit = 8 << 20;
  request.subscribe = {At(1, "t", 0, 0)};
  large.Send(SerializeFetchRequest(request));
  EXPECT_EQ(ValuesFetched(large, 1).size(), 1u);
}

TEST_F(Fetch, NoReplyIsLargerThanStockClientsTake) {
  for (int i = 0; i < 12; ++i) Send(produce_, "t", i % 2, BatchOf({std::string(3 << 20, 'x')}));
  FetchRequestFrame request;
  request.subscribe = {At(1, "t", 0, 0), At(2, "t", 1, 0)};
  request.credit = 64 << 20;
  client_.Send(SerializeFetchRequest(request));
  EXPECT_EQ(ValuesFetched(client_, 1).size() + ValuesFetched(client_, 2).size(), 12u);
  for (const absl::Cord& message : client_.messages) EXPECT_LE(message.size(), 4'000'000u);
}

TEST_F(Fetch, AnUnknownTopicEndsItsSubscriptionOnly) {
  client_.Send(FetchFrom(At(1, "missing", 0, 0)));
  const ErrorFrame error = PartitionsOf(client_, 1).at(0).error;
  EXPECT_EQ(error.code, Error::UNKNOWN_TOPIC_OR_PARTITION);
  EXPECT_FALSE(client_.closed);
}

TEST_F(Fetch, AnIdUsedTwiceEndsThatIdOnly) {
  FetchRequestFrame request;
  request.subscribe = {At(1, "t", 0, 0), At(2, "t", 0, 0), At(2, "t", 1, 0)};
  request.credit = 1 << 20;
  client_.Send(SerializeFetchRequest(request));
  EXPECT_EQ(PartitionsOf(client_, 2).back().error.code, Error::INVALID_REQUEST);
  Fill("t", 0, 0, 2);
  EXPECT_EQ(ValuesFetched(client_, 1).size(), 2u);
  EXPECT_TRUE(ValuesFetched(client_, 2).empty());
  client_.Send(FetchFrom(At(2, "t", 0, 0)));
  EXPECT_EQ(ValuesFetched(client_, 2).size(), 2u) << "the id is free again";
}

TEST_F(Fetch, SpecsThatAreNotKnownAreRefused) {
  for (const int spec : {0, 7}) {
    FetchSubscriptionFrame subscription = At(static_cast<uint64_t>(100 + spec), "t", 0, spec);
    subscription.position = FetchSubscriptionFrame::Position::kSpec;
    client_.Send(FetchFrom(subscription));
    EXPECT_EQ(PartitionsOf(client_, subscription.id).at(0).error.code, Error::INVALID_REQUEST) << spec;
  }
}

TEST_F(Fetch, AnEndThatIsReachedAlreadyNeedsNoCredit) {
  Fill("t", 0, 0, 5);
  FetchSubscriptionFrame bounded = At(1, "t", 0, 3);
  bounded.end_offset = 3;
  client_.Send(FetchFrom(bounded, 0));
  EXPECT_TRUE(PartitionsOf(client_, 1).back().end_reached);
}

TEST_F(Fetch, AGapPastTheEndEndsTheSubscription) {
  Fill("t", 0, 0, 6);
  Trim("t", 5);
  FetchSubscriptionFrame bounded = At(1, "t", 0, 0);
  bounded.end_offset = 3;
  bounded.out_of_range = static_cast<int32_t>(OutOfRange::kGap);
  client_.Send(FetchFrom(bounded));
  EXPECT_TRUE(ValuesFetched(client_, 1).empty());
  ASSERT_TRUE(PartitionsOf(client_, 1).front().gap);
  EXPECT_TRUE(PartitionsOf(client_, 1).back().end_reached);
}

TEST_F(Fetch, NegativeCreditEndsTheStream) {
  FetchRequestFrame request;
  request.credit = -5;
  client_.Send(SerializeFetchRequest(request));
  EXPECT_TRUE(client_.closed);
}

TEST_F(Fetch, ADeletedTopicEndsItsSubscriptions) {
  client_.Send(FetchFrom(At(1, "t", 0, 0)));
  v1::DeleteTopicRequest request;
  request.set_name("t");
  v1::DeleteTopicResponse response;
  ASSERT_TRUE(Unary("Admin/DeleteTopic", request, &response).status.ok());
  EXPECT_EQ(PartitionsOf(client_, 1).back().error.code, Error::UNKNOWN_TOPIC_OR_PARTITION);
}

TEST_F(Fetch, AReaderOfReplacedRecordsIsToldOfTheTruncation) {
  CreateTopic("fast", 1, {{"flush", "async"}});
  Fill("fast", 0, 0, 3);
  broker_->Crash(FakeLogStore::kLoseUnsynced);
  broker_->Start();
  FrameClient produce(executor_, network_, "Produce"), fetch(executor_, network_, "Fetch");
  for (int i = 0; i < 5; ++i) Send(produce, "fast", 0, BatchOf({"new"}));
  FetchSubscriptionFrame stale = At(1, "fast", 0, 3);
  stale.leader_epoch = 1;  // what the client saw before the crash
  fetch.Send(FetchFrom(stale));
  EXPECT_EQ(PartitionsOf(fetch, 1).at(0).error.code, Error::OFFSET_OUT_OF_RANGE);
  stale.id = 2;
  stale.out_of_range = static_cast<int32_t>(OutOfRange::kGap);
  fetch.Send(FetchFrom(stale));
  ASSERT_TRUE(PartitionsOf(fetch, 2).at(0).gap);
  EXPECT_EQ(PartitionsOf(fetch, 2).at(0).gap->reason, v1::Gap::TRUNCATED);
}

TEST_F(Fetch, AReaderThatDoesNotReadHoldsOneFrame) {
  for (int i = 0; i < 40; ++i) Send(produce_, "t", 0, BatchOf({std::string(1 << 20, 'x')}));
  client_.reading = false;
  client_.Send(FetchFrom(At(1, "t", 0, 0), 1 << 30));
  EXPECT_LT(client_.messages.size(), 3u);
  EXPECT_LT(broker_->broker().shards()[0]->fetch_budget.bytes(), 8 << 20);
  client_.Resume();
  executor_.RunUntilIdle();
  EXPECT_EQ(ValuesFetched(client_, 1).size(), 40u);
}

// Goal: what clients that never read hold is bounded, and keeps nobody else from reading. Method: as many of them as it takes to
// use up the budget, from memory and from disk, beside one that reads.
TEST_F(Fetch, AReaderThatIsHeldBackIsToldOfWhatWentMeanwhile) {
  CreateTopic("held-back", 1);
  FrameClient produce(executor_, network_, "Produce");
  for (int i = 0; i < 100; ++i) Send(produce, "held-back", 0, BatchOf({std::string(100 << 10, 'x')}));
  disk_.DropCache();
  FrameClient reads(executor_, network_, "Fetch");
  FetchSubscriptionFrame reader = At(1, "held-back", 0, 0);
  reader.out_of_range = static_cast<int32_t>(OutOfRange::kGap);
  reads.Send(FetchFrom(reader, 1 << 30));
  ASSERT_LT(ValuesFetched(reads, 1).size(), 90u) << "it was not held back";
  Trim("held-back", 90);
  executor_.Advance(std::chrono::seconds(5));
  int64_t next = 0;
  for (const FetchPartitionFrame& frame : PartitionsOf(reads, 1)) {
    EXPECT_TRUE(frame.error.ok()) << frame.error.message;
    if (frame.gap) {
      EXPECT_EQ(frame.gap->from, next);
      next = frame.gap->to;
    }
    next += static_cast<int64_t>(frame.batches.size());
  }
  EXPECT_EQ(next, 100) << "every offset is there or named as missing";
}

TEST_F(BrokerTest, ReadersThatNeverReadShareABudgetAndLeaveTheOthersAlone) {
  constexpr int64_t kBudget = 2 << 20;
  server::Broker::Options options = SimBroker::DefaultOptions();
  options.memory_limit = 8 * kBudget;
  broker_.reset();
  broker_ = std::make_unique<SimBroker>(executor_, network_, disk_, options);
  CreateTopic("t", 1);
  FrameClient produce(executor_, network_, "Produce");
  for (int i = 0; i < 100; ++i) Send(produce, "t", 0, BatchOf({std::string(100 << 10, 'x')}));
  for (const bool from_disk : {false, true}) {
    if (from_disk) disk_.DropCache();
    executor_.Advance(2 * server::ColdReadPacer::kQuietAfter);
    std::vector<std::unique_ptr<FrameClient>> never_reading;
    for (int i = 0; i < 20; ++i) {
      never_reading.push_back(std::make_unique<FrameClient>(executor_, network_, "Fetch"));
      never_reading.back()->reading = false;
      never_reading.back()->Send(FetchFrom(At(1, "t", 0, 0), 1 << 30));
    }
    const server::FlowBudget& budget = broker_->broker().shards()[0]->fetch_budget;
    EXPECT_TRUE(budget.exhausted());
    EXPECT_LT(budget.bytes(), 4 * kBudget);
    FrameClient reads(executor_, network_, "Fetch");
    reads.Send(FetchFrom(At(1, "t", 0, 0), 1 << 30));
    EXPECT_EQ(ValuesFetched(reads, 1).size(), 100u);
    never_reading.clear();
    reads.Drop();
    executor_.RunUntilIdle();
    EXPECT_EQ(budget.bytes(), 0);
  }
}

}  // namespace
}  // namespace millrace
