// Goal: bytes of our codec are protobuf's own, both ways. Method: random stub messages go through our parser and writer, in
// random chunks, with unknown fields, merged and damaged; each frame is turned into its stub field by field and compared.
#include <algorithm>

#include "google/protobuf/stubs/logging.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"
#include "millrace/v1/broker.pb.h"
#include "proto/wire/frames.h"
#include "proto/wire/record_batch.h"
#include "tests/wire/random_stub.h"

namespace millrace {
namespace {

v1::LeaderHint ToStub(const LeaderHintFrame& leader) {
  v1::LeaderHint stub;
  stub.set_broker_id(leader.broker_id);
  stub.set_address(leader.address);
  stub.set_leader_epoch(leader.leader_epoch);
  return stub;
}

v1::Error ToStub(const ErrorFrame& error) {
  v1::Error stub;
  stub.set_code(static_cast<v1::Error::Code>(error.code));
  stub.set_message(error.message);
  stub.set_retriable(error.retriable);
  stub.set_may_have_happened(error.may_have_happened);
  stub.set_topic(error.topic);
  if (error.partition) stub.set_partition(*error.partition);
  stub.set_address(error.address);
  stub.set_limit(error.limit);
  stub.set_size(error.size);
  if (error.log_start_offset) stub.set_log_start_offset(*error.log_start_offset);
  if (error.high_watermark) stub.set_high_watermark(*error.high_watermark);
  if (error.leader) *stub.mutable_leader() = ToStub(*error.leader);
  stub.set_producer_epoch(error.producer_epoch);
  stub.set_expected_sequence(error.expected_sequence);
  return stub;
}

void SetBatch(const absl::Cord& bytes, v1::RecordBatch* batch) {
  ASSERT_TRUE(batch->ParseFromString(std::string(bytes)));
}

v1::ProduceRequest ToStub(const ProduceRequestFrame& request) {
  v1::ProduceRequest stub;
  stub.set_acks(static_cast<v1::Acks>(request.acks));
  stub.set_routing(static_cast<v1::Routing>(request.routing));
  stub.set_ping(request.ping);
  for (const PartitionBatchFrame& batch : request.batches) {
    v1::PartitionBatch* b = stub.add_batches();
    b->set_id(batch.id);
    b->set_topic(batch.topic);
    b->set_partition(batch.partition);
    b->set_topic_id(batch.topic_id);
    b->set_leader_epoch(batch.leader_epoch);
    if (!batch.batch.empty()) SetBatch(batch.batch, b->mutable_batch());
  }
  return stub;
}

v1::ProduceResponse ToStub(const ProduceResponseFrame& response) {
  v1::ProduceResponse stub;
  stub.set_ping(response.ping);
  for (const ProduceAckFrame& ack : response.acks) {
    v1::ProduceAck* a = stub.add_acks();
    a->set_id(ack.id);
    if (!ack.error.ok()) *a->mutable_error() = ToStub(ack.error);
    a->set_base_offset(ack.base_offset);
    a->set_append_time(ack.append_time);
    a->set_leader_epoch(ack.leader_epoch);
    a->set_durability(static_cast<v1::Durability>(ack.durability));
    a->set_log_start_offset(ack.log_start_offset);
    a->set_high_watermark(ack.high_watermark);
    a->set_duplicate(ack.duplicate);
    a->set_crc_computed(ack.crc_computed);
    if (ack.leader) *a->mutable_leader() = ToStub(*ack.leader);
  }
  return stub;
}

void SetPosition(const FetchSubscriptionFrame& subscription, v1::FetchSubscription* stub) {
  switch (subscription.position) {
    case FetchSubscriptionFrame::Position::kNone:
      return;
    case FetchSubscriptionFrame::Position::kOffset:
      return stub->set_offset(subscription.position_value);
    case FetchSubscriptionFrame::Position::kTimestamp:
      return stub->set_timestamp(subscription.position_value);
    case FetchSubscriptionFrame::Position::kSpec:
      return stub->set_spec(static_cast<v1::OffsetSpec>(subscription.position_value));
    case FetchSubscriptionFrame::Position::kRecordsBeforeEnd:
      return stub->set_records_before_end(subscription.position_value);
  }
}

v1::FetchRequest ToStub(const FetchRequestFrame& request) {
  v1::FetchRequest stub;
  stub.set_max_reply_bytes(request.max_reply_bytes);
  stub.mutable_unsubscribe()->Assign(request.unsubscribe.begin(), request.unsubscribe.end());
  for (const FetchSubscriptionFrame& subscription : request.subscribe) {
    v1::FetchSubscription* s = stub.add_subscribe();
    s->set_id(subscription.id);
    s->set_topic(subscription.topic);
    s->set_partition(subscription.partition);
    s->set_topic_id(subscription.topic_id);
    SetPosition(subscription, s);
    s->set_leader_epoch(subscription.leader_epoch);
    s->set_out_of_range(static_cast<v1::OutOfRange>(subscription.out_of_range));
    s->set_routing(static_cast<v1::Routing>(subscription.routing));
    s->set_end_offset(subscription.end_offset);
  }
  stub.mutable_pause()->Assign(request.pause.begin(), request.pause.end());
  stub.mutable_resume()->Assign(request.resume.begin(), request.resume.end());
  stub.set_credit(request.credit);
  stub.set_ping(request.ping);
  return stub;
}

v1::FetchPartition ToStub(const FetchPartitionFrame& partition) {
  v1::FetchPartition stub;
  stub.set_subscription(partition.subscription);
  if (!partition.error.ok()) *stub.mutable_error() = ToStub(partition.error);
  stub.set_high_watermark(partition.high_watermark);
  stub.set_log_start_offset(partition.log_start_offset);
  stub.set_leader_epoch(partition.leader_epoch);
  if (partition.gap) {
    stub.mutable_gap()->set_from(partition.gap->from);
    stub.mutable_gap()->set_to(partition.gap->to);
    stub.mutable_gap()->set_reason(static_cast<v1::Gap::Reason>(partition.gap->reason));
  }
  if (partition.start_offset) stub.set_start_offset(*partition.start_offset);
  stub.set_end_reached(partition.end_reached);
  stub.set_log_append_time(partition.log_append_time);
  if (partition.leader) *stub.mutable_leader() = ToStub(*partition.leader);
  for (const FetchedBatchFrame& batch : partition.batches) {
    v1::FetchedBatch* b = stub.add_batches();
    b->set_base_offset(batch.base_offset);
    b->set_leader_epoch(batch.leader_epoch);
    b->set_append_time(batch.append_time);
    if (!batch.batch.empty()) SetBatch(batch.batch, b->mutable_batch());
  }
  return stub;
}

v1::FetchResponse ToStub(const FetchResponseFrame& response) {
  v1::FetchResponse stub;
  stub.set_ping(response.ping);
  for (const FetchPartitionFrame& partition : response.partitions) *stub.add_partitions() = ToStub(partition);
  return stub;
}

// Frames do not keep what says nothing: an error without a code, a batch without fields.
template <typename Message>
void DropEmptyBatch(Message* message) {
  if (message->batch().ByteSizeLong() == 0) message->clear_batch();
}
template <typename Message>
void DropEmptyError(Message* message) {
  if (message->error().code() == 0) message->clear_error();
}
void Normalize(v1::Error*) {}
void Normalize(v1::FetchRequest*) {}
void Normalize(v1::ProduceRequest* request) {
  for (auto& batch : *request->mutable_batches()) DropEmptyBatch(&batch);
}
void Normalize(v1::ProduceResponse* response) {
  for (auto& ack : *response->mutable_acks()) DropEmptyError(&ack);
}
void Normalize(v1::FetchResponse* response) {
  for (auto& partition : *response->mutable_partitions()) {
    DropEmptyError(&partition);
    for (auto& batch : *partition.mutable_batches()) DropEmptyBatch(&batch);
  }
}

// Frames carry batches unread; ParseBatch is what looks at them.
template <typename Frame>
bool BatchesParse(const Frame&) {
  return true;
}
bool BatchesParse(const ProduceRequestFrame& request) {
  return std::ranges::all_of(request.batches, [](const auto& batch) { return ParseBatch(batch.batch).ok(); });
}
bool BatchesParse(const FetchResponseFrame& response) {
  return std::ranges::all_of(response.partitions, [](const auto& partition) {
    return std::ranges::all_of(partition.batches, [](const auto& batch) { return ParseBatch(batch.batch).ok(); });
  });
}

struct ErrorFrames {
  using Stub = v1::Error;
  static auto Parse(const absl::Cord& bytes) { return ParseError(bytes); }
  static std::string Serialize(const ErrorFrame& error) { return SerializeError(error); }
};
struct ProduceRequestFrames {
  using Stub = v1::ProduceRequest;
  static auto Parse(const absl::Cord& bytes) { return ParseProduceRequest(bytes); }
  static std::string Serialize(const ProduceRequestFrame& frame) { return std::string(SerializeProduceRequest(frame)); }
};
struct ProduceResponseFrames {
  using Stub = v1::ProduceResponse;
  static auto Parse(const absl::Cord& bytes) { return ParseProduceResponse(bytes); }
  static std::string Serialize(const ProduceResponseFrame& frame) {
    return std::string(SerializeProduceResponse(frame));
  }
};
struct FetchRequestFrames {
  using Stub = v1::FetchRequest;
  static auto Parse(const absl::Cord& bytes) { return ParseFetchRequest(bytes); }
  static std::string Serialize(const FetchRequestFrame& frame) { return std::string(SerializeFetchRequest(frame)); }
};
struct FetchResponseFrames {
  using Stub = v1::FetchResponse;
  static auto Parse(const absl::Cord& bytes) { return ParseFetchResponse(bytes); }
  static std::string Serialize(const FetchResponseFrame& frame) { return std::string(SerializeFetchResponse(frame)); }
};

template <typename Stub>
testing::AssertionResult Same(Stub ours, Stub stub) {
  Normalize(&stub);
  stub.DiscardUnknownFields();
  ours.DiscardUnknownFields();
  std::string difference;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&difference);
  if (differencer.Compare(stub, ours)) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "from stub to ours: " << difference;
}

template <typename Frames>
class FramesStubTest : public testing::Test {
 protected:
  using Stub = typename Frames::Stub;

  Stub RandomStub(UnknownFields unknown) {
    Stub stub;
    FillRandomly(random_, unknown, &stub);
    return stub;
  }

  RandomInput random_;
};

using AllFrames =
    testing::Types<ErrorFrames, ProduceRequestFrames, ProduceResponseFrames, FetchRequestFrames, FetchResponseFrames>;
TYPED_TEST_SUITE(FramesStubTest, AllFrames);

TYPED_TEST(FramesStubTest, ReadsWhatStubsWrite) {
  for (int i = 0; i < 1000; ++i) {
    const auto stub = this->RandomStub(UnknownFields::kSome);
    auto frame = TypeParam::Parse(this->random_.Chunked(stub.SerializeAsString()));
    ASSERT_TRUE(frame.ok()) << frame.status();
    ASSERT_TRUE(Same(ToStub(*frame), stub));
  }
}

TYPED_TEST(FramesStubTest, WritesTheBytesThatStubsWrite) {
  for (int i = 0; i < 1000; ++i) {
    auto stub = this->RandomStub(UnknownFields::kNone);
    Normalize(&stub);
    const std::string bytes = stub.SerializeAsString();
    auto frame = TypeParam::Parse(absl::Cord(bytes));
    ASSERT_TRUE(frame.ok()) << frame.status();
    ASSERT_EQ(TypeParam::Serialize(*frame), bytes);
  }
}

// Concatenation is protobuf's merge: last scalars win, lists are joined, submessages merged, a oneof keeps its last.
TYPED_TEST(FramesStubTest, MergesAsStubsDo) {
  for (int i = 0; i < 500; ++i) {
    const std::string bytes = this->RandomStub(UnknownFields::kSome).SerializeAsString() +
                              this->RandomStub(UnknownFields::kSome).SerializeAsString();
    typename TypeParam::Stub stub;
    ASSERT_TRUE(stub.ParseFromString(bytes));
    auto frame = TypeParam::Parse(this->random_.Chunked(bytes));
    ASSERT_TRUE(frame.ok()) << frame.status();
    ASSERT_TRUE(Same(ToStub(*frame), stub));
  }
}

TYPED_TEST(FramesStubTest, TakesOnlyDamagedBytesThatStubsTakeAndAgrees) {
  google::protobuf::LogSilencer silencer;
  int taken = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string bytes = this->random_.Damaged(this->RandomStub(UnknownFields::kNone).SerializeAsString());
    auto frame = TypeParam::Parse(this->random_.Chunked(bytes));
    if (!frame.ok() || !BatchesParse(*frame)) continue;
    typename TypeParam::Stub stub;
    ASSERT_TRUE(stub.ParseFromString(bytes)) << "a reader with this stub could not read what we let in";
    ASSERT_TRUE(Same(ToStub(*frame), stub));
    ++taken;
  }
  EXPECT_GT(taken, 100);
}

TEST(FetchRequestFrames, TakesListsPackedAndOneByOne) {
  v1::FetchRequest packed;
  packed.add_pause(1);
  packed.add_pause(300);
  const std::string bytes = packed.SerializeAsString() + std::string("\x20\x07\x20\xac\x02", 5);
  auto frame = ParseFetchRequest(absl::Cord(bytes));
  ASSERT_TRUE(frame.ok()) << frame.status();
  EXPECT_EQ(frame->pause, (std::vector<uint64_t>{1, 300, 7, 300}));
}

}  // namespace
}  // namespace millrace
