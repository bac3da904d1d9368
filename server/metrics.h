// What the broker counts, and its exposition for Prometheus.
//
//     Metrics metrics({.data_dir = config.data_dir, .memory_limit = config.memory_limit});
//     LoopMetrics& counts = metrics.AddLoop();             // one for each thread that counts
//     counts.bytes_in.Add(batch.payload_bytes);            // a plain add: no lock, no atomic read-modify-write
//     counts.produce_seconds.Record(clock.Monotonic() - arrived);
//     metrics.AddSource([&store](const Metrics::Emit& emit) {
//       emit({.name = "millrace_store_wal_bytes", .help = "Size of the write-ahead log.", .value = store.WalBytes()});
//     });
//     metrics.Text();                                      // on the HTTP thread, for /metrics
//
// Threads: each LoopMetrics has one writing thread; Text() adds them up from any thread while they are written.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace millrace::server {

// A number with one writing thread and any number of readers.
class Counter {
 public:
  void Add(uint64_t n = 1) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  uint64_t Value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

class Gauge {
 public:
  void Set(int64_t value) { value_.store(value, std::memory_order_relaxed); }
  void Add(int64_t n) { Set(Value() + n); }
  int64_t Value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

// Counts by magnitude: two buckets to each power of two, so that a quantile read from them is within a quarter of the truth.
class Histogram {
 public:
  static constexpr int kBuckets = 2 * 22 + 1;  // the last has no upper bound

  // Values up to 2^first_power share the first bucket.
  explicit Histogram(int first_power) : first_power_(first_power) {}

  void Record(uint64_t value) {
    counts_[BucketOf(value)].Add();
    sum_.Add(value);
  }
  uint64_t Count(int bucket) const { return counts_[bucket].Value(); }
  uint64_t Sum() const { return sum_.Value(); }

  // The largest value that falls into `bucket`, which is not the last.
  uint64_t UpperBound(int bucket) const {
    const int power = first_power_ + bucket / 2;
    return bucket % 2 == 0 ? uint64_t{1} << power : uint64_t{3} << (power - 1);
  }

 private:
  int BucketOf(uint64_t value) const {
    if (value <= uint64_t{1} << first_power_) return 0;
    const uint64_t below = value - 1;  // bounds are inclusive
    const int power = std::bit_width(below) - 1;
    const int half = static_cast<int>(below >> (power - 1)) & 1;
    const int bucket = 2 * (power - first_power_) + half + 1;
    return bucket < kBuckets ? bucket : kBuckets - 1;
  }

  const int first_power_;
  std::array<Counter, kBuckets> counts_;
  Counter sum_;
};

// From 16 us to 51 s in nanoseconds; exposed in seconds.
class LatencyHistogram : public Histogram {
 public:
  LatencyHistogram() : Histogram(14) {}
  void Record(std::chrono::nanoseconds elapsed) { Histogram::Record(elapsed.count() < 0 ? 0 : elapsed.count()); }
};

// From 64 B to 192 MiB.
class SizeHistogram : public Histogram {
 public:
  SizeHistogram() : Histogram(6) {}
};

// Errors sent to clients, by their number in error.proto.
class ErrorCounters {
 public:
  void Add(int code) { counts_[SlotOf(code)].Add(); }
  uint64_t Value(int code) const { return counts_[SlotOf(code)].Value(); }

  // Every code that is counted by itself; all others share 0.
  static std::vector<int> Codes();

 private:
  static constexpr int kKafkaCodes = 200;  // 0 ..
  static constexpr int kOwnFirst = 1000;
  static constexpr int kOwnCodes = 56;
  static int SlotOf(int code) {
    if (code >= 0 && code < kKafkaCodes) return code;
    if (code >= kOwnFirst && code < kOwnFirst + kOwnCodes) return kKafkaCodes + code - kOwnFirst;
    return 0;
  }
  std::array<Counter, kKafkaCodes + kOwnCodes> counts_;
};

// What one thread counts. On cache lines of its own, so that two loops never write to the same one.
struct alignas(64) LoopMetrics {
  // Produce: from the request's last byte read to the ack handed to the connection.
  LatencyHistogram produce_seconds;
  SizeHistogram produce_batch_bytes;
  Counter bytes_in;  // of appended batches
  Counter records_in;
  Counter batches_in;
  Counter duplicates;         // batches of an idempotent producer that were stored before
  Gauge produce_queue_bytes;  // memory of batches received, not acked

  // Fetch: from a batch being there and the client's credit allowing it to the batch handed to the connection.
  LatencyHistogram fetch_seconds;
  Counter bytes_out;  // of batches sent
  Counter records_out;
  Counter batches_out;
  Counter cold_reads;       // reads that had to leave the loop
  Gauge cold_read_rate;     // bytes per second that they may read while something is written
  Gauge fetch_queue_bytes;  // handed to connections, not yet on the wire

  // Appending: a round is what all partitions wrote together.
  LatencyHistogram append_seconds;
  LatencyHistogram sync_seconds;
  LatencyHistogram stall_seconds;  // from a write that the store did not take to the next try
  SizeHistogram append_bytes;
  Counter slow_inline_writes;  // writes on the loop that took over 1 ms

  // What retention removed.
  Counter retention_segments;
  Counter retention_records;
  Counter retention_bytes;  // of batches
  Gauge clock_in_doubt;     // 1: by a jump

  // Of the groups that live here; see GroupCounts.
  Gauge under_replicated;
  Gauge raft_groups;
  Gauge raft_groups_quiet;

  Gauge produce_streams;
  Gauge fetch_streams;
  ErrorCounters errors;

  // Of a batch that was appended, whichever call brought it.
  void CountAppend(int32_t records, int64_t bytes) {
    batches_in.Add();
    records_in.Add(static_cast<uint64_t>(records));
    bytes_in.Add(static_cast<uint64_t>(bytes));
    produce_batch_bytes.Record(static_cast<uint64_t>(bytes));
  }
};

class Metrics {
 public:
  struct Options {
    std::string data_dir;                             // whose file system's free space is shown
    int64_t memory_limit = 0;                         // bytes
    int64_t disk_free_floor = 0;                      // bytes
    std::function<std::string(int code)> error_name;  // for the label of millrace_errors_total; unset: the number
  };

  struct Sample {
    std::string name;
    std::string help;
    double value = 0;
    bool is_counter = false;  // else a gauge
    std::vector<std::pair<std::string, std::string>> labels;
  };
  using Emit = std::function<void(Sample)>;

  explicit Metrics(Options options);
  ~Metrics();

  // The reference stays good as long as this object.
  LoopMetrics& AddLoop();

  // Called at every scrape, on the scraping thread. Samples of one name may come with different labels.
  void AddSource(std::function<void(const Emit&)> source);

  // The exposition in Prometheus' text format.
  std::string Text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace::server
