// Goal: the two places where application threads and the I/O thread meet are free of races and lose no wake-up.
// Method: real threads hammer each while a plain thread plays the other half; ThreadSanitizer watches in the tsan preset.
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <numeric>
#include <thread>

#include "client/consumer_reader.h"
#include "client/fetch_queue.h"
#include "client/record_accumulator.h"
#include "tests/support/sim_executor.h"

namespace millrace {
namespace {

using client::BrokerQueue;
using client::FetchedItem;
using client::FetchPartition;
using client::FetchQueue;
using client::ProducerBatch;
using client::RecordAccumulator;

constexpr auto kForever = std::chrono::steady_clock::time_point::max();

// Takes batches when it is woken, and acks them at once.
class Drainer {
 public:
  explicit Drainer(RecordAccumulator::Options options)
      : accumulator_(options, clock_, [this](BrokerQueue*) { Wake(); }) {
    TopicMetadata topic{.name = "t", .topic_id = 1, .partitioner = 1, .max_message_bytes = 1 << 20, .partitions = {}};
    topic.partitions.resize(4);
    for (auto& partition : accumulator_.UpdateTopic(topic)->partitions) {
      partition->room = 5;
      accumulator_.MoveTo(partition.get(), &queue_);
    }
    Drain();
    thread_ = std::thread([this] { Run(); });
  }

  ~Drainer() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      wake_.notify_one();
    }
    thread_.join();
  }

  RecordAccumulator& accumulator() { return accumulator_; }
  int64_t records() const { return records_; }
  int64_t wakes() const { return wakes_; }

 private:
  void Wake() {
    std::lock_guard lock(mutex_);
    ++wakes_;
    woken_ = true;
    wake_.notify_one();
  }

  void Run() {
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return woken_ || stop_; });
        if (stop_) return;
        woken_ = false;
      }
      Drain();
    }
  }

  void Drain() {
    for (;;) {
      auto taken = accumulator_.Take(&queue_, {.min_bytes = 1, .max_bytes = 1 << 20});
      if (taken.batches.empty()) return;
      for (auto& batch : taken.batches) {
        batch->SetStamp({});
        records_ += batch->record_count();
        accumulator_.Done(std::move(batch), RecordMetadata{.partition = 0, .offset = 0});
      }
    }
  }

  SimClock clock_;  // stands still
  BrokerQueue queue_;
  RecordAccumulator accumulator_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool woken_ = false;
  bool stop_ = false;
  std::atomic<int64_t> records_{0};
  std::atomic<int64_t> wakes_{0};
  std::thread thread_;
};

void SendFromManyThreads(RecordAccumulator::Options options) {
  constexpr int kThreads = 3;
  constexpr int kRecords = 20'000;
  std::atomic<int64_t> called{0};
  Drainer drainer(options);
  RecordAccumulator& accumulator = drainer.accumulator();
  std::vector<std::thread> senders;
  for (int t = 0; t < kThreads; ++t) {
    senders.emplace_back([&, t] {
      const std::string value(100, 'x');
      for (int i = 0; i < kRecords; ++i) {
        const std::string key = std::to_string(i);
        RecordView record{.timestamp = i, .key = std::nullopt, .value = value, .headers = {}};
        if (t == 0) record.key = key;
        DeliveryCallback callback;
        if (i % 2 == 0) callback = [&called](const absl::StatusOr<RecordMetadata>&) { ++called; };
        absl::Status refusal;
        for (;;) {
          const auto outcome =
              accumulator.Append({.topic = "t", .partition = std::nullopt, .record = record}, &callback, &refusal);
          if (outcome == RecordAccumulator::Outcome::kTaken) break;
          ASSERT_EQ(outcome, RecordAccumulator::Outcome::kFull) << refusal;
          ASSERT_TRUE(accumulator.WaitForRoom(record, kForever));
        }
        if (i % 5000 == 0) {
          const uint64_t flush = accumulator.BeginFlush();
          ASSERT_TRUE(accumulator.WaitForFlush(flush, kForever));
        }
      }
    });
  }
  for (std::thread& sender : senders) sender.join();
  const uint64_t flush = accumulator.BeginFlush();
  ASSERT_TRUE(accumulator.WaitForFlush(flush, kForever));
  EXPECT_EQ(drainer.records(), kThreads * kRecords);
  EXPECT_EQ(called, kThreads * kRecords / 2);
  EXPECT_EQ(accumulator.counters().records_acked, kThreads * kRecords);
  EXPECT_EQ(accumulator.counters().buffered_bytes, 0);
}

TEST(AccumulatorThreads, EveryRecordIsTakenAndNobodyWaitsForEver) {
  SendFromManyThreads({.batch_size = 4 << 10, .buffer_memory = 64 << 10});
}

TEST(AccumulatorThreads, AlsoWhenSendersCompress) {
  SendFromManyThreads({.batch_size = 4 << 10, .buffer_memory = 64 << 10, .codec = Codec::kLz4});
}

// Pushes batches as a FetchSession would, within a credit that the reader gives back.
class Pusher : public client::ConsumerReader::Core {
 public:
  void Reposition(const std::shared_ptr<FetchPartition>&, uint64_t, Position) override {}
  void Halt(const std::shared_ptr<FetchPartition>&, uint64_t) override {}
  void Add(const std::shared_ptr<FetchPartition>&, uint64_t, Position) override {}
  void Remove(const std::shared_ptr<FetchPartition>&, uint64_t) override {}
  void GrantCredit() override {
    std::lock_guard lock(mutex_);
    credit_->released = 0;
    granted_.notify_one();
  }

  void Run(FetchQueue& queue, const std::shared_ptr<FetchPartition>& partition, int batches) {
    credit_->quantum = 1000;
    for (int i = 0; i < batches; ++i) {
      BatchBuilder builder;
      const std::string value = std::to_string(i);
      for (int r = 0; r < 3; ++r) {
        builder.Add({.timestamp = 1, .key = std::nullopt, .value = value, .headers = {}});
      }
      FetchedItem item;
      item.partition = partition;
      item.batch = *ParseBatch(builder.Finish({}));
      item.base_offset = 3 * i;
      item.credit = credit_;
      item.credit_bytes = 100;
      credit_->held += item.credit_bytes;
      std::vector<FetchedItem> items;
      items.push_back(std::move(item));
      queue.Push(std::move(items));
      std::unique_lock lock(mutex_);
      granted_.wait(lock, [this] { return credit_->held < 5000; });
    }
  }

  int64_t held() const { return credit_->held; }

 private:
  std::mutex mutex_;
  std::condition_variable granted_;
  const std::shared_ptr<client::FetchCredit> credit_ = std::make_shared<client::FetchCredit>();
};

TEST(FetchQueueThreads, RecordsComeInOrderAndCreditGoesBack) {
  constexpr int kBatches = 20'000;
  FetchQueue queue;
  Pusher pusher;
  client::ConsumerReader reader(ConsumerOptions(), queue, &pusher);
  auto partition = std::make_shared<FetchPartition>();
  partition->topic = "t";
  reader.Assign({{.topic = "t"}}, {partition}, 0);

  std::thread io([&] { pusher.Run(queue, partition, kBatches); });
  int64_t next = 0;
  while (next < 3 * kBatches) {
    auto result = reader.Next();
    if (!result) {
      queue.Wait(kForever);
      continue;
    }
    ASSERT_TRUE(result->ok()) << result->status();
    for (const ConsumerRecord& record : (*result)->records) ASSERT_EQ(record.offset, next++);
  }
  io.join();
  EXPECT_FALSE(reader.Next());
  EXPECT_EQ(pusher.held(), 0);
}

TEST(FetchQueueThreads, WakeupEndsAWait) {
  FetchQueue queue;
  for (int i = 0; i < 100; ++i) {
    std::thread waker([&] { queue.Wake(); });
    EXPECT_TRUE(queue.Wait(kForever));
    waker.join();
  }
  queue.Wake();
  EXPECT_TRUE(queue.TakeWake());
  EXPECT_FALSE(queue.TakeWake());
}

}  // namespace
}  // namespace millrace
