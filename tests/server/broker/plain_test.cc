#include <map>

#include "grpc/health/v1/health.pb.h"
#include "proto/wire/partitioner.h"
#include "tests/server/broker/fixture.h"

namespace millrace {
namespace {

class Plain : public BrokerTest {
 protected:
  Plain() { CreateTopic("t", 4); }

  v1::AppendRequest Record(const std::string& value) {
    v1::AppendRequest request;
    request.set_topic("t");
    request.set_partition(0);
    request.add_records()->set_value(value);
    return request;
  }
};

TEST_F(Plain, AppendedRecordsAreRead) {
  v1::AppendRequest append = Record("one");
  append.mutable_records(0)->set_key("k");
  append.mutable_records(0)->set_timestamp(123);
  v1::Header* header = append.mutable_records(0)->add_headers();
  header->set_key("h");
  append.add_records();  // null key, null value
  v1::AppendResponse appended;
  ASSERT_TRUE(Unary("Broker/Append", append, &appended).status.ok());
  EXPECT_EQ(appended.base_offset(), 0);
  EXPECT_EQ(appended.durability(), v1::DURABILITY_QUORUM_DISK);
  v1::ReadRequest read;
  read.set_topic("t");
  v1::ReadResponse response;
  ASSERT_TRUE(Unary("Broker/Read", read, &response).status.ok());
  ASSERT_EQ(response.records_size(), 2);
  EXPECT_EQ(response.records(0).key(), "k");
  EXPECT_EQ(response.records(0).value(), "one");
  EXPECT_EQ(response.records(0).timestamp(), 123);
  EXPECT_FALSE(response.records(0).headers(0).has_value());
  EXPECT_FALSE(response.records(1).has_key());
  EXPECT_FALSE(response.records(1).has_value());
  EXPECT_EQ(response.records(1).offset(), 1);
  EXPECT_EQ(response.next_offset(), 2);
  EXPECT_EQ(response.high_watermark(), 2);
}

TEST_F(Plain, KeysGoWhereKafkaPutsThem) {
  v1::AppendRequest append = Record("x");
  append.clear_partition();
  append.mutable_records(0)->set_key("N14228");
  v1::AppendResponse appended;
  ASSERT_TRUE(Unary("Broker/Append", append, &appended).status.ok());
  EXPECT_EQ(appended.partition(), PartitionForKey("N14228", 4));
}

TEST_F(Plain, BadRequestsSayWhatIsWrong) {
  v1::AppendResponse appended;
  v1::AppendRequest empty;
  empty.set_topic("t");
  EXPECT_EQ(Unary("Broker/Append", empty, &appended).error.code, Error::INVALID_REQUEST);
  v1::AppendRequest unknown = Record("x");
  unknown.set_topic("missing");
  const CallEnd end = Unary("Broker/Append", unknown, &appended);
  EXPECT_EQ(end.error.code, Error::UNKNOWN_TOPIC_OR_PARTITION);
  EXPECT_EQ(end.status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(end.status.message().find("UNKNOWN_TOPIC_OR_PARTITION: "), 0u);
  EXPECT_EQ(Unary("Broker/Append", Record(std::string(2 << 20, 'x')), &appended).error.code, Error::MESSAGE_TOO_LARGE);
  v1::ReadRequest read;
  read.set_topic("t");
  read.set_offset(-1);
  v1::ReadResponse response;
  EXPECT_EQ(Unary("Broker/Read", read, &response).error.code, Error::INVALID_REQUEST);
  read.set_offset(5);
  EXPECT_EQ(Unary("Broker/Read", read, &response).error.code, Error::OFFSET_OUT_OF_RANGE);
}

TEST_F(Plain, ReadBeginsWithinABatchAndKeepsToItsSizes) {
  FrameClient produce(executor_, network_, "Produce");
  Send(produce, "t", 0, BatchOf({"a", "b", "c", "d"}));
  v1::ReadRequest read;
  read.set_topic("t");
  read.set_offset(2);
  v1::ReadResponse response;
  ASSERT_TRUE(Unary("Broker/Read", read, &response).status.ok());
  ASSERT_EQ(response.records_size(), 2);
  EXPECT_EQ(response.records(0).value(), "c");
  read.set_max_bytes(1);
  ASSERT_TRUE(Unary("Broker/Read", read, &response).status.ok());
  EXPECT_EQ(response.records_size(), 1) << "at least one";
  EXPECT_EQ(response.next_offset(), 3);
}

TEST_F(Plain, ReadWaitsForARecordIfAsked) {
  v1::ReadRequest read;
  read.set_topic("t");
  read.set_max_wait_ms(1000);
  bool done = false;
  v1::ReadResponse response;
  network_.Call("broker:9470", "/millrace.v1.Broker/Read", absl::Cord(read.SerializeAsString()),
                std::chrono::seconds(10), [&](CallReply r) {
                  done = true;
                  response.ParseFromString(std::string(r.message));
                });
  executor_.Advance(std::chrono::milliseconds(500));
  EXPECT_FALSE(done);
  v1::AppendResponse appended;
  Unary("Broker/Append", Record("x"), &appended);
  EXPECT_TRUE(done);
  EXPECT_EQ(response.records_size(), 1);
}

TEST_F(Plain, ReadThatWaitedInVainIsEmpty) {
  v1::ReadRequest read;
  read.set_topic("t");
  read.set_max_wait_ms(1000);
  bool done = false;
  network_.Call("broker:9470", "/millrace.v1.Broker/Read", absl::Cord(read.SerializeAsString()),
                std::chrono::seconds(10), [&](CallReply r) { done = r.end.status.ok(); });
  executor_.Advance(std::chrono::milliseconds(1100));
  EXPECT_TRUE(done);
}

TEST_F(Plain, TailFollowsAndReportsGaps) {
  v1::AppendResponse appended;
  for (const char* value : {"a", "b", "c"}) Unary("Broker/Append", Record(value), &appended);
  Trim("t", 2);
  FrameClient tail(executor_, network_, "Tail");
  v1::TailRequest request;
  request.set_topic("t");
  request.set_offset(0);
  tail.Send(absl::Cord(request.SerializeAsString()));
  Unary("Broker/Append", Record("d"), &appended);
  std::vector<std::string> values;
  bool gap = false;
  for (const absl::Cord& message : tail.messages) {
    v1::ReadResponse response;
    ASSERT_TRUE(response.ParseFromString(std::string(message)));
    gap |= response.has_gap() && response.gap().from() == 0 && response.gap().to() == 2;
    for (const auto& record : response.records()) values.push_back(record.value());
  }
  EXPECT_TRUE(gap);
  EXPECT_EQ(values, (std::vector<std::string>{"c", "d"}));
}

TEST_F(Plain, ListOffsetsAnswersEachQuery) {
  FrameClient produce(executor_, network_, "Produce");
  for (int i = 0; i < 5; ++i) Send(produce, "t", 0, BatchOf({"x"}, {}, 100 * i + 1));
  v1::ListOffsetsRequest request;
  for (int i = 0; i < 4; ++i) request.add_queries()->set_topic(i == 3 ? "missing" : "t");
  request.mutable_queries(0)->set_spec(v1::OFFSET_SPEC_EARLIEST);
  request.mutable_queries(1)->set_spec(v1::OFFSET_SPEC_LATEST);
  request.mutable_queries(2)->set_timestamp(250);
  v1::ListOffsetsResponse response;
  ASSERT_TRUE(Unary("Broker/ListOffsets", request, &response).status.ok());
  EXPECT_EQ(response.results(0).offset(), 0);
  EXPECT_EQ(response.results(1).offset(), 5);
  EXPECT_EQ(response.results(2).offset(), 3);
  EXPECT_EQ(response.results(3).error().code(), Error::UNKNOWN_TOPIC_OR_PARTITION);
}

TEST_F(Plain, HealthAnswersForTheServices) {
  CallReply reply;
  grpc::health::v1::HealthCheckRequest request;
  request.set_service("millrace.v1.Broker");
  network_.Call("broker:9470", "/grpc.health.v1.Health/Check", absl::Cord(request.SerializeAsString()),
                std::chrono::seconds(1), [&](CallReply r) { reply = std::move(r); });
  executor_.RunUntilIdle();
  grpc::health::v1::HealthCheckResponse response;
  ASSERT_TRUE(response.ParseFromString(std::string(reply.message)));
  EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::SERVING);
}

}  // namespace
}  // namespace millrace
