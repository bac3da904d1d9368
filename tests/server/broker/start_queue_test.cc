// Goal: partitions are started a few at a time, and who waits for all of them hears what became of them.
#include "server/start_queue.h"

#include <gtest/gtest.h>

#include <optional>

#include "tests/support/sim_executor.h"

namespace millrace::server {
namespace {

class StartQueueTest : public ::testing::Test {
 protected:
  std::vector<StartQueue::Start> Starts(int count, bool succeed = true) {
    return std::vector<StartQueue::Start>(static_cast<size_t>(count), [this, succeed] {
      ++started_;
      return succeed;
    });
  }

  // What was staged is durable.
  void Sync() {
    for (const auto& then : std::exchange(syncs_, {})) then();
    executor_.RunUntilIdle();
  }

  SimExecutor executor_;
  std::vector<std::function<void()>> syncs_;
  std::optional<StartQueue> queue_{std::in_place, executor_, executor_.clock(),
                                   [this](std::function<void()> then) { syncs_.push_back(std::move(then)); }};
  int started_ = 0;
};

TEST_F(StartQueueTest, WhatElseThereIsToDoGoesBetween) {
  // As many topics at once: the turns of all are one after the other, too.
  for (int i = 0; i < 3; ++i) queue_->Add(Starts(StartQueue::kStartsPerTurn));
  executor_.RunUntilIdle();
  EXPECT_EQ(started_, StartQueue::kStartsPerTurn);
  Sync();
  EXPECT_EQ(started_, 2 * StartQueue::kStartsPerTurn);
  Sync();
  EXPECT_EQ(started_, 3 * StartQueue::kStartsPerTurn);
  EXPECT_TRUE(syncs_.empty());
  queue_->Add(Starts(1));
  executor_.RunUntilIdle();
  EXPECT_EQ(started_, 3 * StartQueue::kStartsPerTurn + 1);
}

TEST_F(StartQueueTest, WhoWaitsForAllHearsHowManyFailed) {
  std::optional<size_t> failed;
  queue_->Add(Starts(100));
  queue_->Add(Starts(2, /*succeed=*/false));
  queue_->WhenDone([&](size_t f) {
    EXPECT_EQ(started_, 102);
    failed = f;
  });
  queue_->Add(Starts(1, /*succeed=*/false));
  executor_.RunUntilIdle();
  while (!syncs_.empty()) Sync();
  EXPECT_EQ(failed, 2);
}

TEST_F(StartQueueTest, NobodyWaitsWhereThereIsNothingToStart) {
  bool done = false;
  queue_->Add({});
  queue_->WhenDone([&](size_t failed) { done = failed == 0; });
  executor_.RunUntilIdle();
  EXPECT_TRUE(done);
}

TEST_F(StartQueueTest, EndsBetweenTurns) {
  queue_->Add(Starts(100));
  executor_.RunUntilIdle();
  queue_.reset();
  Sync();
  EXPECT_EQ(started_, StartQueue::kStartsPerTurn);
}

}  // namespace
}  // namespace millrace::server
