// Random bytes to every method: the call ends, with a typed error unless they happen to be a request, and nothing has changed.
#include "tests/server/broker/fixture.h"
#include "tests/wire/random_input.h"

namespace millrace {
namespace {

class RandomBytes : public BrokerTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(RandomBytes, EndTheCallAndChangeNothing) {
  CreateTopic("t", 2);
  FrameClient produce(executor_, network_, "Produce");
  ASSERT_TRUE(Send(produce, "t", 0, BatchOf({"a", "b"})).error.ok());
  RandomInput random;
  int refused = 0;
  for (int i = 0; i < 200; ++i) {
    std::string bytes(random.Below(200), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random.Below(256));
    CallReply reply;
    bool done = false;
    network_.Call("broker:9470", GetParam(), absl::Cord(bytes), std::chrono::seconds(10), [&](CallReply r) {
      reply = std::move(r);
      done = true;
    });
    executor_.Advance(std::chrono::seconds(11));
    ASSERT_TRUE(done);
    if (reply.end.status.ok()) continue;
    ++refused;
    EXPECT_NE(reply.end.error.code, 0) << reply.end.status;
    EXPECT_FALSE(reply.end.error.message.empty());
  }
  EXPECT_GT(refused, 100);
  const auto image = broker_->broker().image();
  EXPECT_EQ(image->topics().size(), 1u);
  EXPECT_EQ(image->partitions(), 2);
  EXPECT_EQ(Send(produce, "t", 0, BatchOf({"c"})).base_offset, 2);
}

INSTANTIATE_TEST_SUITE_P(EveryMethod, RandomBytes,
                         ::testing::Values("/millrace.v1.Broker/Produce", "/millrace.v1.Broker/Fetch",
                                           "/millrace.v1.Broker/Tail", "/millrace.v1.Broker/Read",
                                           "/millrace.v1.Broker/Append", "/millrace.v1.Broker/ListOffsets",
                                           "/millrace.v1.Broker/InitProducer", "/millrace.v1.Admin/CreateTopic",
                                           "/millrace.v1.Admin/DeleteTopic", "/millrace.v1.Admin/AlterTopic",
                                           "/millrace.v1.Admin/AddPartitions", "/millrace.v1.Admin/ListTopics",
                                           "/millrace.v1.Admin/DescribeTopic", "/millrace.v1.Admin/TrimPartition",
                                           "/millrace.v1.Admin/GetMetadata", "/millrace.v1.Admin/DescribeCluster"));

}  // namespace
}  // namespace millrace
