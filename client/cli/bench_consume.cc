// millrace bench consume
#include <millrace/admin.h>
#include <millrace/consumer.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/cli/bench.h"
#include "client/cli/interrupt.h"
#include "client/cli/position.h"

namespace millrace::cli {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPollWait{100};
constexpr milliseconds kIdleEnd{10'000};
constexpr int32_t kPollRecords = 16'384;
constexpr int32_t kPacedPollRecords = 1'024;  // so that a rate is kept evenly

struct ConsumeBenchOptions {
  std::string topic;
  std::optional<int64_t> records;
  std::optional<Position> from;
  std::optional<int64_t> rate;
  int32_t consumers = 1;
};

// Records still wanted, by all consumers together.
class Remaining {
 public:
  explicit Remaining(int64_t records) : records_(records) {}

  // Takes up to `wanted` off; returns how many.
  int64_t Take(int64_t wanted) {
    int64_t before = records_.fetch_sub(wanted, std::memory_order_relaxed);
    return std::clamp<int64_t>(before, 0, wanted);
  }
  bool Done() const { return records_.load(std::memory_order_relaxed) <= 0; }

 private:
  std::atomic<int64_t> records_;
};

// One consumer with its thread and its share of the partitions.
class Reader {
 public:
  Reader(std::unique_ptr<Consumer> consumer, size_t partitions)
      : consumer_(std::move(consumer)), next_offset_(partitions, -1) {}

  // Until the end, nothing remains to be read, nothing came for `idle_end`, or an error.
  void Run(Remaining& remaining, std::optional<double> rate, milliseconds idle_end) {
    Schedule schedule(rate);
    auto last_news = std::chrono::steady_clock::now();
    while (!remaining.Done() && !Interrupted()) {
      const int64_t begin_ns = NowNs();
      absl::StatusOr<PollResult> polled = consumer_->Poll(kPollWait);
      const auto now = std::chrono::steady_clock::now();
      if (!polled.ok()) {
        error_ = polled.status();
        meter_.CountErrors(1);
        return;
      }
      Count(*polled, remaining);
      if (!polled->records.empty()) {
        meter_.RecordLatency(NowNs() - begin_ns);
        last_news = now;
        schedule.Next(static_cast<int64_t>(polled->records.size()));
      }
      if (polled->end) return;
      if (now - last_news > idle_end) {
        error_ = absl::DeadlineExceededError(
            absl::StrCat("no record came for ", idle_end.count(), " ms; --timeout sets how long to wait"));
        meter_.CountErrors(1);
        return;
      }
    }
  }

  const BenchMeter& meter() const { return meter_; }
  Consumer& consumer() { return *consumer_; }
  const absl::Status& error() const { return error_; }

 private:
  // Every record must have the offset behind the one before: a gap or a repetition is an error.
  void Count(const PollResult& polled, Remaining& remaining) {
    const int64_t taken = remaining.Take(static_cast<int64_t>(polled.records.size()));
    int64_t bytes = 0, wrong = 0;
    for (const ConsumerRecord& record : polled.records.first(static_cast<size_t>(taken))) {
      int64_t& next = next_offset_[static_cast<size_t>(record.partition)];
      wrong += next >= 0 && next != record.offset;
      next = record.offset + 1;
      bytes += static_cast<int64_t>(record.key.value_or("").size() + record.value.value_or("").size());
    }
    meter_.Count(taken, bytes);
    if (wrong > 0) meter_.CountErrors(wrong);
  }

  std::unique_ptr<Consumer> consumer_;
  std::vector<int64_t> next_offset_;  // by partition; -1: nothing read yet
  BenchMeter meter_;
  absl::Status error_;
};

int BenchConsume(const Common& common, const ConsumeBenchOptions& options) {
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  absl::StatusOr<ClusterMetadata> metadata = (*admin)->GetMetadata({options.topic});
  if (!metadata.ok()) return ReportTopicError(common, metadata.status(), options.topic);
  const auto partitions = static_cast<int32_t>(metadata->topics.at(0).partitions.size());
  const int32_t consumers = std::min(options.consumers, partitions);

  std::vector<std::unique_ptr<Reader>> readers;
  std::vector<const BenchMeter*> meters;
  ConsumerOptions consumer_options;
  consumer_options.client = common.Client();
  consumer_options.max_poll_records = options.rate ? kPacedPollRecords : kPollRecords;
  for (int32_t i = 0; i < consumers; ++i) {
    absl::StatusOr<std::unique_ptr<Consumer>> consumer = Consumer::Create(consumer_options);
    if (!consumer.ok()) return ReportOptions(common, consumer.status());
    readers.push_back(std::make_unique<Reader>(*std::move(consumer), static_cast<size_t>(partitions)));
    meters.push_back(&readers.back()->meter());
  }

  BenchReport report(common, meters);
  report.Begin();  // finding partitions and connecting is part of what a consumer waits for
  for (int32_t i = 0; i < consumers; ++i) {
    std::vector<Assignment> share;
    for (int32_t p = i; p < partitions; p += consumers) {
      Assignment assignment{
          .topic = options.topic, .partition = p, .from = options.from.value_or(Position::Beginning())};
      if (!options.records) assignment.until = Position::End();
      share.push_back(assignment);
    }
    absl::Status assigned = readers[static_cast<size_t>(i)]->consumer().Assign(std::move(share));
    if (!assigned.ok()) return Report(common, assigned);
  }
  Remaining remaining(options.records.value_or(INT64_MAX));
  std::optional<double> rate;
  if (options.rate) rate = static_cast<double>(*options.rate) / consumers;
  std::vector<std::thread> threads;
  for (auto& reader : readers) {
    threads.emplace_back([&] { reader->Run(remaining, rate, TimeoutOr(common, kIdleEnd)); });
  }
  for (std::thread& thread : threads) thread.join();
  int code = report.End();
  for (const auto& reader : readers) {
    if (!reader->error().ok()) Report(common, reader->error());
  }
  return code;
}

}  // namespace

void AddBenchConsume(CLI::App& bench, const Common& common, Run& run) {
  CLI::App& consume = AddLeaf(bench, "consume", "Measure consuming",
                              "Example: millrace bench consume --topic bench --from beginning --records 1000000\n\n"
                              "Checks that the offsets of each partition follow on each other: what is missing or "
                              "repeated is an error. Latency is\n"
                              "the time a poll waited for records. Without --records it reads up to the end as it is "
                              "at the start; with it, it waits\n"
                              "for more until none came for --timeout.");
  ConsumeBenchOptions& o = AddCommand(consume, run, BenchConsume, common);
  AddTopicName(consume, "--topic", o.topic)->type_name("TOPIC")->description("Topic to read");
  AddNumber(consume, "-n,--records", o.records, 1, "Read so many records");
  AddParsed(consume, "-o,--from", o.from, ParsePosition, "POSITION", "Where to begin (default beginning)");
  AddNumber(consume, "--rate", o.rate, 1, "Records per second, all consumers together (default: as fast as possible)");
  AddNumber(consume, "--consumers", o.consumers, 1,
            "Consumers, each with a thread and a share of the partitions (default 1)");
}

}  // namespace millrace::cli
