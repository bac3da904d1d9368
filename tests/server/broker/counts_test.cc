// What operators see: every way in and out is counted, once, and what is refused too.
#include "server/log.h"
#include "tests/server/broker/fixture.h"

namespace millrace {
namespace {

class Counts : public BrokerTest {
 protected:
  Counts() { CreateTopic("t", 1); }

  v1::AppendRequest OneRecord() {
    v1::AppendRequest request;
    request.set_topic("t");
    request.set_partition(0);
    request.add_records()->set_value("value");
    return request;
  }
};

TEST_F(Counts, PlainAppendsAndReads) {
  v1::AppendResponse appended;
  ASSERT_TRUE(Unary("Broker/Append", OneRecord(), &appended).status.ok());
  EXPECT_EQ(metrics().batches_in.Value(), 1u);
  EXPECT_EQ(metrics().records_in.Value(), 1u);
  EXPECT_GT(metrics().bytes_in.Value(), 5u);
  v1::ReadRequest read;
  read.set_topic("t");
  v1::ReadResponse response;
  ASSERT_TRUE(Unary("Broker/Read", read, &response).status.ok());
  EXPECT_EQ(metrics().records_out.Value(), 1u);
  EXPECT_GT(metrics().bytes_out.Value(), 5u);
}

TEST_F(Counts, RepeatsAndRefusalsAreNotAppends) {
  FrameClient produce(executor_, network_, "Produce");
  const absl::Cord batch = BatchOf({"a", "b"});
  Send(produce, "t", 0, batch);
  v1::InitProducerResponse producer;
  ASSERT_TRUE(Unary("Broker/InitProducer", v1::InitProducerRequest(), &producer).status.ok());
  BatchBuilder::Options options;
  options.producer_id = producer.producer_id();
  const absl::Cord idempotent = BatchOf({"c"}, options);
  Send(produce, "t", 0, idempotent);
  Send(produce, "t", 0, idempotent);
  options.base_sequence = 9;
  EXPECT_EQ(Send(produce, "t", 0, BatchOf({"d"}, options)).error.code, Error::OUT_OF_ORDER_SEQUENCE_NUMBER);
  EXPECT_EQ(metrics().batches_in.Value(), 2u);
  EXPECT_EQ(metrics().records_in.Value(), 3u);
  EXPECT_EQ(metrics().bytes_in.Value(), batch.size() + idempotent.size());
  EXPECT_EQ(metrics().duplicates.Value(), 1u);
  EXPECT_EQ(metrics().errors.Value(Error::OUT_OF_ORDER_SEQUENCE_NUMBER), 1u);
}

TEST_F(Counts, WhatIsFetchedIsCountedWithoutItsFrame) {
  FrameClient produce(executor_, network_, "Produce"), fetch(executor_, network_, "Fetch");
  const absl::Cord batch = BatchOf({"a", "b"});
  Send(produce, "t", 0, batch);
  fetch.Send(FetchFrom(At(1, "t", 0, 0)));
  EXPECT_EQ(metrics().bytes_out.Value(), batch.size());
  EXPECT_EQ(metrics().records_out.Value(), 2u);
}

TEST_F(Counts, EveryKindOfCallCountsItsErrors) {
  const auto errors = [this] { return metrics().errors.Value(Error::UNKNOWN_TOPIC_OR_PARTITION); };
  v1::AppendRequest append = OneRecord();
  append.set_topic("missing");
  v1::AppendResponse appended;
  Unary("Broker/Append", append, &appended);
  EXPECT_EQ(errors(), 1u);
  v1::ReadRequest read;
  read.set_topic("missing");
  v1::ReadResponse response;
  Unary("Broker/Read", read, &response);
  EXPECT_EQ(errors(), 2u);
  v1::DeleteTopicRequest remove;
  remove.set_name("missing");
  v1::DeleteTopicResponse removed;
  Unary("Admin/DeleteTopic", remove, &removed);
  EXPECT_EQ(errors(), 3u);
  v1::ListOffsetsRequest list;
  list.add_queries()->set_topic("missing");
  v1::ListOffsetsResponse listed;
  Unary("Broker/ListOffsets", list, &listed);
  EXPECT_EQ(errors(), 4u);
  FrameClient produce(executor_, network_, "Produce"), fetch(executor_, network_, "Fetch");
  Send(produce, "missing", 0, BatchOf({"a"}));
  EXPECT_EQ(errors(), 5u);
  fetch.Send(FetchFrom(At(1, "missing", 0, 0)));
  EXPECT_EQ(errors(), 6u);
  fetch.Send(absl::Cord("\xff"));
  EXPECT_EQ(metrics().errors.Value(Error::INVALID_REQUEST), 1u);
}

TEST_F(Counts, TopicsThatComeChangeAndGoAreLogged) {
  std::vector<std::string> lines;
  log::SetSink([&lines](std::string_view line) { lines.emplace_back(line); });
  CreateTopic("new", 3);
  v1::AddPartitionsRequest add;
  add.set_name("new");
  add.set_partitions(5);
  v1::AddPartitionsResponse added;
  EXPECT_TRUE(Unary("Admin/AddPartitions", add, &added).status.ok());
  v1::DeleteTopicRequest remove;
  remove.set_name("new");
  v1::DeleteTopicResponse removed;
  EXPECT_TRUE(Unary("Admin/DeleteTopic", remove, &removed).status.ok());
  log::SetSink(nullptr);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_NE(lines[0].find("msg=\"topic created\" topic=new partitions=3"), std::string::npos) << lines[0];
  EXPECT_NE(lines[1].find("msg=\"topic changed\" topic=new partitions=5"), std::string::npos) << lines[1];
  EXPECT_NE(lines[2].find("msg=\"topic deleted\" topic=new partitions=5"), std::string::npos) << lines[2];
}

}  // namespace
}  // namespace millrace
