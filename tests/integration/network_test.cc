// What networks and strangers do to a broker: it serves the others as before.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <millrace/admin.h>
#include <millrace/consumer.h>
#include <millrace/producer.h>

#include <iostream>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "client/control.h"
#include "proto/wire/frames.h"
#include "tests/integration/broker_process.h"
#include "tests/integration/tcp_proxy.h"
#include "tests/support/http_get.h"
#include "tests/support/raw_call.h"

namespace millrace {
namespace {

class Network : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(broker_.Start());
    const size_t colon = broker_.address().rfind(':');
    port_ = static_cast<uint16_t>(std::stoi(broker_.address().substr(colon + 1)));
    client_.bootstrap_servers = broker_.address();
    ASSERT_TRUE(Admin::Create(client_).value()->CreateTopic({.name = "t"}).ok());
  }

  // Somebody who behaves finds everything as it was.
  void ExpectServes() {
    auto producer = Producer::Create({.client = client_}).value();
    const auto stored = producer->SendAndWait({.topic = "t", .value = "v"});
    ASSERT_TRUE(stored.ok()) << stored.status();
    EXPECT_EQ(stored->offset, next_++);
  }

  int OpenCalls() {
    const std::string metrics = HttpGet(broker_.http_address(), "/metrics");
    const std::string name = "\nmillrace_calls_open ";
    return std::stoi(metrics.substr(metrics.find(name) + name.size()));
  }

  BrokerProcess broker_;
  uint16_t port_ = 0;
  ClientOptions client_;
  int64_t next_ = 0;
};

TEST_F(Network, BytesThatAreNoGrpcEndTheirConnectionOnly) {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << '\n';
  std::mt19937_64 random(seed);
  std::string noise(100'000, '\0');
  for (char& byte : noise) byte = static_cast<char>(random());
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), std::string("\x16\x03\x01\x02\x00\x01"), noise,
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + noise}) {
    TcpSocket stranger("127.0.0.1", port_);
    ASSERT_TRUE(stranger.connected());
    stranger.SendSome(bytes);
    ExpectServes();
  }
}

TEST_F(Network, ConnectionsThatSendNothingAreInNobodysWay) {
  std::vector<std::unique_ptr<TcpSocket>> silent;
  for (int i = 0; i < 100; ++i) silent.push_back(std::make_unique<TcpSocket>("127.0.0.1", port_));
  ExpectServes();
  silent.clear();
  ExpectServes();
  EXPECT_EQ(broker_.Stop(), 0);
}

TEST_F(Network, MessagesThatAreNoneEndTheirCallWithATypedError) {
  for (const char* method : {client::control::kProduce, client::control::kFetch}) {
    RawCall call(broker_.address(), method);
    call.Send(absl::Cord("\xff\xff\xff\xff"));
    EXPECT_THAT(call.ReadUntil("millrace-error-bin"), testing::HasSubstr("millrace-error-bin")) << method;
    ExpectServes();
  }
}

// As often as a client likes, and the log stays the broker's own, and short.
TEST_F(Network, NonsenseDoesNotFillTheLog) {
  for (int i = 0; i < 200; ++i) {
    RawCall call(broker_.address(), "/millrace.v1.Admin/DeleteTopic");
    call.Send(absl::Cord("\x0a\x02\xff\xff"));
    EXPECT_THAT(call.ReadUntil("millrace-error-bin"), testing::HasSubstr("millrace-error-bin"));
    TcpSocket("127.0.0.1", port_).SendSome("no preface");
  }
  EXPECT_EQ(broker_.Stop(), 0);
  std::istringstream log(broker_.ErrorOutput());
  int lines = 0;
  for (std::string line; std::getline(log, line); ++lines) EXPECT_THAT(line, testing::StartsWith("ts=")) << line;
  EXPECT_LT(lines, 100);
}

// Goal: both ends notice a connection that carries nothing any more, though nobody closed it. The broker then has no call
// more than without it; the client goes on over a new connection, and loses and doubles nothing.
TEST_F(Network, AConnectionThatIsCutSilentlyIsNoticedByBothEnds) {
  TcpProxy proxy(broker_.address());
  ClientOptions through = client_;
  through.bootstrap_servers = proxy.address();
  auto consumer = Consumer::Create({.client = through}).value();
  ASSERT_TRUE(consumer->Assign({{.topic = "t"}}).ok());
  auto producer = Producer::Create({.client = through}).value();
  std::vector<std::string> read;
  const auto read_to = [&](size_t count) {
    while (read.size() < count) {
      auto polled = consumer->Poll(std::chrono::milliseconds::max());
      ASSERT_TRUE(polled.ok()) << polled.status();
      for (const ConsumerRecord& record : polled->records) read.emplace_back(*record.value);
    }
  };
  ASSERT_TRUE(producer->SendAndWait({.topic = "t", .value = "before"}).ok());
  ASSERT_NO_FATAL_FAILURE(read_to(1));
  const int calls = OpenCalls();

  proxy.Freeze();
  const auto stored = producer->SendAndWait({.topic = "t", .value = "behind"});
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->offset, 1);
  ASSERT_NO_FATAL_FAILURE(read_to(2));
  EXPECT_EQ(read, (std::vector<std::string>{"before", "behind"}));
  while (OpenCalls() > calls) ASSERT_TRUE(broker_.Runs());
}

}  // namespace
}  // namespace millrace
