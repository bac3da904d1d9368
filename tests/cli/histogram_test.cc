#include "client/cli/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace millrace::cli {
namespace {

int64_t ExactPercentile(std::vector<int64_t> values, double percentile) {
  std::sort(values.begin(), values.end());
  auto rank = static_cast<size_t>(std::ceil(percentile / 100 * static_cast<double>(values.size())));
  return values[std::max<size_t>(rank, 1) - 1];
}

TEST(Histogram, IsExactForSmallValues) {
  Histogram histogram;
  for (int64_t value = 0; value < 256; ++value) histogram.Record(value);
  EXPECT_EQ(histogram.count(), 256);
  EXPECT_EQ(histogram.Percentile(50), 127);
  EXPECT_EQ(histogram.Percentile(100), 255);
  EXPECT_EQ(histogram.Percentile(0), 0);
}

TEST(Histogram, StaysWithinOnePercentOfTheExactPercentile) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  Histogram histogram;
  std::vector<int64_t> values;
  for (int i = 0; i < 100'000; ++i) {
    values.push_back(static_cast<int64_t>(random() >> (1 + random() % 62)));
    histogram.Record(values.back());
  }
  for (double percentile : {1.0, 50.0, 90.0, 99.0, 99.9, 100.0}) {
    auto exact = static_cast<double>(ExactPercentile(values, percentile));
    EXPECT_NEAR(static_cast<double>(histogram.Percentile(percentile)), exact, exact / 128 + 1) << percentile;
  }
}

TEST(Histogram, KeepsTheLargestValueThereIs) {
  Histogram histogram;
  histogram.Record(INT64_MAX);
  histogram.Record(-5);
  EXPECT_EQ(histogram.Percentile(50), 0);
  EXPECT_EQ(histogram.Percentile(100), INT64_MAX);
}

TEST(Histogram, MergedIsAsIfRecordedTogether) {
  Histogram both, one, other;
  for (int64_t value = 1; value < 1'000'000; value += 37) {
    both.Record(value);
    (value % 2 == 0 ? one : other).Record(value);
  }
  one.Merge(other);
  EXPECT_EQ(one.count(), both.count());
  for (double percentile : {10.0, 50.0, 99.0}) EXPECT_EQ(one.Percentile(percentile), both.Percentile(percentile));
}

TEST(Histogram, SubtractedIsWhatCameSince) {
  LatencyRecorder recorder;
  Histogram expected;
  for (int64_t value = 1; value < 1000; ++value) recorder.Record(value);
  const Histogram before = recorder.Snapshot();
  for (int64_t value = 5000; value < 6000; ++value) {
    recorder.Record(value);
    expected.Record(value);
  }
  Histogram since = recorder.Snapshot();
  since.Subtract(before);
  EXPECT_EQ(since.count(), expected.count());
  for (double percentile : {0.0, 50.0, 99.0, 100.0})
    EXPECT_EQ(since.Percentile(percentile), expected.Percentile(percentile));
}

TEST(Histogram, OfNothingIsZero) { EXPECT_EQ(Histogram().Percentile(99), 0); }

}  // namespace
}  // namespace millrace::cli
