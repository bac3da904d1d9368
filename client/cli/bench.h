// What the benchmarks share: counting while others watch, a line a second, the document at the end.
//
//     BenchMeter meter;                            // counted by one thread
//     BenchReport report(common, {&meter});
//     report.Begin();                              // the measured time starts
//     ... meter.Count(1, bytes); meter.RecordLatency(ns); ...
//     return report.End();                         // prints the document
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "client/cli/arguments.h"
#include "client/cli/histogram.h"

namespace millrace::cli {

// Of the monotonic clock.
int64_t NowNs();

struct BenchTotals {
  int64_t records = 0;
  int64_t bytes = 0;
  int64_t errors = 0;
};

// Counted by one thread, read by any at any time.
class BenchMeter {
 public:
  void Count(int64_t records, int64_t bytes) {
    Add(records_, records);
    Add(bytes_, bytes);
  }
  void CountErrors(int64_t errors) { Add(errors_, errors); }
  void RecordLatency(int64_t nanoseconds) { latency_.Record(nanoseconds); }

  BenchTotals Totals() const {
    return {records_.load(std::memory_order_relaxed), bytes_.load(std::memory_order_relaxed),
            errors_.load(std::memory_order_relaxed)};
  }
  Histogram Latency() const { return latency_.Snapshot(); }

 private:
  // One writer: no locked instruction.
  static void Add(std::atomic<int64_t>& to, int64_t amount) {
    to.store(to.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }

  std::atomic<int64_t> records_{0}, bytes_{0}, errors_{0};
  LatencyRecorder latency_;
};

class BenchReport {
 public:
  BenchReport(const Common& common, std::vector<const BenchMeter*> meters);
  ~BenchReport();

  // What the meters and the processor time show from here on is measured, and told every second.
  void Begin();

  // Prints the document on standard output. Returns the exit code: kExitPartly with errors, kExitFailed with nothing else.
  int End();

 private:
  struct Sample {
    int64_t at_ns = 0;
    double cpu_seconds = 0;
    BenchTotals totals;
    Histogram latency;
  };

  Sample Take() const;
  void PrintLines();
  void StopLines();

  const Common& common_;
  const std::vector<const BenchMeter*> meters_;
  Sample begin_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;  // guarded by mutex_
  std::thread printer_;
};

// The topic of a benchmark and how to create it.
struct BenchTopic {
  std::string name;
  int32_t partitions = 1;
  int32_t replication_factor = 0;
  std::map<std::string, std::string> config;
};
void AddBenchTopicFlags(CLI::App& app, BenchTopic& topic);

// Creates the topic if it is missing; `partitions` becomes the number it has. Returns kExitDone, or the code of what was reported.
int EnsureBenchTopic(const Common& common, const BenchTopic& topic, int32_t& partitions);

// Values of one size cut from a pool of bytes, of which about half can be compressed away. The pool is made before measuring.
class PayloadPool {
 public:
  explicit PayloadPool(int64_t value_bytes);
  std::string_view Next();

 private:
  std::string pool_;
  size_t value_bytes_;
  size_t place_ = 0;
};

// The moments at which an open loop's records are due: evenly, and from 20,000 a second on in groups of two or more, at least
// 10,000 times a second. A wait for each record would be most of the load that the bench puts on the machine.
class Schedule {
 public:
  // No `rate` (records per second): a record is due when it is asked for.
  explicit Schedule(std::optional<double> rate);

  // Waits until the first of the next `records` is due, and returns when that was: earlier than now when the caller is behind.
  // Ctrl-C ends the wait.
  int64_t Next(int64_t records = 1);

 private:
  static constexpr double kWakesPerSecond = 10'000;

  std::optional<double> rate_;
  int64_t group_;  // records that are due together
  int64_t begin_ns_;
  int64_t index_ = 0;
};

// Each in the file of its name.
void AddBenchProduce(CLI::App& bench, const Common& common, Run& run);
void AddBenchConsume(CLI::App& bench, const Common& common, Run& run);
void AddBenchEndToEnd(CLI::App& bench, const Common& common, Run& run);

}  // namespace millrace::cli
