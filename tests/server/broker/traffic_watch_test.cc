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
  TrafficWatch::Traffic traffic_;
  std::vector<uint64_t> came_in_;
  int idle_ = 0;
  std::optional<TrafficWatch> watch_{std::in_place, executor_, [this] { return traffic_; },
                                     [this](uint64_t bytes_in) { came_in_.push_back(bytes_in); }, [this] { ++idle_; }};
};

TEST_F(TrafficWatchTest, IdleOnceAMinuteAfterTrafficStoppedAndAgainAfterMore) {
  for (int round = 1; round <= 2; ++round) {
    for (int look = 0; look < 200; ++look) {
      (look % 2 == 0 ? traffic_.bytes_in : traffic_.bytes_out) += 100;
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

TEST_F(TrafficWatchTest, TheBusiestSecondCountsUntilThereIsNone) {
  traffic_ = {.bytes_in = 100, .bytes_out = 7};
  Pass(2);
  traffic_ = {.bytes_in = 150, .bytes_out = 7};
  Pass(1);
  EXPECT_EQ(came_in_, (std::vector<uint64_t>{100, 100})) << "nothing to tell in a second without any";
  Pass(TrafficWatch::kStillLooks);
  traffic_.bytes_in = 170;
  Pass(1);
  EXPECT_EQ(came_in_.back(), 20);
}

TEST_F(TrafficWatchTest, NothingForABrokerThatNeverHadTraffic) {
  Pass(1'000);
  EXPECT_EQ(idle_, 0);
  EXPECT_TRUE(came_in_.empty());
}

TEST_F(TrafficWatchTest, NothingAfterItsEnd) {
  traffic_.bytes_in = 1;
  Pass(1);
  watch_.reset();
  traffic_.bytes_in = 2;
  Pass(1'000);
  EXPECT_EQ(idle_, 0);
  EXPECT_EQ(came_in_.size(), 1);
}

}  // namespace
}  // namespace millrace::server
