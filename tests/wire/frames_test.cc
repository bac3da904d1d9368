// The frames by themselves; frames_stub_test.cc holds them against protobuf.
#include "proto/wire/frames.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/wire/random_input.h"

namespace millrace {
namespace {

absl::Cord ExternalChunks(std::string_view bytes, size_t chunk_bytes) {
  absl::Cord cord;
  while (!bytes.empty()) {
    const size_t n = (bytes.size() - 1) % chunk_bytes + 1;
    PrependChunk(bytes.substr(bytes.size() - n), &cord);
    bytes.remove_suffix(n);
  }
  return cord;
}

// Every chunk of `part` that is large enough not to be copied lies in one of `whole`.
bool Shares(const absl::Cord& part, const absl::Cord& whole) {
  for (absl::string_view chunk : part.Chunks()) {
    if (chunk.size() < 512) continue;
    bool found = false;
    for (absl::string_view other : whole.Chunks()) {
      found |= chunk.data() >= other.data() && chunk.data() + chunk.size() <= other.data() + other.size();
    }
    if (!found) return false;
  }
  return true;
}

TEST(ProduceRequest, BatchesShareTheReceivedChunks) {
  RandomInput random;
  const std::string batch = random.Bytes(300'000);
  ProduceRequestFrame request{.acks = 3};
  for (uint64_t id : {1, 2, 3}) {
    request.batches.push_back({.id = id, .topic = "flights", .partition = 7, .batch = absl::Cord(batch)});
  }
  for (const size_t chunk_bytes : {8 << 10, 64 << 10}) {
    const absl::Cord message = ExternalChunks(std::string(SerializeProduceRequest(request)), chunk_bytes);
    auto parsed = ParseProduceRequest(message);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    ASSERT_EQ(parsed->batches.size(), 3);
    for (const PartitionBatchFrame& b : parsed->batches) {
      EXPECT_EQ(b.batch, batch);
      EXPECT_TRUE(Shares(b.batch, message));
    }
  }
}

TEST(FetchResponse, RefersToBatchesInsteadOfCopying) {
  const std::string batch(100'000, 'b');
  FetchResponseFrame response;
  for (uint64_t id : {1, 2}) {
    FetchPartitionFrame& partition = response.partitions.emplace_back();
    partition.subscription = id;
    for (int i = 0; i < 3; ++i) {
      partition.batches.push_back({.base_offset = i, .batch = ExternalChunks(batch, 40'000)});
    }
  }
  const absl::Cord message = SerializeFetchResponse(response);
  for (const FetchPartitionFrame& partition : response.partitions) {
    for (const FetchedBatchFrame& b : partition.batches) EXPECT_TRUE(Shares(b.batch, message));
  }
}

FetchedBatchFrame WidestBatch(size_t bytes) {
  return {.base_offset = INT64_MIN,
          .leader_epoch = INT32_MIN,
          .append_time = INT64_MIN,
          .batch = absl::Cord(std::string(bytes, 'b'))};
}

FetchPartitionFrame WidestPartition() {
  return {.subscription = UINT64_MAX,
          .high_watermark = INT64_MIN,
          .log_start_offset = INT64_MIN,
          .leader_epoch = INT32_MIN,
          .gap = GapFrame{.from = INT64_MIN, .to = INT64_MIN, .reason = INT32_MIN},
          .start_offset = INT64_MIN,
          .end_reached = true,
          .log_append_time = true};
}

TEST(FetchResponse, StaysWithinTheAnnouncedOverheads) {
  for (const int batches : {0, 1, 40}) {
    FetchResponseFrame response;
    for (int i = 0; i < 3; ++i) {
      response.partitions.push_back(WidestPartition());
      for (int j = 0; j < batches; ++j) response.partitions.back().batches.push_back(WidestBatch(70'000));
    }
    const int64_t bytes = SerializeFetchResponse(response).size();
    EXPECT_LE(bytes, 3 * (kFetchPartitionOverheadBytes + batches * (kFetchedBatchOverheadBytes + 70'000)));
  }
}

TEST(Error, TextThatIsNotUtf8BecomesReadable) {
  auto error = ParseError(absl::Cord(SerializeError({.code = 17, .message = "topic \"a\xff\" is no name"})));
  ASSERT_TRUE(error.ok());
  EXPECT_EQ(error->message, "topic \"a?\" is no name");
}

TEST(Error, LeaderHintWithoutBrokerIdIsBrokerZero) {
  auto error = ParseError(absl::Cord(SerializeError({.code = 6, .leader = LeaderHintFrame()})));
  ASSERT_TRUE(error.ok());
  ASSERT_TRUE(error->leader);
  EXPECT_EQ(error->leader->broker_id, 0);
}

TEST(Frames, NameWhatIsMalformedAndWhere) {
  const absl::Status status = ParseFetchRequest(absl::Cord("\x30\x05\x1a\x40")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "not a FetchRequest: malformed protobuf at byte 4 of 4");
}

TEST(Frames, RefuseTopicsThatAreNotUtf8AsStockParsersDo) {
  // batches { topic: "\xff" }
  EXPECT_FALSE(ParseProduceRequest(absl::Cord("\x7a\x03\x12\x01\xff")).ok());
}

TEST(Frames, SubmessagesEndWhereTheyShould) {
  // A length that reaches beyond the enclosing message, and a varint cut off by its message's end.
  EXPECT_FALSE(ParseProduceResponse(absl::Cord("\x12\x04\x12\x05\x08\x01\x10\x01\x10")).ok());
  EXPECT_FALSE(ParseProduceResponse(absl::Cord("\x12\x02\x08\x80\x08\x01\x08\x01\x08\x01\x08\x01")).ok());
}

// A batch is handed on as it came: what one of the stock parsers refuses must not get in.
TEST(Frames, RefuseEncodingsThatSomeStockParserRefuses) {
  const char* const bad[] = {
      "\x98\x80\x80\x80\x80\x00\x01",                      // a tag of six bytes
      "\x7a\x80\x80\x80\x80\x80\x00",                      // a length of six bytes
      "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",      // a number of more than 64 bits
      "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  // and of eleven bytes
  };
  const size_t sizes[] = {7, 7, 11, 12};
  for (size_t i = 0; i < std::size(bad); ++i) {
    for (const std::string padding :
         {"", "\x18\x01\x18\x01\x18\x01\x18\x01\x18\x01\x18\x01"}) {  // off and on the fast path
      EXPECT_FALSE(ParseProduceRequest(absl::Cord(std::string(bad[i], sizes[i]) + padding)).ok()) << i;
    }
  }
  EXPECT_EQ(ParseProduceRequest(absl::Cord("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))->ping, UINT64_MAX);
}

TEST(Frames, RepeatedFieldsAreBounded) {
  const std::string empty_batch("\x7a\x00", 2);
  std::string batches;
  for (size_t i = 0; i < kElementsMax; ++i) batches += empty_batch;
  EXPECT_EQ(ParseProduceRequest(absl::Cord(batches))->batches.size(), kElementsMax);
  const absl::Status status = ParseProduceRequest(absl::Cord(batches + empty_batch)).status();
  EXPECT_EQ(status.message(), "not a ProduceRequest: too many elements in a repeated field at byte 131074 of 131074");

  const absl::Cord packed = SerializeFetchRequest({.pause = std::vector<uint64_t>(kElementsMax + 1)});
  EXPECT_EQ(ParseFetchRequest(packed).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Frames, RandomBytesEndInAStatus) {
  RandomInput random;
  ErrorFrame error{.code = 6,
                   .message = "not here",
                   .topic = "t",
                   .partition = 3,
                   .leader = LeaderHintFrame{.address = "broker-1:9470", .leader_epoch = 4}};
  FetchPartitionFrame partition = WidestPartition();
  partition.batches = {WidestBatch(30), WidestBatch(600)};
  const std::string messages[] = {
      std::string(SerializeProduceRequest(
          {.acks = 3, .ping = 9, .batches = {{.id = 1, .topic = "flights", .batch = absl::Cord("payload")}}})),
      std::string(SerializeProduceResponse({.acks = {{.id = 1, .error = error}, {.id = 2, .base_offset = 70}}})),
      std::string(SerializeFetchRequest(
          {.unsubscribe = {1, 300, 70'000},
           .subscribe = {{.id = 5, .topic = "flights", .position = FetchSubscriptionFrame::Position::kOffset}},
           .pause = {7},
           .credit = 1'000'000})),
      std::string(SerializeFetchResponse({.partitions = {partition, {.subscription = 4, .error = error}}})),
  };
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes =
        random.OneIn(5) ? random.SomeBytes() : random.Damaged(messages[random.Below(std::size(messages))]);
    const absl::Cord message = random.Chunked(bytes);
    for (const absl::Status& status :
         {ParseProduceRequest(message).status(), ParseProduceResponse(message).status(),
          ParseFetchRequest(message).status(), ParseFetchResponse(message).status(), ParseError(message).status()}) {
      if (status.ok()) continue;
      ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      ++refused;
    }
  }
  EXPECT_GT(refused, 20'000);
}

}  // namespace
}  // namespace millrace
