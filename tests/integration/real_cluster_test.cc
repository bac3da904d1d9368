// Goal: what people do with a cluster works as with one broker: a broker that leads dies, stands still or is stopped, one comes back,
// others join; nothing acked is lost or doubled, whichever broker is asked.
#include <gtest/gtest.h>
#include <millrace/admin.h>
#include <millrace/consumer.h>
#include <millrace/producer.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <map>
#include <mutex>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/integration/cluster_processes.h"

namespace millrace {
namespace {

constexpr int32_t kPartitions = 4;
constexpr char kTopic[] = "t";

ClientOptions To(const std::string& addresses) {
  ClientOptions options;
  options.bootstrap_servers = addresses;
  return options;
}

void Create(const std::string& addresses) {
  auto admin = Admin::Create(To(addresses));
  ASSERT_TRUE(admin.ok()) << admin.status();
  const auto created = (*admin)->CreateTopic({.name = kTopic, .partitions = kPartitions});
  ASSERT_TRUE(created.ok()) << created.status();
}

// Numbers every record of a partition, and counts what was acked.
class Sender {
 public:
  explicit Sender(const std::string& addresses) {
    auto producer = Producer::Create({.client = To(addresses)});
    EXPECT_TRUE(producer.ok()) << producer.status();
    producer_ = *std::move(producer);
  }

  void Send(int records) {
    for (int i = 0; i < records; ++i) {
      for (int32_t partition = 0; partition < kPartitions; ++partition) {
        ProducerRecord record;
        const std::string value = std::to_string(sent_);
        record.topic = kTopic;
        record.partition = partition;
        record.value = value;
        ASSERT_TRUE(producer_->Send(record).ok());
      }
      ++sent_;
    }
  }
  void Flush() {
    const absl::Status flushed = producer_->Flush();
    ASSERT_TRUE(flushed.ok()) << flushed;
  }
  int sent() const { return sent_; }  // to each partition

 private:
  std::unique_ptr<Producer> producer_;
  int sent_ = 0;
};

// All partitions hold 0, 1, 2 ... once each and in order, as a client finds them that knows these addresses alone.
void ExpectAll(const std::string& addresses, int records) {
  auto consumer = Consumer::Create({.client = To(addresses)});
  ASSERT_TRUE(consumer.ok()) << consumer.status();
  const absl::Status assigned = (*consumer)->Assign({{.topic = kTopic, .until = Position::End()}});
  ASSERT_TRUE(assigned.ok()) << assigned;
  std::map<int32_t, int> next;
  for (const auto& record : **consumer) {
    ASSERT_EQ(*record.value, std::to_string(next[record.partition]++)) << "partition " << record.partition;
  }
  for (int32_t partition = 0; partition < kPartitions; ++partition) EXPECT_EQ(next[partition], records);
}

class ClusterTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(cluster_.Start());
    ASSERT_NO_FATAL_FAILURE(Create(cluster_.addresses()));
  }

  ClusterProcesses cluster_;
};

TEST_F(ClusterTest, EachBrokerDiesInTurnWhileRecordsComeIn) {
  Sender sender(cluster_.addresses());
  for (int broker = 1; broker <= cluster_.size(); ++broker) {
    sender.Send(50);
    cluster_.Kill(broker);
    sender.Send(50);
    ASSERT_NO_FATAL_FAILURE(sender.Flush());
    ASSERT_NO_FATAL_FAILURE(cluster_.Start(broker));
  }
  for (int broker = 1; broker <= cluster_.size(); ++broker) ExpectAll(cluster_.at(broker).address(), sender.sent());
}

TEST_F(ClusterTest, ABrokerThatStandsStillHoldsNobodyUp) {
  Sender sender(cluster_.addresses());
  sender.Send(10);
  ASSERT_NO_FATAL_FAILURE(sender.Flush());
  cluster_.Pause(2);
  sender.Send(10);
  ASSERT_NO_FATAL_FAILURE(sender.Flush());
  ExpectAll(cluster_.at(1).address(), sender.sent());
  cluster_.Resume(2);
  sender.Send(10);
  ASSERT_NO_FATAL_FAILURE(sender.Flush());
  ExpectAll(cluster_.at(2).address(), sender.sent());
}

TEST_F(ClusterTest, AllAreStoppedAndStartedAgain) {
  Sender sender(cluster_.addresses());
  sender.Send(20);
  ASSERT_NO_FATAL_FAILURE(sender.Flush());
  for (int broker = 1; broker <= cluster_.size(); ++broker) EXPECT_EQ(cluster_.Stop(broker), 0);
  ASSERT_NO_FATAL_FAILURE(cluster_.Start());
  sender.Send(20);
  ASSERT_NO_FATAL_FAILURE(sender.Flush());
  for (int broker = 1; broker <= cluster_.size(); ++broker) ExpectAll(cluster_.at(broker).address(), sender.sent());
}

// What the brokers advertise leads nowhere.
TEST(Forwarding, AClientThatReachesOneBrokerProducesAndConsumes) {
  ClusterProcesses cluster({.arguments = {"--advertise", "127.0.0.1:1"}});
  ASSERT_NO_FATAL_FAILURE(cluster.Start());
  const std::string address = cluster.at(3).address();
  ASSERT_NO_FATAL_FAILURE(Create(address));
  Sender sender(address);
  sender.Send(20);
  ASSERT_NO_FATAL_FAILURE(sender.Flush());
  ExpectAll(address, sender.sent());
}

TEST(Forwarding, ABrokerThatStandsStillHoldsUpNobodyWhoReachesAnother) {
  ClusterProcesses cluster({.arguments = {"--advertise", "127.0.0.1:1"}});
  ASSERT_NO_FATAL_FAILURE(cluster.Start());
  const std::string address = cluster.at(1).address();
  ASSERT_NO_FATAL_FAILURE(Create(address));
  Sender sender(address);
  sender.Send(20);
  ASSERT_NO_FATAL_FAILURE(sender.Flush());
  const auto paused = std::chrono::steady_clock::now();
  const auto tell = [paused](const char* what) {
    const auto passed = std::chrono::steady_clock::now() - paused;
    std::cout << what << " after " << std::chrono::duration_cast<std::chrono::milliseconds>(passed).count() << " ms\n";
  };
  cluster.Pause(2);
  sender.Send(20);
  ASSERT_NO_FATAL_FAILURE(sender.Flush());
  tell("all was acked");
  ExpectAll(address, sender.sent());
  tell("all was read");
}

// One that is given no number gets the next, and keeps it; the first may go when three are there.
TEST(Join, ABrokerAloneBecomesACluster) {
  BrokerProcess first, second, third;
  const std::string secret = (first.directory() / "secret").string();
  std::ofstream(secret) << "a-secret-that-only-these-brokers-know\n";
  std::filesystem::permissions(secret, std::filesystem::perms::owner_read);
  for (BrokerProcess* each : {&first, &second, &third}) each->AddArguments({"--peer-secret-file", secret});
  ASSERT_NO_FATAL_FAILURE(first.Start());
  second.AddArguments({"--join", first.address()});
  ASSERT_NO_FATAL_FAILURE(second.Start());
  third.AddArguments({"--join", second.address()});
  ASSERT_NO_FATAL_FAILURE(third.Start());
  EXPECT_TRUE(second.ready_line().starts_with("ready broker=2 ")) << second.ready_line();
  EXPECT_TRUE(third.ready_line().starts_with("ready broker=3 ")) << third.ready_line();
  ASSERT_NO_FATAL_FAILURE(Create(third.address()));
  Sender sender(absl::StrCat(second.address(), ",", third.address()));
  sender.Send(20);
  ASSERT_NO_FATAL_FAILURE(sender.Flush());
  first.Kill();
  sender.Send(20);
  ASSERT_NO_FATAL_FAILURE(sender.Flush());
  EXPECT_EQ(second.Stop(), 0);
  ASSERT_NO_FATAL_FAILURE(first.Start());
  ASSERT_NO_FATAL_FAILURE(second.Start());
  EXPECT_TRUE(second.ready_line().starts_with("ready broker=2 ")) << second.ready_line();
  ExpectAll(first.address(), sender.sent());
}

}  // namespace
}  // namespace millrace
