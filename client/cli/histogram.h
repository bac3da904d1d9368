// Counts of durations in buckets of constant relative width, as HdrHistogram does it: values up to 255 exactly, larger ones to
// 1/128. Recording is two shifts and an increment; 60 KB whatever is recorded.
//
//     histogram.Record(latency_ns);
//     double p99_ms = histogram.Percentile(99) / 1e6;
#pragma once

#include <cstdint>
#include <vector>

namespace millrace::cli {

class Histogram {
 public:
  Histogram();

  // Negative values count as 0.
  void Record(int64_t value);
  void Merge(const Histogram& other);
  void Reset();

  int64_t count() const { return count_; }
  int64_t max() const { return max_; }
  // The smallest recorded value that `percentile` % of all are not above, up to the bucket's width; 0 when empty.
  int64_t Percentile(double percentile) const;

 private:
  std::vector<int64_t> buckets_;
  int64_t count_ = 0;
  int64_t max_ = 0;
};

}  // namespace millrace::cli
