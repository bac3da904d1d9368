// millrace bench end-to-end
#include <millrace/consumer.h>
#include <millrace/producer.h>

#include <cstring>
#include <random>

#include "absl/strings/str_cat.h"
#include "client/cli/bench.h"
#include "client/cli/interrupt.h"

namespace millrace::cli {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPollWait{100};
constexpr milliseconds kGiveUp{10'000};

struct EndToEndOptions {
  BenchTopic topic;
  int64_t records = 0;
  int64_t record_size = 1024;
  std::optional<int64_t> rate;
  ProducerFlags producer;
  std::optional<double> warmup;
};

// The front of each value: whose it is and when it was due.
struct Stamp {
  uint64_t run = 0;    // other writers' records, and those of an earlier run, have another one
  int64_t due_ns = 0;  // 0: not to be measured
};
static_assert(sizeof(Stamp) == 16);

class EndToEnd {
 public:
  EndToEnd(const Common& common, const EndToEndOptions& options, std::unique_ptr<Producer> producer,
           std::unique_ptr<Consumer> consumer)
      : options_(options),
        give_up_(TimeoutOr(common, kGiveUp)),
        producer_(std::move(producer)),
        consumer_(std::move(consumer)),
        values_(options.record_size),
        run_(std::random_device{}() | uint64_t{std::random_device{}()} << 32) {}

  // Writes to each partition until it comes back: from then on the consumer misses nothing.
  absl::Status Connect(int32_t partitions) {
    absl::Status assigned = consumer_->Assign({{.topic = options_.topic.name, .from = Position::End()}});
    if (!assigned.ok()) return assigned;
    std::vector<bool> seen(static_cast<size_t>(partitions));
    const int64_t deadline_ns = NowNs() + std::chrono::nanoseconds(give_up_).count();
    while (!Interrupted() && std::find(seen.begin(), seen.end(), false) != seen.end()) {
      if (NowNs() > deadline_ns)
        return absl::DeadlineExceededError("a record written to each partition did not come back in time");
      for (int32_t p = 0; p < partitions; ++p) {
        if (seen[static_cast<size_t>(p)]) continue;
        if (absl::Status sent = Send(0, p); !sent.ok()) return sent;
      }
      absl::Status received =
          Receive([&](const ConsumerRecord& record, int64_t) { seen[static_cast<size_t>(record.partition)] = true; });
      if (!received.ok()) return received;
    }
    return absl::OkStatus();
  }

  // One after the other: the next leaves when the one before was received.
  absl::Status OneAtATime(int64_t records, int64_t end_ns, BenchMeter& meter) {
    for (int64_t i = 0; i < records && NowNs() < end_ns && !Interrupted(); ++i) {
      const int64_t due_ns = NowNs();
      if (absl::Status sent = Send(due_ns, std::nullopt); !sent.ok()) return sent;
      bool back = false;
      while (!back && !Interrupted()) {
        absl::Status received = Receive([&](const ConsumerRecord&, int64_t stamp_ns) {
          if (stamp_ns != due_ns) return;
          back = true;
          meter.RecordLatency(NowNs() - due_ns);
          meter.Count(1, options_.record_size);
        });
        if (!received.ok()) return received;
        if (!back && NowNs() - due_ns > std::chrono::nanoseconds(give_up_).count()) return Lost(meter, 1);
      }
    }
    return absl::OkStatus();
  }

  // At --rate, received by this thread while another one sends.
  absl::Status AtRate(int64_t records, int64_t end_ns, BenchMeter& meter) {
    std::atomic<int64_t> sent_records{0};
    std::atomic<bool> sending{true};
    absl::Status send_error;
    std::thread sender([&] {
      Schedule schedule(static_cast<double>(*options_.rate));
      for (int64_t i = 0; i < records && !Interrupted(); ++i) {
        const int64_t due_ns = schedule.Next();
        if (due_ns >= end_ns) break;
        send_error = Send(due_ns, std::nullopt);
        if (!send_error.ok()) break;
        sent_records.fetch_add(1);
      }
      sending.store(false);
    });
    int64_t received_records = 0, last_news_ns = NowNs();
    absl::Status error;
    while (error.ok() && !Interrupted() && (sending.load() || received_records < sent_records.load())) {
      error = Receive([&](const ConsumerRecord&, int64_t due_ns) {
        if (due_ns == 0) return;
        last_news_ns = NowNs();
        meter.RecordLatency(last_news_ns - due_ns);
        meter.Count(1, options_.record_size);
        ++received_records;
      });
      if (sending.load()) last_news_ns = NowNs();
      if (error.ok() && NowNs() - last_news_ns > std::chrono::nanoseconds(give_up_).count()) {
        error = Lost(meter, sent_records.load() - received_records);
      }
    }
    sender.join();
    return send_error.ok() ? error : send_error;
  }

 private:
  absl::Status Send(int64_t due_ns, std::optional<int32_t> partition) {
    value_.assign(values_.Next());
    const Stamp stamp{.run = run_, .due_ns = due_ns};
    std::memcpy(value_.data(), &stamp, sizeof(stamp));
    // Its failure shows as a record that is never received.
    return producer_->Send({.topic = options_.topic.name, .partition = partition, .value = value_});
  }

  // Polls once and calls `use(record, due_ns)` for each record of this run.
  template <class Use>
  absl::Status Receive(const Use& use) {
    absl::StatusOr<PollResult> polled = consumer_->Poll(kPollWait);
    if (!polled.ok()) return polled.status();
    for (const ConsumerRecord& record : polled->records) {
      Stamp stamp;
      if (!record.value || record.value->size() < sizeof(stamp)) continue;
      std::memcpy(&stamp, record.value->data(), sizeof(stamp));
      if (stamp.run == run_) use(record, stamp.due_ns);
    }
    return absl::OkStatus();
  }

  absl::Status Lost(BenchMeter& meter, int64_t records) {
    meter.CountErrors(records);
    absl::Status flushed = producer_->Flush(milliseconds(0));
    std::string cause = flushed.ok() ? "" : absl::StrCat(": ", std::string(flushed.message()));
    return absl::DeadlineExceededError(
        absl::StrCat(records, " records did not come back within ", give_up_.count(), " ms", cause));
  }

  const EndToEndOptions& options_;
  const milliseconds give_up_;
  std::unique_ptr<Producer> producer_;
  std::unique_ptr<Consumer> consumer_;
  PayloadPool values_;
  std::string value_;
  const uint64_t run_;
};

int BenchEndToEnd(const Common& common, const EndToEndOptions& options) {
  if (options.record_size < static_cast<int64_t>(sizeof(Stamp))) {
    return ReportUsage(
        common, absl::StrCat("--record-size must be at least ", sizeof(Stamp), ": each record carries its time"));
  }
  absl::StatusOr<std::unique_ptr<Producer>> producer = Producer::Create(options.producer.Options(common));
  if (!producer.ok()) return ReportOptions(common, producer.status());
  absl::StatusOr<std::unique_ptr<Consumer>> consumer = Consumer::Create({.client = common.Client()});
  if (!consumer.ok()) return ReportOptions(common, consumer.status());
  int32_t partitions = 0;
  if (int code = EnsureBenchTopic(common, options.topic, partitions); code != kExitDone) return code;

  EndToEnd bench(common, options, *std::move(producer), *std::move(consumer));
  if (absl::Status connected = bench.Connect(partitions); !connected.ok()) return Report(common, connected);
  BenchMeter meter;
  auto run = [&](int64_t records, int64_t end_ns) {
    return options.rate ? bench.AtRate(records, end_ns, meter) : bench.OneAtATime(records, end_ns, meter);
  };
  absl::Status error;
  if (options.warmup) error = run(INT64_MAX, NowNs() + static_cast<int64_t>(*options.warmup * 1e9));
  BenchReport report(common, {&meter});
  report.Begin();
  if (error.ok()) error = run(options.records, INT64_MAX);
  int code = report.End();
  if (error.ok()) return code;
  Report(common, error);
  return code == kExitDone ? kExitPartly : code;
}

}  // namespace

void AddBenchEndToEnd(CLI::App& bench, const Common& common, Run& run) {
  CLI::App& end_to_end =
      AddLeaf(bench, "end-to-end", "Measure the time from sending a record to receiving it",
              "Examples:\n  millrace bench end-to-end --topic bench --records 10000 --record-size 100\n"
              "  millrace bench end-to-end --topic bench --records 100000 --record-size 100 --rate 10000\n\n"
              "Without --rate the next record leaves when the one before was received. With it they are due evenly, "
              "and latency\n"
              "counts from when a record was due.");
  EndToEndOptions& o = AddCommand(end_to_end, run, BenchEndToEnd, common);
  AddBenchTopicFlags(end_to_end, o.topic);
  AddNumber(end_to_end, "-n,--records", o.records, 1, "Send so many records")->required();
  AddParsed(end_to_end, "--record-size", o.record_size, ParseSize, "B", "Bytes of each value (default 1024)");
  AddNumber(end_to_end, "--rate", o.rate, 1, "Records per second (default: one after the other)");
  AddSeconds(end_to_end, "--warmup", o.warmup, "Run for so long before measuring");
  AddProducerFlags(end_to_end, o.producer);
}

}  // namespace millrace::cli
