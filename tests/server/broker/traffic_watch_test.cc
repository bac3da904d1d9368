#include "server/traffic_watch.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "tests/support/sim_executor.h"

namespace millrace::server {
namespace {

class TrafficWatchTest : public ::testing::Test {
 protected:
  void Pass(int looks) {
    for (int look = 0; look < looks; ++look) executor_.Advance(TrafficWatch::kPeriod);
  }

  SimExecutor executor_;
  uint64_t traffic_ = 0;
  std::vector<uint64_t> moved_;
  int idle_ = 0;
  std::optional<TrafficWatch> watch_{std::in_place, executor_, [this] { return traffic_; },
                                     [this](uint64_t since_idle) { moved_.push_back(since_idle); },
                                     [this] { ++idle_; }};
};

TEST_F(TrafficWatchTest, IdleOnceAMinuteAfterTrafficStoppedAndAgainAfterMore) {
  for (int round = 1; round <= 2; ++round) {
    for (int look = 0; look < 200; ++look) {
      traffic_ += 100;
      Pass(1);
    }
    EXPECT_EQ(idle_, round - 1) << "while there is traffic";
    Pass(TrafficWatch::kStillLooks - 1);
    EXPECT_EQ(idle_, round - 1) << "too early";
    Pass(1);
    EXPECT_EQ(idle_, round);
    Pass(1'000);
    EXPECT_EQ(idle_, round) << "once is enough";
  }
}

TEST_F(TrafficWatchTest, TrafficCountsFromWhenThereWasNone) {
  traffic_ = 100;
  Pass(2);
  traffic_ = 150;
  Pass(1);
  EXPECT_EQ(moved_, (std::vector<uint64_t>{100, 150})) << "nothing to tell in a second without any";
  Pass(TrafficWatch::kStillLooks);
  traffic_ = 170;
  Pass(1);
  EXPECT_EQ(moved_.back(), 20);
}

TEST_F(TrafficWatchTest, NothingForABrokerThatNeverHadTraffic) {
  Pass(1'000);
  EXPECT_EQ(idle_, 0);
  EXPECT_TRUE(moved_.empty());
}

TEST_F(TrafficWatchTest, NothingAfterItsEnd) {
  traffic_ = 1;
  Pass(1);
  watch_.reset();
  traffic_ = 2;
  Pass(1'000);
  EXPECT_EQ(idle_, 0);
  EXPECT_EQ(moved_.size(), 1);
}

}  // namespace
}  // namespace millrace::server
