// millrace bench produce|consume|end-to-end: what they share.
#include "client/cli/bench.h"

#include <millrace/admin.h>
#include <sys/resource.h>

#include <nlohmann/json.hpp>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/interrupt.h"
#include "client/cli/output.h"

namespace millrace::cli {
namespace {

constexpr size_t kPoolBytes = size_t{8} << 20;

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double Millis(int64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e6; }

// To three decimals: a double's last digits say nothing about a measurement.
double Rounded(double value) { return std::round(value * 1000) / 1000; }

BenchTotals Minus(const BenchTotals& a, const BenchTotals& b) {
  return {a.records - b.records, a.bytes - b.bytes, a.errors - b.errors};
}

}  // namespace

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

BenchReport::BenchReport(const Common& common, std::vector<const BenchMeter*> meters)
    : common_(common), meters_(std::move(meters)) {}

BenchReport::~BenchReport() { StopLines(); }

void BenchReport::Begin() {
  DeferInterrupts();
  begin_ = Take();
  if (!common_.quiet) printer_ = std::thread([this] { PrintLines(); });
}

BenchReport::Sample BenchReport::Take() const {
  Sample sample{.at_ns = NowNs(), .cpu_seconds = CpuSeconds()};
  for (const BenchMeter* meter : meters_) {
    BenchTotals totals = meter->Totals();
    sample.totals.records += totals.records;
    sample.totals.bytes += totals.bytes;
    sample.totals.errors += totals.errors;
    sample.latency.Merge(meter->Latency());
  }
  return sample;
}

void BenchReport::PrintLines() {
  Sample last = begin_;
  std::unique_lock lock(mutex_);
  for (int second = 1; !stopped_.wait_for(lock, std::chrono::seconds(1), [this] { return stop_; }); ++second) {
    Sample now = Take();
    BenchTotals delta = Minus(now.totals, last.totals);
    double seconds = static_cast<double>(now.at_ns - last.at_ns) / 1e9;
    Histogram latency = now.latency;
    latency.Subtract(last.latency);
    Say(absl::StrFormat("%4d s  %12s records/s  %8.1f MB/s  p50 %.2f ms  p99 %.2f ms%s\n", second,
                        FormatCount(static_cast<int64_t>(static_cast<double>(delta.records) / seconds)),
                        static_cast<double>(delta.bytes) / 1e6 / seconds, Millis(latency.Percentile(50)),
                        Millis(latency.Percentile(99)),
                        delta.errors == 0 ? "" : absl::StrCat("  errors ", delta.errors)));
    last = std::move(now);
  }
}

void BenchReport::StopLines() {
  if (!printer_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  printer_.join();
}

int BenchReport::End() {
  Sample end = Take();
  StopLines();
  BenchTotals totals = Minus(end.totals, begin_.totals);
  end.latency.Subtract(begin_.latency);
  double seconds = std::max(static_cast<double>(end.at_ns - begin_.at_ns) / 1e9, 1e-9);
  auto percentile = [&](double p) { return Rounded(Millis(end.latency.Percentile(p))); };
  nlohmann::ordered_json document = {
      {"records", totals.records},
      {"bytes", totals.bytes},
      {"seconds", Rounded(seconds)},
      {"records_per_second", Rounded(static_cast<double>(totals.records) / seconds)},
      {"megabytes_per_second", Rounded(static_cast<double>(totals.bytes) / 1e6 / seconds)},
      {"errors", totals.errors},
      {"client_cpu_seconds", Rounded(end.cpu_seconds - begin_.cpu_seconds)},
      {"latency_ms",
       {{"p50", percentile(50)},
        {"p90", percentile(90)},
        {"p99", percentile(99)},
        {"p999", percentile(99.9)},
        {"max", percentile(100)}}}};
  int printed = Print(common_, document.dump() + "\n");
  if (Interrupted()) return kExitInterrupted;
  if (totals.errors > 0) return totals.records > 0 ? kExitPartly : kExitFailed;
  return printed;
}

void AddBenchTopicFlags(CLI::App& app, BenchTopic& topic) {
  AddTopicName(app, "--topic", topic.name)->type_name("TOPIC")->description("Topic to use; created if it is missing");
  AddNumber(app, "-p,--partitions", topic.partitions, 1, "Partitions of a topic that is created (default 1)");
  AddNumber(app, "-r,--replication-factor", topic.replication_factor, 1,
            "Replicas of a topic that is created (default 3, or 1 below three brokers)");
  AddConfig(app, topic.config, "Setting of a topic that is created");
}

int EnsureBenchTopic(const Common& common, const BenchTopic& topic, int32_t& partitions) {
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  absl::StatusOr<CreatedTopic> created = (*admin)->CreateTopic({.name = topic.name,
                                                                .partitions = topic.partitions,
                                                                .replication_factor = topic.replication_factor,
                                                                .config = topic.config,
                                                                .if_not_exists = true});
  if (!created.ok()) return Report(common, created.status());
  partitions = created->partitions;
  if (created->created) {
    Remark(common, absl::StrCat("created ", topic.name, " with ", FormatCountOf(created->partitions, "partition"),
                                ", replication factor ", created->replication_factor));
  } else if (topic.partitions != 1 && topic.partitions != created->partitions) {
    Remark(common, absl::StrCat(topic.name, " was there with ", FormatCountOf(created->partitions, "partition"),
                                "; it stays as it is"));
  }
  return kExitDone;
}

PayloadPool::PayloadPool(int64_t value_bytes) : value_bytes_(static_cast<size_t>(value_bytes)) {
  constexpr size_t kHalf = 32;  // so many random bytes, then so many that repeat
  std::mt19937_64 random(1);    // the same bytes in each run: runs are comparable
  const size_t size = std::max(kPoolBytes, 2 * value_bytes_);
  pool_.reserve(size + 2 * kHalf);
  while (pool_.size() < size) {
    for (size_t i = 0; i < kHalf; i += sizeof(uint64_t)) {
      uint64_t word = random();
      pool_.append(reinterpret_cast<const char*>(&word), sizeof(word));
    }
    pool_.append(kHalf, 'm');
  }
}

std::string_view PayloadPool::Next() {
  if (place_ + value_bytes_ > pool_.size()) place_ = (place_ + 7) % 64;  // the next round is cut at other places
  std::string_view value(pool_.data() + place_, value_bytes_);
  place_ += value_bytes_;
  return value;
}

Schedule::Schedule(std::optional<double> rate)
    : rate_(rate),
      group_(std::max<int64_t>(static_cast<int64_t>(rate.value_or(0) / kWakesPerSecond), 1)),
      begin_ns_(NowNs()) {}

int64_t Schedule::Next(int64_t records) {
  if (!rate_) return NowNs();
  const int64_t first = index_ / group_ * group_;
  const int64_t due_ns = begin_ns_ + static_cast<int64_t>(static_cast<double>(first) * 1e9 / *rate_);
  index_ += records;
  WaitUntil(std::chrono::steady_clock::time_point(std::chrono::nanoseconds(due_ns)));
  return due_ns;
}

void AddBenchCommands(CLI::App& app, const Common& common, Run& run) {
  CLI::App& bench = AddGroup(
      app, "bench", "Measure throughput and latency",
      "Example: millrace bench produce --topic bench --records 1000000 --record-size 1024 --partitions 16\n\n"
      "Every second a line on standard error, at the end a JSON document on standard output. 1 MB is 1,000,000 bytes\n"
      "of keys and values.");
  AddBenchProduce(bench, common, run);
  AddBenchConsume(bench, common, run);
  AddBenchEndToEnd(bench, common, run);
}

}  // namespace millrace::cli
