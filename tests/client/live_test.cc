// The whole SDK over gRPC against real brokers: what a fake network cannot show.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <millrace/millrace.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/broker_process.h"

namespace millrace {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

class LiveTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(broker_.Start());
    client_.bootstrap_servers = broker_.address();
    admin_ = Admin::Create(client_).value();
  }

  void CreateTopic(const std::string& name, int32_t partitions, std::map<std::string, std::string> config = {}) {
    auto created = admin_->CreateTopic({.name = name, .partitions = partitions, .config = std::move(config)});
    ASSERT_TRUE(created.ok()) << created.status();
  }

  // Values of a topic's partition, up to its end.
  std::vector<std::string> Values(const std::string& topic, std::optional<Position> from = std::nullopt) {
    auto consumer = Consumer::Create({.client = client_}).value();
    std::vector<std::string> values;
    absl::Status assigned =
        consumer->Assign({{.topic = topic, .partition = 0, .from = from, .until = Position::End()}});
    EXPECT_TRUE(assigned.ok()) << assigned;
    if (!assigned.ok()) return values;
    for (const ConsumerRecord& record : *consumer) values.emplace_back(record.value.value_or("(null)"));
    EXPECT_TRUE(consumer->status().ok()) << consumer->status();
    return values;
  }

  BrokerProcess broker_;
  ClientOptions client_;
  std::unique_ptr<Admin> admin_;
};

TEST_F(LiveTest, RecordsComeBackAsTheyWent) {
  CreateTopic("t", 1);
  for (Compression compression : {Compression::kNone, Compression::kLz4, Compression::kZstd}) {
    auto producer = Producer::Create({.client = client_, .compression = compression}).value();
    const std::vector<Header> headers = {{.key = "a", .value = "1"}, {.key = "a", .value = std::nullopt}};
    auto stored = producer->SendAndWait(
        {.topic = "t", .key = "", .value = std::nullopt, .headers = headers, .timestamp = 1234567890123});
    ASSERT_TRUE(stored.ok()) << stored.status();
    EXPECT_EQ(stored->durability, DurabilityReached::kQuorumDisk);

    auto consumer = Consumer::Create({.client = client_}).value();
    ASSERT_TRUE(consumer->Assign({{.topic = "t", .from = Position::Offset(stored->offset)}}).ok());
    const Consumer::Iterator record = consumer->begin();
    EXPECT_EQ(record->offset, stored->offset);
    EXPECT_EQ(record->key, "");
    EXPECT_EQ(record->value, std::nullopt);
    EXPECT_EQ(record->timestamp, 1234567890123);
    EXPECT_EQ(record->append_time, stored->append_time);
    ASSERT_EQ(record->headers.size(), 2u);
    EXPECT_EQ(record->headers[0].value, "1");
    EXPECT_EQ(record->headers[1].value, std::nullopt);
  }
}

// Goal: nothing is begun on a runtime that ends while streams are still being opened. Each round has one of its own.
TEST_F(LiveTest, ClientsMayEndAtAnyMoment) {
  CreateTopic("t", 1);
  for (int i = 0; i < 100; ++i) {
    ClientOptions client = client_;
    client.runtime = Runtime::Create();
    auto producer = Producer::Create({.client = client}).value();
    EXPECT_TRUE(producer->Send("t", "x").ok());
    if (i % 2 == 0) producer->Close(milliseconds(0)).IgnoreError();
    auto consumer = Consumer::Create({.client = client}).value();
    EXPECT_TRUE(consumer->Assign({{.topic = "t", .from = Position::Beginning()}}).ok());
  }
}

TEST_F(LiveTest, ManyThreadsShareAProducer) {
  CreateTopic("t", 4, {{"flush", "async"}});
  constexpr int kThreads = 3;
  constexpr int kRecords = 20'000;
  auto producer = Producer::Create({.client = client_, .batch_size = 16 << 10, .buffer_memory = 256 << 10}).value();
  std::atomic<int> acked{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const std::string key = "thread" + std::to_string(t);
      for (int i = 0; i < kRecords; ++i) {
        const std::string value = std::to_string(i);
        absl::Status sent = producer->Send({.topic = "t", .key = key, .value = value},
                                           [&](const absl::StatusOr<RecordMetadata>& result) { acked += result.ok(); });
        ASSERT_TRUE(sent.ok()) << sent;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(producer->Close().ok());
  EXPECT_EQ(acked, kThreads * kRecords);

  auto consumer = Consumer::Create({.client = client_}).value();
  ASSERT_TRUE(consumer->Assign({{.topic = "t", .until = Position::End()}}).ok());
  std::map<std::string, int> next;
  for (const ConsumerRecord& record : *consumer) {
    ASSERT_EQ(*record.value, std::to_string(next[std::string(*record.key)]++)) << *record.key;
  }
  EXPECT_TRUE(consumer->status().ok());
  for (const auto& [key, count] : next) EXPECT_EQ(count, kRecords) << key;
}

TEST_F(LiveTest, NeitherSideNoticesThatTheBrokerIsKilledAndStartedAgain) {
  CreateTopic("t", 1);
  auto producer = Producer::Create({.client = client_}).value();
  auto consumer = Consumer::Create({.client = client_}).value();
  ASSERT_TRUE(consumer->Assign({{.topic = "t"}}).ok());
  int64_t next = 0;
  const auto read_to = [&](int64_t end) {
    while (next < end) {
      auto result = consumer->Poll(milliseconds::max());
      ASSERT_TRUE(result.ok()) << result.status();
      for (const ConsumerRecord& record : result->records) {
        ASSERT_EQ(record.offset, next);
        ASSERT_EQ(*record.value, std::to_string(next++));
      }
    }
  };
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 100; ++i) {
      if (i == 50) {
        broker_.Kill();
        ASSERT_NO_FATAL_FAILURE(broker_.Start());
      }
      ASSERT_TRUE(producer->Send("t", std::to_string(round * 100 + i)).ok());
    }
    absl::Status flushed = producer->Flush();
    ASSERT_TRUE(flushed.ok()) << flushed;
    ASSERT_NO_FATAL_FAILURE(read_to(100 * (round + 1)));
  }
  EXPECT_GT(consumer->counters().reconnects, 0);
}

TEST_F(LiveTest, OffsetsByTimeAreExactWithinABatch) {
  CreateTopic("t", 1);
  auto producer = Producer::Create({.client = client_, .linger = milliseconds(1000)}).value();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(producer->Send({.topic = "t", .value = std::to_string(i), .timestamp = 1000 + i}).ok());
  }
  ASSERT_TRUE(producer->Flush().ok());
  EXPECT_EQ(producer->counters().batches_sent, 1);

  auto answers = admin_->ListOffsets({{.topic = "t", .at = Position::Beginning()},
                                      {.topic = "t", .at = Position::End()},
                                      {.topic = "t", .at = Position::Time(1004)},
                                      {.topic = "t", .at = Position::Time(5000)},
                                      {.topic = "t", .at = Position::BeforeEnd(3)},
                                      {.topic = "t", .partition = 9, .at = Position::End()}});
  ASSERT_TRUE(answers.ok()) << answers.status();
  std::vector<int64_t> offsets;
  for (const OffsetAnswer& answer : *answers) offsets.push_back(answer.status.ok() ? answer.offset : -1);
  EXPECT_THAT(offsets, ElementsAre(0, 10, 4, 10, 7, -1));
  EXPECT_EQ(ErrorFrom(answers->back().status).code, ErrorCode::kUnknownTopicOrPartition);
  EXPECT_THAT(Values("t", Position::Time(1007)), ElementsAre("7", "8", "9"));
}

TEST_F(LiveTest, LogAppendTimeTakesThePlaceOfTheProducersTime) {
  CreateTopic("t", 1, {{"message.timestamp.type", "LogAppendTime"}});
  auto producer = Producer::Create({.client = client_}).value();
  constexpr int64_t kFarFuture = 99'999'999'999'999;  // no reason to refuse it here: it is not used
  for (const int64_t timestamp : {int64_t{1}, kFarFuture}) {
    const auto stored = producer->SendAndWait({.topic = "t", .value = "v", .timestamp = timestamp});
    ASSERT_TRUE(stored.ok()) << stored.status();
    auto consumer = Consumer::Create({.client = client_}).value();
    ASSERT_TRUE(consumer->Assign({{.topic = "t", .from = Position::Offset(stored->offset)}}).ok());
    const Consumer::Iterator record = consumer->begin();
    EXPECT_EQ(record->timestamp, stored->append_time);
    EXPECT_EQ(record->append_time, stored->append_time);
    auto by_time = Consumer::Create({.client = client_}).value();
    ASSERT_TRUE(by_time->Assign({{.topic = "t", .from = Position::Time(stored->append_time)}}).ok());
    EXPECT_GE(by_time->begin()->timestamp, stored->append_time);
  }
}

TEST_F(LiveTest, AdminSeesWhatItChanged) {
  CreateTopic("t", 2, {{"retention.ms", "3600000"}});
  EXPECT_EQ(ErrorFrom(admin_->CreateTopic({.name = "t"}).status()).code, ErrorCode::kTopicAlreadyExists);
  EXPECT_FALSE(admin_->CreateTopic({.name = "t", .if_not_exists = true}).value().created);
  EXPECT_TRUE(admin_->AlterTopic("t", {{"segment.bytes", "1048576"}}, {"retention.ms"}).ok());
  EXPECT_TRUE(admin_->AddPartitions("t", 3).ok());
  const TopicDescription topic = admin_->DescribeTopic("t").value();
  EXPECT_EQ(topic.partitions.size(), 3u);
  EXPECT_EQ(topic.config.at("segment.bytes"), "1048576");
  ASSERT_EQ(topic.partitions.at(0).replica_lag.size(), 1u);
  EXPECT_TRUE(topic.partitions[0].replica_lag[0].in_sync);
  EXPECT_EQ(topic.partitions[0].replica_lag[0].lag_records, 0);
  EXPECT_THAT(topic.overrides, ElementsAre("segment.bytes"));

  auto producer = Producer::Create({.client = client_}).value();
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(producer->SendAndWait({.topic = "t", .partition = 0, .value = std::to_string(i)}).ok());
  }
  EXPECT_EQ(admin_->TrimPartition({"t", 0}, 2).value(), 2);
  EXPECT_THAT(Values("t"), ElementsAre("2", "3", "4"));
  EXPECT_EQ(ErrorFrom(admin_->TrimPartition({"t", 0}, 9).status()).code, ErrorCode::kOffsetOutOfRange);
  EXPECT_EQ(admin_->TrimPartition({"t", 0}, std::nullopt).value(), 5);

  EXPECT_EQ(admin_->GetMetadata({"t"}).value().topics.at(0).partitions.size(), 3u);
  EXPECT_EQ(admin_->DescribeCluster().value().brokers.size(), 1u);
  ASSERT_EQ(admin_->ListTopics().value().size(), 1u);
  EXPECT_TRUE(admin_->DeleteTopic("t").ok());
  EXPECT_EQ(ErrorFrom(admin_->DescribeTopic("t").status()).code, ErrorCode::kUnknownTopicOrPartition);
  EXPECT_EQ(ErrorFrom(producer->Send("gone", "x")).code, ErrorCode::kUnknownTopicOrPartition);
}

TEST_F(LiveTest, RecordOfManyMegabytesGoesThrough) {
  CreateTopic("t", 1, {{"max.message.bytes", "16777216"}});
  const std::string large(10 << 20, 'x');
  auto producer = Producer::Create({.client = client_}).value();
  auto stored = producer->SendAndWait({.topic = "t", .value = large});
  ASSERT_TRUE(stored.ok()) << stored.status();
  const std::vector<std::string> values = Values("t");
  ASSERT_EQ(values.size(), 1u);
  EXPECT_EQ(values[0], large);
  const Error error = ErrorFrom(producer->Send("t", std::string(17 << 20, 'y')));
  EXPECT_EQ(error.code, ErrorCode::kMessageTooLarge);
  EXPECT_EQ(error.limit, 16777216);
}

TEST_F(LiveTest, WakeupEndsAPollOfAnotherThread) {
  CreateTopic("t", 1);
  auto consumer = Consumer::Create({.client = client_}).value();
  ASSERT_TRUE(consumer->Assign({{.topic = "t"}}).ok());
  std::thread waker([&] { consumer->Wakeup(); });
  for (const ConsumerRecord& record : *consumer) FAIL() << record.offset;
  EXPECT_EQ(ErrorFrom(consumer->status()).code, ErrorCode::kCancelled);
  waker.join();
}

TEST_F(LiveTest, WhatWaitsIsRefusedInADeliveryCallback) {
  CreateTopic("t", 1);
  auto producer = Producer::Create({.client = client_}).value();
  auto consumer = Consumer::Create({.client = client_}).value();
  std::vector<absl::Status> refusals;
  const auto in_callback = [&](const absl::StatusOr<RecordMetadata>&) {
    refusals.push_back(Admin::Create(client_).status());
    refusals.push_back(admin_->ListTopics().status());
    refusals.push_back(consumer->Assign({{.topic = "t"}}));
    refusals.push_back(consumer->Poll(std::chrono::milliseconds(0)).status());
    refusals.push_back(producer->SendAndWait({.topic = "t", .value = "w"}).status());
    refusals.push_back(producer->Flush());
    refusals.push_back(producer->Close());
  };
  ASSERT_TRUE(producer->Send({.topic = "t", .value = "v"}, in_callback).ok());
  ASSERT_TRUE(producer->Flush().ok());
  ASSERT_EQ(refusals.size(), 7u);
  for (const absl::Status& status : refusals) {
    EXPECT_EQ(ErrorFrom(status).code, ErrorCode::kInvalidRequest) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("callback"));
  }
  EXPECT_FALSE(consumer->trouble());
}

TEST_F(LiveTest, EachRuntimeIsAThreadOfItsOwn) {
  CreateTopic("t", 1);
  ClientOptions own = client_;
  own.runtime = Runtime::Create();
  auto producer = Producer::Create({.client = own}).value();
  EXPECT_TRUE(producer->SendAndWait({.topic = "t", .value = "v"}).ok());
  EXPECT_EQ(Runtime::Shared(), Runtime::Shared());
}

TEST(LiveAddress, ProxyOfTheEnvironmentIsNotUsed) {
  for (const char* name : {"http_proxy", "https_proxy", "grpc_proxy"}) setenv(name, "http://127.0.0.1:1", 1);
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  auto admin = Admin::Create({.bootstrap_servers = broker.address()}).value();
  auto cluster = admin->DescribeCluster();
  EXPECT_TRUE(cluster.ok()) << cluster.status();
  for (const char* name : {"http_proxy", "https_proxy", "grpc_proxy"}) unsetenv(name);
}

TEST(LiveAddress, IPv6Only) {
  BrokerProcess broker({.listen = "[::1]:0"});
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  const ClientOptions client{.bootstrap_servers = broker.address()};
  auto admin = Admin::Create(client).value();
  ASSERT_TRUE(admin->CreateTopic({.name = "t"}).ok());
  auto producer = Producer::Create({.client = client}).value();
  EXPECT_TRUE(producer->SendAndWait({.topic = "t", .value = "v"}).ok());
}

TEST(LiveAddress, AddressThatNobodyListensAtIsNamed) {
  auto admin =
      Admin::Create({.bootstrap_servers = "127.0.0.1:1,[::1]:1", .connect_timeout = std::chrono::milliseconds(500)})
          .value();
  const Error error = ErrorFrom(admin->ListTopics().status());
  EXPECT_EQ(error.code, ErrorCode::kNetworkException);
  EXPECT_FALSE(error.may_have_happened);
  EXPECT_THAT(error.message, HasSubstr("127.0.0.1:1, [::1]:1"));
}

TEST(LiveAddress, SecondAddressIsUsedWhenNobodyListensAtTheFirst) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  auto admin = Admin::Create({.bootstrap_servers = "127.0.0.1:1," + broker.address()}).value();
  EXPECT_TRUE(admin->ListTopics().ok());
}

// client/examples

std::string RunExample(const std::string& name, const std::string& address) {
  const std::string command = std::string(EXAMPLES_DIR) + "/example_" + name + " " + address + " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  std::string output;
  std::array<char, 4096> buffer;
  while (size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) output.append(buffer.data(), n);
  EXPECT_EQ(pclose(pipe), 0) << output;
  return output;
}

TEST_F(LiveTest, ExamplesSayWhatTheyShould) {
  EXPECT_EQ(RunExample("hello", broker_.address()), "stored at offset 0\n0: hello, world\n");
  EXPECT_EQ(RunExample("orders", broker_.address()),
            "charged 2 tickets of alice\n"
            "confirmed 2 tickets of alice\n"
            "-- email is down --\n"
            "charged 1 ticket of bob\n"
            "charged 1 ticket of carol\n"
            "-- email is back --\n"
            "confirmed 1 ticket of bob\n"
            "confirmed 1 ticket of carol\n");
  EXPECT_EQ(RunExample("tasks", broker_.address()),
            "done: resize a.jpg\n"
            "done: resize b.jpg\n"
            "set aside: divide by zero, cannot divide by zero, 3\n");
  EXPECT_EQ(RunExample("replay_day", broker_.address()), "24 departures of 10 planes\n");
}

}  // namespace
}  // namespace millrace
