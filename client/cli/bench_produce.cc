// millrace bench produce
#include <millrace/producer.h>

#include <algorithm>

#include "absl/strings/str_format.h"
#include "client/cli/bench.h"
#include "client/cli/interrupt.h"

namespace millrace::cli {
namespace {

struct ProduceBenchOptions {
  BenchTopic topic;
  std::optional<int64_t> records;
  std::optional<double> seconds;
  int64_t record_size = 1024;
  std::optional<int64_t> rate;
  int32_t producers = 1;
  std::optional<int64_t> keys;
  ProducerFlags producer;
  std::optional<double> warmup;
};

// Keys of one length, so that all records have the same size; picked at random, evenly.
class KeyPool {
 public:
  explicit KeyPool(std::optional<int64_t> keys) {
    for (int64_t i = 0; i < keys.value_or(0); ++i) keys_.push_back(absl::StrFormat("key-%08d", i));
  }
  std::optional<std::string_view> Next() {
    if (keys_.empty()) return std::nullopt;
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return keys_[state_ % keys_.size()];
  }
  int64_t key_bytes() const { return keys_.empty() ? 0 : static_cast<int64_t>(keys_[0].size()); }

 private:
  std::vector<std::string> keys_;
  uint64_t state_ = 0x9e3779b97f4a7c15;
};

// How much a phase sends: until both the time is over and the records are sent, where given.
struct Phase {
  std::optional<int64_t> records;
  std::optional<double> seconds;
};

// One producer with its sending thread.
class Sender {
 public:
  // `meter` is counted on the SDK's I/O thread, which all producers of the process share.
  Sender(const ProduceBenchOptions& options, std::unique_ptr<Producer> producer, BenchMeter& meter)
      : options_(options),
        producer_(std::move(producer)),
        meter_(meter),
        values_(options.record_size),
        keys_(options.keys),
        record_bytes_(options.record_size + keys_.key_bytes()) {}

  // Sends and waits for the acks.
  void Run(const Phase& phase, std::optional<double> rate) {
    Schedule schedule(rate);
    const int64_t end_ns = NowNs() + static_cast<int64_t>(phase.seconds.value_or(0) * 1e9);
    ProducerRecord record{.topic = options_.topic.name};
    for (int64_t sent = 0; sent < phase.records.value_or(INT64_MAX) && !Interrupted(); ++sent) {
      const int64_t due_ns = schedule.Next();
      if (phase.seconds && due_ns >= end_ns) break;
      record.key = keys_.Next();
      record.value = values_.Next();
      absl::Status taken = producer_->Send(
          record, [this, due_ns](const absl::StatusOr<RecordMetadata>& result) { OnAck(due_ns, result); });
      if (!taken.ok()) {
        Fail(taken);
        break;
      }
    }
    producer_->Flush().IgnoreError();  // failures were counted by OnAck
  }

  int64_t refused() const { return refused_; }
  const absl::Status& first_error() const { return refused_ > 0 ? refusal_ : failure_; }

 private:
  void OnAck(int64_t due_ns, const absl::StatusOr<RecordMetadata>& result) {
    if (!result.ok()) {
      meter_.CountErrors(1);
      if (failure_.ok()) failure_ = result.status();
      return;
    }
    meter_.Count(1, record_bytes_);
    meter_.RecordLatency(NowNs() - due_ns);
  }

  void Fail(const absl::Status& status) {
    ++refused_;
    refusal_ = status;
  }

  const ProduceBenchOptions& options_;
  std::unique_ptr<Producer> producer_;
  BenchMeter& meter_;
  PayloadPool values_;
  KeyPool keys_;
  const int64_t record_bytes_;
  // Of the sending thread.
  int64_t refused_ = 0;
  absl::Status refusal_;
  // Of the I/O thread; read after Run().
  absl::Status failure_;
};

void RunPhase(std::vector<std::unique_ptr<Sender>>& senders, const Phase& phase, std::optional<int64_t> rate) {
  std::vector<std::thread> threads;
  const auto count = static_cast<int64_t>(senders.size());
  for (int64_t i = 0; i < count; ++i) {
    Phase share = phase;
    if (phase.records) share.records = *phase.records / count + (i < *phase.records % count ? 1 : 0);
    std::optional<double> share_rate;
    if (rate) share_rate = static_cast<double>(*rate) / static_cast<double>(count);
    threads.emplace_back([&sender = *senders[i], share, share_rate] { sender.Run(share, share_rate); });
  }
  for (std::thread& thread : threads) thread.join();
}

int BenchProduce(const Common& common, const ProduceBenchOptions& options) {
  if (options.records.has_value() == options.seconds.has_value()) {
    return ReportUsage(common, "give either --records N or --seconds S");
  }
  BenchMeter meter;
  std::vector<std::unique_ptr<Sender>> senders;
  for (int32_t i = 0; i < options.producers; ++i) {
    absl::StatusOr<std::unique_ptr<Producer>> producer = Producer::Create(options.producer.Options(common));
    if (!producer.ok()) return ReportOptions(common, producer.status());
    senders.push_back(std::make_unique<Sender>(options, *std::move(producer), meter));
  }
  int32_t partitions = 0;
  if (int code = EnsureBenchTopic(common, options.topic, partitions); code != kExitDone) return code;
  if (options.warmup) RunPhase(senders, {.seconds = options.warmup}, options.rate);

  BenchReport report(common, {&meter});
  report.Begin();
  RunPhase(senders, {.records = options.records, .seconds = options.seconds}, options.rate);
  for (const auto& sender : senders)
    meter.CountErrors(sender->refused());  // the I/O thread has nothing to count any more
  int code = report.End();
  for (const auto& sender : senders) {
    if (sender->first_error().ok()) continue;
    Report(common, sender->first_error());
    break;
  }
  return code;
}

}  // namespace

void AddBenchProduce(CLI::App& bench, const Common& common, Run& run) {
  CLI::App& produce = AddLeaf(
      bench, "produce", "Measure producing",
      "Examples:\n  millrace bench produce --topic bench --partitions 16 --seconds 60 --warmup 10 --record-size 1024\n"
      "  millrace bench produce --topic bench --records 100000 --rate 10000 --record-size 100\n\n"
      "Latency is the time from when a record was due to its ack. With --rate records are due evenly, whether the ones "
      "before\nwere acked or not (in small groups where a producer sends 20,000 a second or more, at least 10,000 "
      "times a\n"
      "second); without, when the buffer has room for them. Values are half random, half repeating.");
  ProduceBenchOptions& o = AddCommand(produce, run, BenchProduce, common);
  AddBenchTopicFlags(produce, o.topic);
  AddNumber(produce, "-n,--records", o.records, 1, "Send so many records");
  AddSeconds(produce, "--seconds", o.seconds, "Send for so long");
  AddParsed(produce, "--record-size", o.record_size, ParseSize, "B", "Bytes of each value (default 1024)");
  AddNumber(produce, "--rate", o.rate, 1, "Records per second, all producers together (default: as fast as possible)");
  AddNumber(produce, "--producers", o.producers, 1, "Producers, each with a thread (default 1)");
  AddNumber(produce, "--keys", o.keys, 1, "Use so many different keys (default: no keys)");
  AddSeconds(produce, "--warmup", o.warmup, "Send for so long before measuring");
  AddProducerFlags(produce, o.producer);
}

}  // namespace millrace::cli
