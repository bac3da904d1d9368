#include "client/record_accumulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "tests/support/sim_executor.h"

namespace millrace::client {
namespace {

using std::chrono::microseconds;

class RecordAccumulatorTest : public testing::Test {
 protected:
  using Outcome = RecordAccumulator::Outcome;

  // A topic "t", its partitions led by these brokers in turn, each with room for five batches.
  static void MakeTopic(RecordAccumulator& accumulator, size_t partitions, std::span<BrokerQueue> brokers) {
    TopicMetadata metadata;
    metadata.name = "t";
    metadata.partitions.resize(partitions);
    metadata.max_message_bytes = 2 << 20;
    TopicQueues* const topic = accumulator.UpdateTopic(metadata);
    for (size_t p = 0; p < partitions; ++p) {
      topic->partitions[p]->room = 5;
      accumulator.MoveTo(topic->partitions[p].get(), &brokers[p % brokers.size()]);
    }
  }
  static void AppendTo(RecordAccumulator& accumulator, std::optional<int32_t> partition, const std::string& value,
                       bool awaited = false) {
    absl::Status refusal;
    const RecordView record{.value = value, .headers = {}};
    EXPECT_EQ(accumulator.Append({.topic = "t", .partition = partition, .record = record, .awaited = awaited}, nullptr,
                                 &refusal),
              Outcome::kTaken);
  }

  SimExecutor executor;
};

// So that their requests are few and large. (Which partitions: those of the fake broker all have one leader.)
TEST_F(RecordAccumulatorTest, UnderLoadRecordsWithoutKeyStayWithABrokerForAWhile) {
  RecordAccumulator accumulator({.batch_size = 1 << 20, .buffer_memory = 1 << 24}, executor.clock(),
                                [](BrokerQueue*) {});
  BrokerQueue brokers[2];
  MakeTopic(accumulator, 4, brokers);
  const auto partition_of_next = [&](int records, size_t size) {
    const std::string value(size, 'x');
    for (int i = 0; i < records; ++i) {
      AppendTo(accumulator, {}, value);
    }
    int32_t partition = -1;
    for (BrokerQueue& broker : brokers) {
      auto taken = accumulator.Take(&broker, {.max_bytes = 1 << 20});
      for (auto& batch : taken.batches) {
        EXPECT_EQ(partition, -1);
        partition = batch->partition->partition;
        accumulator.Done(std::move(batch), RecordMetadata());
      }
    }
    return partition;
  };
  const int32_t first = partition_of_next(1, 100);
  for (int i = 1; i < 4; ++i) EXPECT_EQ(partition_of_next(1, 100), (first + i) % 4) << "single records: all in turn";
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(partition_of_next(10, 1'000), (first + 2 * i) % 4) << "the same broker's in turn";
  EXPECT_EQ(partition_of_next(40, 1'000), first) << "which has had enough by now";
  EXPECT_EQ(partition_of_next(10, 1'000), (first + 1) % 4);
  EXPECT_EQ(partition_of_next(10, 1'000), (first + 3) % 4);
}

// As when a broker was killed: what has no key need not wait for its partitions' next leader.
TEST_F(RecordAccumulatorTest, RecordsWithoutKeyLeaveABrokerThatStandsStill) {
  RecordAccumulator accumulator({.batch_size = 1 << 20, .buffer_memory = 1 << 24}, executor.clock(),
                                [](BrokerQueue*) {});
  BrokerQueue brokers[3];
  MakeTopic(accumulator, 6, brokers);
  const auto append = [&](int records) {
    for (int i = 0; i < records; ++i) {
      AppendTo(accumulator, {}, "x");
    }
  };
  const auto take = [&](BrokerQueue& broker) {
    size_t records = 0;
    for (auto& batch : accumulator.Take(&broker, {.max_bytes = 1 << 20}).batches) {
      records += static_cast<size_t>(batch->record_count());
      accumulator.Done(std::move(batch), RecordMetadata());
    }
    return records;
  };
  append(1);
  const size_t still = std::find_if(brokers, brokers + 3, [](auto& b) { return b.waiting_bytes > 0; }) - brokers;
  accumulator.SetStandsStill(&brokers[still], true);
  for (int round = 0; round < 8; ++round) {
    append(10);
    EXPECT_EQ(take(brokers[(still + 1) % 3]) + take(brokers[(still + 2) % 3]), 10u) << round;
  }
  accumulator.SetStandsStill(&brokers[still], false);
  EXPECT_EQ(take(brokers[still]), 1u);
  size_t again = 0;
  for (int round = 0; round < 6; ++round) {
    append(1);
    for (BrokerQueue& broker : brokers) {
      const size_t records = take(broker);
      if (&broker == &brokers[still]) again += records;
    }
  }
  EXPECT_EQ(again, 2u) << "its share, and no more than that";
}

// Equal batches that always make up a broker's share in the same number of turns.
TEST_F(RecordAccumulatorTest, NoPartitionIsLeftOutForGood) {
  for (const int records : {1, 11, 22, 33, 64, 65}) {
    RecordAccumulator accumulator({.batch_size = 1 << 20, .buffer_memory = 1 << 24}, executor.clock(),
                                  [](BrokerQueue*) {});
    BrokerQueue brokers[3];
    MakeTopic(accumulator, 16, brokers);
    std::map<int32_t, int> turns;
    const std::string value(1000, 'x');
    for (int round = 0; round < 480; ++round) {
      for (int i = 0; i < records; ++i) {
        AppendTo(accumulator, {}, value);
      }
      for (BrokerQueue& broker : brokers) {
        for (auto& batch : accumulator.Take(&broker, {.max_bytes = 1 << 20}).batches) {
          ++turns[batch->partition->partition];
          accumulator.Done(std::move(batch), RecordMetadata());
        }
      }
    }
    for (int32_t p = 0; p < 16; ++p)
      EXPECT_THAT(turns[p], testing::AllOf(testing::Ge(24), testing::Le(40))) << records << " " << p;
  }
}

// Timers may be late by a millisecond; a record that comes in time knows better.
TEST_F(RecordAccumulatorTest, TheFirstRecordAfterItsTimeWakesWhoKeepsRequestsApart) {
  int wakes = 0;
  RecordAccumulator accumulator({.batch_size = 1 << 20, .buffer_memory = 1 << 24}, executor.clock(),
                                [&](BrokerQueue*) { ++wakes; });
  BrokerQueue broker;
  MakeTopic(accumulator, 1, {&broker, 1});
  const auto append = [&] { AppendTo(accumulator, 0, "x"); };
  append();
  const auto due = executor.clock().Monotonic() + microseconds(500);
  EXPECT_EQ(accumulator.Take(&broker, {.min_bytes = 1'000, .max_bytes = 1'000, .any_size_at = due}).due, due);
  executor.Advance(microseconds(499));
  append();
  EXPECT_EQ(wakes, 0);
  executor.Advance(microseconds(1));
  append();
  EXPECT_EQ(wakes, 1);
  append();
  EXPECT_EQ(wakes, 1) << "once";
}

// Several threads that each wait for their record's ack: the next one's record always waits when an ack comes, and no more follow.
TEST_F(RecordAccumulatorTest, WhatASenderWaitsForIsNotKeptApart) {
  int wakes = 0;
  RecordAccumulator accumulator({.batch_size = 1 << 20, .buffer_memory = 1 << 24}, executor.clock(),
                                [&](BrokerQueue*) { ++wakes; });
  BrokerQueue broker;
  MakeTopic(accumulator, 1, {&broker, 1});
  const auto append = [&](bool awaited) { AppendTo(accumulator, 0, "x", awaited); };
  const auto take = [&] {
    auto taken = accumulator.Take(
        &broker,
        {.min_bytes = 1'000, .max_bytes = 1'000, .any_size_at = executor.clock().Monotonic() + microseconds(500)});
    for (auto& batch : taken.batches) accumulator.Done(std::move(batch), RecordMetadata());
    return taken.batches.size();
  };
  append(true);
  EXPECT_EQ(take(), 1u);
  append(false);
  EXPECT_EQ(take(), 0u);
  append(false);
  EXPECT_EQ(wakes, 0);
  append(true);
  EXPECT_EQ(wakes, 1) << "it need not wait for those that do not matter to anybody";
  EXPECT_EQ(take(), 1u);
  append(false);
  EXPECT_EQ(take(), 0u);
}

}  // namespace
}  // namespace millrace::client
