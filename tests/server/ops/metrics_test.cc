#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace millrace::server {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Histogram, PutsEveryValueIntoTheBucketThatBoundsIt) {
  const Histogram bounds(4);
  for (uint64_t value = 0; value < 5000; ++value) {
    Histogram histogram(4);
    histogram.Record(value);
    int bucket = 0;
    while (histogram.Count(bucket) == 0) ++bucket;
    EXPECT_LE(value, bounds.UpperBound(bucket)) << value;
    if (bucket == 0) continue;
    EXPECT_GT(value, bounds.UpperBound(bucket - 1)) << value;
  }
}

TEST(Histogram, HasBoundsThatGrowByAtMostAHalf) {
  const LatencyHistogram bounds;
  for (int bucket = 1; bucket < Histogram::kBuckets - 1; ++bucket) {
    EXPECT_GT(bounds.UpperBound(bucket), bounds.UpperBound(bucket - 1));
    EXPECT_LE(bounds.UpperBound(bucket), bounds.UpperBound(bucket - 1) * 3 / 2);
  }
}

TEST(Histogram, KeepsWhatIsBeyondItsLastBound) {
  LatencyHistogram histogram;
  histogram.Record(std::chrono::hours(1));
  histogram.Record(std::chrono::nanoseconds(-5));
  EXPECT_EQ(histogram.Count(Histogram::kBuckets - 1), 1u);
  EXPECT_EQ(histogram.Count(0), 1u);
}

TEST(Metrics, ShowsEveryFixedNameFromTheStart) {
  Metrics metrics({.data_dir = "/", .memory_limit = 64});
  const std::string text = metrics.Text();
  for (const char* name : {"millrace_produce_seconds_bucket{le=", "millrace_fetch_seconds_bucket{le=",
                           "millrace_bytes_in_total 0", "millrace_bytes_out_total 0",
                           "millrace_under_replicated_partitions 0", "# TYPE millrace_group_lag_records gauge",
                           "# TYPE millrace_group_lag_seconds gauge", "millrace_memory_limit_bytes 64",
                           "process_resident_memory_bytes ", "process_cpu_seconds_total ", "process_open_fds "}) {
    EXPECT_THAT(text, HasSubstr(name));
  }
  EXPECT_THAT(text, ContainsRegex("\nmillrace_disk_free_bytes [1-9]"));
}

TEST(Metrics, SayWhetherTheDiskIsTooFull) {
  constexpr int64_t kMoreThanAnyDisk = int64_t{1} << 62;
  EXPECT_THAT(Metrics({.data_dir = "/", .disk_free_floor = 1}).Text(),
              HasSubstr("\nmillrace_disk_free_floor_reached 0"));
  const std::string full = Metrics({.data_dir = "/", .disk_free_floor = kMoreThanAnyDisk}).Text();
  EXPECT_THAT(full, HasSubstr("\nmillrace_disk_free_floor_reached 1"));
  EXPECT_THAT(full, ContainsRegex("\nmillrace_disk_free_floor_bytes [1-9]"));
}

TEST(Metrics, AddsUpTheLoops) {
  Metrics metrics({.data_dir = "/"});
  LoopMetrics& first = metrics.AddLoop();
  LoopMetrics& second = metrics.AddLoop();
  first.bytes_in.Add(1000);
  second.bytes_in.Add(24);
  first.fetch_streams.Add(3);
  second.fetch_streams.Set(4);
  second.fetch_streams.Add(-2);
  first.produce_seconds.Record(std::chrono::milliseconds(2));
  second.produce_seconds.Record(std::chrono::milliseconds(3));
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("\nmillrace_bytes_in_total 1024\n"));
  EXPECT_THAT(text, HasSubstr("\nmillrace_fetch_streams 5\n"));
  EXPECT_THAT(text, HasSubstr("\nmillrace_produce_seconds_count 2\n"));
  EXPECT_THAT(text, HasSubstr("\nmillrace_produce_seconds_sum 0.005\n"));
  EXPECT_THAT(text, HasSubstr("\nmillrace_produce_seconds_bucket{le=\"+Inf\"} 2\n"));
}

TEST(Metrics, CountsErrorsByName) {
  Metrics metrics({.data_dir = "/", .error_name = [](int code) { return "E" + std::to_string(code); }});
  LoopMetrics& loop = metrics.AddLoop();
  loop.errors.Add(3);
  loop.errors.Add(3);
  loop.errors.Add(1002);
  loop.errors.Add(777'777);
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("millrace_errors_total{code=\"E3\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("millrace_errors_total{code=\"E1002\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("millrace_errors_total{code=\"E0\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("E4\"")));
}

TEST(Metrics, AsksItsSourcesAtEachScrape) {
  Metrics metrics({.data_dir = "/"});
  int scrapes = 0;
  metrics.AddSource([&scrapes](const Metrics::Emit& emit) {
    emit({.name = "millrace_store_wal_bytes", .help = "WAL.", .value = static_cast<double>(++scrapes)});
    emit({.name = "millrace_group_lag_records", .help = "", .value = 7, .labels = {{"group", "a"}, {"topic", "t"}}});
    emit({.name = "millrace_group_lag_records", .help = "", .value = 8, .labels = {{"group", "b"}, {"topic", "t"}}});
  });
  EXPECT_THAT(metrics.Text(), HasSubstr("\nmillrace_store_wal_bytes 1\n"));
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("\nmillrace_store_wal_bytes 2\n"));
  EXPECT_THAT(text, HasSubstr("\nmillrace_group_lag_records{group=\"a\",topic=\"t\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("\nmillrace_group_lag_records{group=\"b\",topic=\"t\"} 8\n"));
}

TEST(Metrics, CanBeScrapedWhileALoopCounts) {
  Metrics metrics({.data_dir = "/"});
  LoopMetrics& loop = metrics.AddLoop();
  std::atomic<bool> stop = false;
  std::jthread writer([&] {
    while (!stop.load()) {
      loop.bytes_in.Add(3);
      loop.produce_seconds.Record(std::chrono::microseconds(50));
    }
  });
  for (int i = 0; i < 20; ++i) EXPECT_THAT(metrics.Text(), HasSubstr("millrace_bytes_in_total"));
  stop = true;
}

}  // namespace
}  // namespace millrace::server
