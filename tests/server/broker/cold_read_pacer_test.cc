// Goal: reads from the disk are held back while something is written, and by no more than the loop and the syncs call for.

#include "server/cold_read_pacer.h"

#include <gtest/gtest.h>

#include <optional>
#include <utility>
#include <vector>

#include "tests/support/sim_executor.h"

namespace millrace::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int64_t kReadBytes = 1 << 20;

class ColdReadPacerTest : public ::testing::Test {
 protected:
  // A reader that always wants more, for a second; what it got. Syncs take `sync` all the while.
  int64_t BytesInASecond(milliseconds sync) {
    const int64_t before = bytes_;
    for (int i = 0; i < 1000; ++i) {
      if (writes_) last_write_ = executor_.clock().Monotonic();
      written_ += written_in_a_second_ / 1000;
      pacer_->OnSync(sync);
      while (waiting_ < 4) Ask();
      executor_.Advance(milliseconds(1));
    }
    return bytes_ - before;
  }
  void Ask() {
    ++waiting_;
    pacer_->Admit(kReadBytes, [this](ColdReadPacer::Done done) {
      --waiting_;
      bytes_ += kReadBytes;
      done(kReadBytes);
    });
  }

  SimExecutor executor_;
  std::chrono::nanoseconds last_write_{};
  int64_t written_ = 0;
  int64_t written_in_a_second_ = 0;
  std::optional<ColdReadPacer> pacer_{std::in_place, executor_, executor_.clock(), [this] {
                                        return ColdReadPacer::Written{last_write_, written_};
                                      }};
  bool writes_ = true;
  int waiting_ = 0;
  int64_t bytes_ = 0;
};

TEST_F(ColdReadPacerTest, NoLimitWhileNothingIsWritten) {
  executor_.Advance(seconds(2));
  for (int i = 0; i < 1000; ++i) Ask();
  executor_.RunUntilIdle();
  EXPECT_EQ(waiting_, 0);
}

TEST_F(ColdReadPacerTest, SlowSyncsBringItDownToTheLeastAndNoFurther) {
  for (int i = 0; i < 5; ++i) BytesInASecond(milliseconds(20));
  EXPECT_EQ(pacer_->bytes_per_second(), ColdReadPacer::kBytesPerSecondMin);
  EXPECT_NEAR(static_cast<double>(BytesInASecond(milliseconds(20))), ColdReadPacer::kBytesPerSecondMin, 4 * kReadBytes);
}

TEST_F(ColdReadPacerTest, QuickSyncsLetItRise) {
  const int64_t first = BytesInASecond(milliseconds(1));
  EXPECT_GT(BytesInASecond(milliseconds(1)), first + 50'000'000);
}

TEST_F(ColdReadPacerTest, RisesOnlyWhileReadersWaitForIt) {
  last_write_ = executor_.clock().Monotonic();
  const int64_t before = pacer_->bytes_per_second();
  for (int i = 0; i < 1000; ++i) {
    pacer_->OnSync(milliseconds(1));
    executor_.Advance(milliseconds(10));
  }
  EXPECT_EQ(pacer_->bytes_per_second(), before);
}

TEST_F(ColdReadPacerTest, WhoIsBehindCatchesUpHoweverSlowSyncsAre) {
  written_in_a_second_ = 300'000'000;
  for (int i = 0; i < 5; ++i) BytesInASecond(milliseconds(20));
  EXPECT_GT(BytesInASecond(milliseconds(20)), 400'000'000);
}

TEST_F(ColdReadPacerTest, OneReadAtATimeAndSmallOnesBesideIt) {
  last_write_ = executor_.clock().Monotonic();
  std::vector<ColdReadPacer::Done> under_way;
  const auto keep = [&](ColdReadPacer::Done done) { under_way.push_back(std::move(done)); };
  for (int i = 0; i < 3; ++i) pacer_->Admit(kReadBytes, keep);
  EXPECT_EQ(under_way.size(), 1u);
  pacer_->Admit(1, keep);
  EXPECT_EQ(under_way.size(), 2u);
  under_way[0](kReadBytes);
  executor_.RunUntilIdle();
  EXPECT_EQ(under_way.size(), 3u);
}

TEST_F(ColdReadPacerTest, WhatWasReadInQuietTimesIsNotOwed) {
  executor_.Advance(seconds(2));
  for (int i = 0; i < 1000; ++i) Ask();
  executor_.RunUntilIdle();
  last_write_ = executor_.clock().Monotonic();
  Ask();
  executor_.RunUntilIdle();
  EXPECT_EQ(waiting_, 0);
}

TEST_F(ColdReadPacerTest, WhatWasAskedForAndNotThereIsNotCounted) {
  int reads = 0;
  last_write_ = executor_.clock().Monotonic();
  for (int i = 0; i < 100; ++i) {
    pacer_->Admit(kReadBytes, [&reads](ColdReadPacer::Done done) {
      ++reads;
      done(100);
    });
    executor_.RunUntilIdle();
  }
  EXPECT_EQ(reads, 100);
}

TEST_F(ColdReadPacerTest, MayGoWhileReadsAreUnderWay) {
  last_write_ = executor_.clock().Monotonic();
  ColdReadPacer::Done under_way;
  pacer_->Admit(kReadBytes, [&](ColdReadPacer::Done done) { under_way = std::move(done); });
  for (int i = 0; i < 10; ++i) Ask();
  pacer_.reset();
  under_way(kReadBytes);
  executor_.Advance(seconds(1));
  EXPECT_GT(waiting_, 0) << "nobody is there to let them go";
}

}  // namespace
}  // namespace millrace::server
