#include "server/idle_watch.h"

#include <gtest/gtest.h>

#include <optional>

#include "tests/support/sim_executor.h"

namespace millrace::server {
namespace {

class IdleWatchTest : public ::testing::Test {
 protected:
  void Pass(int looks) { executor_.Advance(looks * IdleWatch::kPeriod); }

  SimExecutor executor_;
  uint64_t traffic_ = 0;
  int idle_ = 0;
  std::optional<IdleWatch> watch_{std::in_place, executor_, [this] { return traffic_; }, [this] { ++idle_; }};
};

TEST_F(IdleWatchTest, OnceAMinuteAfterTrafficStoppedAndAgainAfterMore) {
  for (int round = 1; round <= 2; ++round) {
    for (int look = 0; look < 10; ++look) {
      traffic_ += 100;
      Pass(1);
    }
    EXPECT_EQ(idle_, round - 1) << "while there is traffic";
    Pass(1);
    EXPECT_EQ(idle_, round - 1) << "too early";
    Pass(1);
    EXPECT_EQ(idle_, round);
    Pass(100);
    EXPECT_EQ(idle_, round) << "once is enough";
  }
}

TEST_F(IdleWatchTest, NothingForABrokerThatNeverHadTraffic) {
  Pass(100);
  EXPECT_EQ(idle_, 0);
}

TEST_F(IdleWatchTest, NothingAfterItsEnd) {
  traffic_ = 1;
  Pass(1);
  watch_.reset();
  Pass(100);
  EXPECT_EQ(idle_, 0);
}

}  // namespace
}  // namespace millrace::server
