// Goal: whatever a broker acked is there after kill -9: once, whole, at the offset that the ack named, in order per key. And a
// reader that follows meanwhile sees neither a hole nor a record twice.
//
// Method: three writers send records that say who they are (record_ledger.h), to a topic that acks after its sync and one that
// acks before. A reader follows. The broker is killed after a number of acks drawn from the seed, sometimes again in the midst
// of its start, and every fifth time it is asked to stop instead, which must be clean. The library brings everyone back by
// itself. In the end each partition is read anew from its beginning and both readings are held against the acks.
//
//     kill9_test [--loops N] [--seed S] [--io-threads N]

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <millrace/admin.h>
#include <millrace/consumer.h>
#include <millrace/producer.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/broker_process.h"
#include "tests/integration/record_ledger.h"

namespace millrace {
namespace {

int loops = 20;
uint64_t seed = std::random_device()();
std::string io_threads = "1";

constexpr int32_t kPartitions = 8;
constexpr int64_t kAcksBetweenKillsMax = 4000;
const std::vector<std::string> kTopics = {"acks-after-sync", "acks-before-sync"};

ClientOptions ClientFor(const BrokerProcess& broker) {
  ClientOptions options;
  options.bootstrap_servers = broker.address();
  return options;
}

void CreateTopics(const BrokerProcess& broker) {
  auto admin = Admin::Create(ClientFor(broker));
  ASSERT_TRUE(admin.ok()) << admin.status();
  for (const std::string& topic : kTopics) {
    auto created = (*admin)->CreateTopic({.name = topic,
                                          .partitions = kPartitions,
                                          .config = {{"flush", topic == "acks-after-sync" ? "commit" : "async"}}});
    ASSERT_TRUE(created.ok()) << created.status();
  }
}

// Sends to one topic until told to stop.
class Writer {
 public:
  Writer(const BrokerProcess& broker, int32_t number, Compression compression, RecordLedger& ledger)
      : number_(number), topic_(kTopics[number % kTopics.size()]), ledger_(ledger) {
    ProducerOptions options;
    options.client = ClientFor(broker);
    options.compression = compression;
    // Little in flight, so that kills come between many batches rather than within few.
    options.batch_size = 16 << 10;
    options.buffer_memory = 256 << 10;
    auto producer = Producer::Create(options);
    EXPECT_TRUE(producer.ok()) << producer.status();
    producer_ = std::move(*producer);
    thread_ = std::thread([this] { Run(); });
  }

  // Returns once everything sent is acked or failed.
  void Stop() {
    stopping_ = true;
    thread_.join();
    absl::Status closed = producer_->Close();
    EXPECT_TRUE(closed.ok()) << closed;
  }

 private:
  void Run() {
    for (RecordId id{.writer = number_}; !stopping_; ++id.sequence) {
      const std::string key = KeyOf(id), value = ValueOf(id);
      ledger_.Sent(number_);
      absl::Status taken =
          producer_->Send({.topic = topic_, .key = key, .value = value},
                          [this, sequence = id.sequence](const absl::StatusOr<RecordMetadata>& outcome) {
                            const RecordId id{.writer = number_, .sequence = sequence};
                            if (outcome.ok()) {
                              ledger_.Acked(id, topic_, *outcome);
                            } else {
                              ledger_.Failed(id, outcome.status().ToString());
                            }
                          });
      if (!taken.ok()) return ledger_.Failed(id, taken.ToString());
    }
  }

  const int32_t number_;
  const std::string topic_;
  RecordLedger& ledger_;
  std::unique_ptr<Producer> producer_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

std::unique_ptr<Consumer> MakeConsumer(const BrokerProcess& broker) {
  ConsumerOptions options;
  options.client = ClientFor(broker);
  auto consumer = Consumer::Create(options);
  EXPECT_TRUE(consumer.ok()) << consumer.status();
  return std::move(*consumer);
}

// Reads everything from the beginning while it is written, until it has as many records as there are.
class Follower {
 public:
  Follower(const BrokerProcess& broker, const RecordLedger& ledger)
      : reading_(ledger), consumer_(MakeConsumer(broker)) {
    std::vector<Assignment> all;
    for (const std::string& topic : kTopics) all.push_back({.topic = topic, .from = Position::Beginning()});
    absl::Status assigned = consumer_->Assign(std::move(all));
    EXPECT_TRUE(assigned.ok()) << assigned;
    thread_ = std::thread([this] { Run(); });
  }

  // Returns once `records` were read, or more.
  const Reading& ReadUpTo(int64_t records) {
    target_ = records;
    consumer_->Wakeup();
    thread_.join();
    return reading_;
  }

 private:
  void Run() {
    while (reading_.records() < target_) {
      auto polled = consumer_->Poll(std::chrono::milliseconds::max());
      if (!polled.ok()) {
        if (polled.status().code() == absl::StatusCode::kCancelled) continue;  // woken up: look at the target
        ADD_FAILURE() << polled.status();
        return;
      }
      for (const ConsumerRecord& record : polled->records) reading_.Take(record);
    }
  }

  Reading reading_;
  std::unique_ptr<Consumer> consumer_;
  std::atomic<int64_t> target_ = INT64_MAX;
  std::thread thread_;
};

std::string ReadAgain(const BrokerProcess& broker, const RecordLedger& ledger) {
  std::unique_ptr<Consumer> consumer = MakeConsumer(broker);
  std::vector<Assignment> all;
  for (const std::string& topic : kTopics) {
    all.push_back({.topic = topic, .from = Position::Beginning(), .until = Position::End()});
  }
  absl::Status assigned = consumer->Assign(std::move(all));
  if (!assigned.ok()) return assigned.ToString();
  Reading reading(ledger);
  for (const ConsumerRecord& record : *consumer) reading.Take(record);
  if (!consumer->status().ok()) return consumer->status().ToString();
  return reading.Verdict();
}

TEST(Kill9, WhatWasAckedStaysOnceAndInOrder) {
  std::cout << "loops " << loops << ", again with --seed " << seed << std::endl;
  std::mt19937_64 random(seed);
  BrokerProcess broker({.arguments = {"--set", "io.threads=" + io_threads}});
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  ASSERT_NO_FATAL_FAILURE(CreateTopics(broker));

  RecordLedger ledger;
  Writer plain(broker, 0, Compression::kNone, ledger);
  Writer lz4(broker, 1, Compression::kLz4, ledger);
  Writer zstd(broker, 2, Compression::kZstd, ledger);
  Follower follower(broker, ledger);
  for (int loop = 1; loop <= loops && ledger.Failures().empty(); ++loop) {
    ledger.WaitForAcks(static_cast<int64_t>(random() % kAcksBetweenKillsMax));
    if (loop % 5 == 0) {
      EXPECT_EQ(broker.Stop(), 0) << broker.ErrorOutput();
    } else {
      broker.Kill();
    }
    if (loop % 4 == 0) {
      // Recovery itself is cut short: the next start has to cope with what it leaves.
      broker.StartAndKillWithin(std::chrono::milliseconds(random() % 60));
    }
    ASSERT_NO_FATAL_FAILURE(broker.Start());
    std::cout << "kill " << loop << ": " << ledger.acked() << " acked so far" << std::endl;
  }
  ledger.WaitForAcks(1);
  plain.Stop();
  lz4.Stop();
  zstd.Stop();

  EXPECT_EQ(ledger.Failures(), "");
  EXPECT_EQ(ledger.acked(), ledger.sent());
  EXPECT_EQ(follower.ReadUpTo(ledger.sent()).Verdict(), "");
  EXPECT_EQ(ReadAgain(broker, ledger), "");
  broker.Kill();
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  EXPECT_EQ(ReadAgain(broker, ledger), "");
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--loops") {
      millrace::loops = std::atoi(argv[i + 1]);
    } else if (flag == "--seed") {
      millrace::seed = std::strtoull(argv[i + 1], nullptr, 10);
    } else if (flag == "--io-threads") {
      millrace::io_threads = argv[i + 1];
    } else {
      std::cerr << "kill9_test [--loops N] [--seed S] [--io-threads N]\n";
      return 2;
    }
  }
  return RUN_ALL_TESTS();
}
