// A clock that jumps must make no record look older than it is, at whatever moment it jumps.
#include "server/log_clock.h"

#include <gtest/gtest.h>

#include <iostream>
#include <random>

#include "tests/support/sim_executor.h"

namespace millrace {
namespace {

using server::LogClock;
using std::chrono::seconds;

constexpr int64_t kHourMs = 3'600'000;

class LogClockTest : public ::testing::Test {
 protected:
  UnixMillis Wall() { return executor_.clock().Wall(); }
  // Time passes with a look each second.
  void Run(int64_t seconds_to_pass) {
    for (int64_t i = 0; i < seconds_to_pass; ++i) {
      executor_.Advance(seconds(1));
      last_ = clock_.Look();
    }
  }
  void Settle() { Run(LogClock::kSettleTime.count() + 1); }
  void Jump(int64_t by_ms) { executor_.clock().JumpWall(by_ms); }

  SimExecutor executor_;
  LogClock clock_{executor_.clock()};
  std::optional<UnixMillis> last_;
};

TEST_F(LogClockTest, NeedsHalfAMinuteToSettle) {
  Run(29);
  EXPECT_FALSE(last_);
  Run(1);
  ASSERT_TRUE(last_);
  EXPECT_EQ(*last_, Wall());
  EXPECT_EQ(clock_.AppendTime(), Wall());
}

TEST_F(LogClockTest, AClockThatIsSetSoonAfterTheStartIsTakenOver) {
  Run(20);
  Jump(-1000 * kHourMs);
  Run(29);
  EXPECT_FALSE(last_) << "the half minute begins anew";
  EXPECT_EQ(clock_.jumped().count(), 0);
  Run(2);
  ASSERT_TRUE(last_);
  EXPECT_EQ(*last_, Wall());
  EXPECT_EQ(clock_.AppendTime(), Wall());
}

TEST_F(LogClockTest, AJumpForwardPutsTheTimeInDoubtUntilItIsTakenBack) {
  Settle();
  Jump(kHourMs);
  Run(1);
  EXPECT_FALSE(last_);
  EXPECT_EQ(clock_.jumped(), std::chrono::hours(1));
  Run(7200);
  EXPECT_FALSE(last_) << "not by waiting";
  EXPECT_EQ(clock_.AppendTime(), Wall());
  Jump(-kHourMs);
  Run(1);
  ASSERT_TRUE(last_);
  EXPECT_EQ(*last_, Wall());
  EXPECT_EQ(clock_.jumped().count(), 0);
}

TEST_F(LogClockTest, AJumpBackDoesNotStopAppendTimes) {
  Settle();
  const UnixMillis before = clock_.AppendTime();
  Jump(-kHourMs);
  Run(600);
  EXPECT_FALSE(last_);
  EXPECT_EQ(clock_.jumped(), -std::chrono::hours(1));
  EXPECT_EQ(clock_.AppendTime(), before + 600'000);
  Jump(kHourMs);
  Run(1);
  ASSERT_TRUE(last_);
}

TEST_F(LogClockTest, ASmallStepForwardMakesNothingOlder) {
  Settle();
  const UnixMillis before = *last_;
  Jump(59'000);
  Run(10);
  ASSERT_TRUE(last_);
  EXPECT_LE(*last_ - before, 10'010) << "at most a thousandth more than what passed";
}

TEST_F(LogClockTest, AClockThatIsSlewedIsFollowed) {
  Settle();
  for (int i = 0; i < 10'000; ++i) {  // half a millisecond a second: 500 ppm
    if (i % 2 == 0) Jump(1);
    Run(1);
    ASSERT_TRUE(last_);
    ASSERT_LE(Wall() - *last_, 2);
  }
}

TEST_F(LogClockTest, WhateverTheClockDoesNothingLooksOlderThanItIs) {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << '\n';
  std::mt19937_64 random(seed);
  Settle();
  struct Append {
    UnixMillis stamp;
    std::chrono::nanoseconds at;
  };
  std::vector<Append> appends;
  int64_t away_ms = 0;
  for (int step = 0; step < 3000; ++step) {
    appends.push_back({clock_.AppendTime(), executor_.clock().Monotonic()});
    if (random() % 20 == 0) {
      const int64_t to = random() % 2 == 0 ? 0 : static_cast<int64_t>(random() % (4 * kHourMs)) - 2 * kHourMs;
      Jump(to - away_ms);
      away_ms = to;
    }
    Run(static_cast<int64_t>(random() % 20));
    if (!last_) continue;
    for (const Append& append : appends) {
      const int64_t passed = (executor_.clock().Monotonic() - append.at) / std::chrono::milliseconds(1);
      ASSERT_LE(*last_ - append.stamp, passed + passed / 1000 + 1) << "seed " << seed << " step " << step;
    }
  }
}

}  // namespace
}  // namespace millrace
