// Counts of durations in buckets of constant relative width, as HdrHistogram does it: values up to 255 exactly, larger ones to
// 1/128.
//
//     recorder.Record(latency_ns);                     // one thread: two shifts and an increment
//     Histogram now = recorder.Snapshot();             // any thread, at any time
//     double p99_ms = now.Percentile(99) / 1e6;
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace millrace::cli {

class Histogram {
 public:
  Histogram();

  // Negative values count as 0.
  void Record(int64_t value);
  void Merge(const Histogram& other);
  // Takes away what an earlier state of this histogram held.
  void Subtract(const Histogram& earlier);

  int64_t count() const { return count_; }
  // The smallest value that `percentile` % of those recorded are not above, rounded up to the top of its bucket; 100: the largest. 0 when
  // empty.
  int64_t Percentile(double percentile) const;

 private:
  friend class LatencyRecorder;
  std::vector<int64_t> buckets_;
  int64_t count_ = 0;
};

// A histogram that one thread records into while others look.
class LatencyRecorder {
 public:
  LatencyRecorder();

  void Record(int64_t value);
  Histogram Snapshot() const;

 private:
  std::unique_ptr<std::atomic<int64_t>[]> buckets_;
};

}  // namespace millrace::cli
