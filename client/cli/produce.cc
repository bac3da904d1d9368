// millrace produce
#include <millrace/admin.h>
#include <millrace/producer.h>
#include <unistd.h>

#include <atomic>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "client/cli/arguments.h"
#include "client/cli/interrupt.h"
#include "client/cli/line_reader.h"
#include "client/cli/output.h"
#include "client/cli/produce_input.h"
#include "client/cli/record_format.h"

namespace millrace::cli {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

constexpr milliseconds kDeliveryTimeout{120'000};
// How long a full buffer or missing acks may keep us from looking at interrupts and failed deliveries.
constexpr milliseconds kSendWait{250};
// What is in flight when Ctrl-C comes may take so long to be acked.
constexpr milliseconds kInterruptedFlush{3'000};
constexpr int64_t kRecordsBetweenProgress = 4096;

constexpr const char* kFooter = R"(Examples:
  millrace produce orders --file orders.jsonl.gz --key-field customer --timestamp-field time
  tail -F app.log | millrace produce logs
  millrace consume orders --output json | millrace produce copy --input json --keep-timestamp

One record a line; the newline is not part of it, a carriage return is, and an empty line is an empty value.
--key-separator: a line without it has a null key. \t, \n, \xNN are understood.
--key-field, --timestamp-field: the line stays the value as it is. A key that is null or missing is null; a time is
  an ISO 8601 string with a zone, or a number of seconds or milliseconds since 1970.
--length-prefixed: each value behind its length, 4 bytes, signed, big-endian; -1 is a null value.)";

struct ProduceOptions {
  std::string topic;
  std::string file = "-";
  RecordMakerOptions maker;
  std::optional<int32_t> partition;
  ProducerFlags producer;
  bool length_prefixed = false;
  bool create = false;
};

const char* LineNoun(const ProduceOptions& options) { return options.length_prefixed ? "record" : "line"; }

// What became of the records that the producer took. OnDelivery runs on the SDK's I/O thread; all but failed() is read after
// Producer::Close(), when it runs no more.
class Deliveries {
 public:
  struct Range {
    int64_t first = -1;
    int64_t last = -1;
  };

  // Of 16 bytes: std::function keeps it without allocating.
  DeliveryCallback ForLine(int64_t line) {
    return [this, line](const absl::StatusOr<RecordMetadata>& result) { OnDelivery(line, result); };
  }

  bool failed() const { return failed_flag_.load(std::memory_order_relaxed); }

  int64_t acked() const { return acked_; }
  int64_t failures() const { return failures_; }
  const absl::Status& first_error() const { return first_error_; }
  std::optional<int64_t> first_failed_line() const { return first_failed_line_; }
  const std::vector<Range>& partitions() const { return partitions_; }  // by number; first -1: nothing acked there

 private:
  void OnDelivery(int64_t line, const absl::StatusOr<RecordMetadata>& result) {
    if (!result.ok()) return OnFailure(line, result.status());
    ++acked_;
    if (result->offset < 0) return;
    auto index = static_cast<size_t>(result->partition);
    if (index >= partitions_.size()) partitions_.resize(index + 1);
    Range& range = partitions_[index];
    if (range.first < 0 || result->offset < range.first) range.first = result->offset;
    range.last = std::max(range.last, result->offset);
  }

  void OnFailure(int64_t line, const absl::Status& status) {
    ++failures_;
    if (!first_failed_line_ || line < *first_failed_line_) first_failed_line_ = line;
    if (first_error_.ok()) first_error_ = status;
    if (!failed_flag_.exchange(true)) WakeReaders();
  }

  std::atomic<bool> failed_flag_{false};
  int64_t acked_ = 0;
  int64_t failures_ = 0;
  absl::Status first_error_;
  std::optional<int64_t> first_failed_line_;
  std::vector<Range> partitions_;
};

// Why reading stopped before the end of the input.
struct Stop {
  int64_t line = 0;           // the first that was not sent; 0: everything was
  absl::Status error;         // OK: on Ctrl-C, or because a delivery failed
  bool line_refused = false;  // it was read, but is no record or was not taken
};

struct Summary {
  int64_t acked = 0;
  int64_t failed = 0;
  int64_t bytes = 0;
  std::optional<int64_t> first_unacked_line;
  double seconds = 0;
  std::vector<Deliveries::Range> partitions;
};

std::string SummaryJson(const Summary& summary) {
  nlohmann::ordered_json document = {{"acked", summary.acked},
                                     {"failed", summary.failed},
                                     {"first_unacked_line", nullptr},
                                     {"seconds", summary.seconds},
                                     {"partitions", nlohmann::ordered_json::array()}};
  if (summary.first_unacked_line) document["first_unacked_line"] = *summary.first_unacked_line;
  for (size_t p = 0; p < summary.partitions.size(); ++p) {
    const Deliveries::Range& range = summary.partitions[p];
    if (range.first >= 0)
      document["partitions"].push_back({{"partition", p}, {"first", range.first}, {"last", range.last}});
  }
  return document.dump() + "\n";
}

std::string SummaryText(const Summary& summary, const char* line_noun) {
  std::string text = FormatCountOf(summary.acked, "record") + " acked";
  if (summary.acked > 0) {
    auto partitions = std::count_if(summary.partitions.begin(), summary.partitions.end(),
                                    [](const auto& range) { return range.first >= 0; });
    const auto bytes = static_cast<double>(summary.bytes);
    if (partitions > 0) absl::StrAppend(&text, " in ", FormatCountOf(partitions, "partition"));
    absl::StrAppend(&text, ", ", FormatBytes(bytes), " in ", FormatSeconds(summary.seconds));
    if (summary.seconds > 0.1) absl::StrAppend(&text, ", ", FormatBytes(bytes / summary.seconds), "/s");
  }
  if (summary.first_unacked_line) {
    absl::StrAppend(&text, "; ", line_noun, " ", *summary.first_unacked_line, " is the first without an ack");
    if (summary.acked > 0) absl::StrAppend(&text, ": all before it are stored, some after it may be");
  }
  return text;
}

// The first combination of flags that makes no sense, or "".
std::string Contradiction(const ProduceOptions& options) {
  const RecordMakerOptions& maker = options.maker;
  bool json = maker.input == RecordMakerOptions::Input::kJson;
  int keys = maker.key.has_value() + maker.key_separator.has_value() + maker.key_field.has_value();
  if (keys > 1) return "--key, --key-separator and --key-field exclude each other";
  if (json && (keys > 0 || maker.timestamp_field || options.length_prefixed || !maker.headers.empty())) {
    return "--input json takes keys, values, times and headers from the records: no --key, --key-separator, "
           "--key-field, "
           "--timestamp-field, --header or --length-prefixed with it";
  }
  if (!json && (maker.keep_partition || maker.keep_timestamp))
    return "--keep-partition and --keep-timestamp need --input json";
  if (maker.keep_partition && options.partition) return "--partition and --keep-partition exclude each other";
  if (options.length_prefixed && (maker.key_separator || maker.key_field || maker.timestamp_field)) {
    return "--length-prefixed values are not looked into: no --key-separator, --key-field or --timestamp-field with it";
  }
  if (maker.key_separator && maker.key_separator->empty()) return "--key-separator is empty";
  return "";
}

int ReportMissingPartition(const Common& common, const TopicMetadata& topic, int32_t partition) {
  Error error;
  error.code = ErrorCode::kUnknownTopicOrPartition;
  error.topic = topic.name;
  error.partition = partition;
  error.message = absl::StrCat("topic ", topic.name, " has no partition ", partition, "; it has 0 to ",
                               topic.partitions.size() - 1);
  return Report(common, ToStatus(error), absl::StrCat("See them with: millrace topic describe ", topic.name));
}

// kExitDone when the topic is there, perhaps only now, with --partition. What is missing would otherwise show at the first
// record.
int EnsureTopic(const Common& common, const ProduceOptions& options) {
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  absl::StatusOr<ClusterMetadata> metadata = (*admin)->GetMetadata({options.topic});
  if (metadata.ok()) {
    const TopicMetadata& topic = metadata->topics.at(0);
    bool missing = options.partition && *options.partition >= std::ssize(topic.partitions);
    return missing ? ReportMissingPartition(common, topic, *options.partition) : kExitDone;
  }
  if (!options.create || ErrorFrom(metadata.status()).code != ErrorCode::kUnknownTopicOrPartition) {
    return ReportTopicError(common, metadata.status(), options.topic);
  }
  absl::StatusOr<CreatedTopic> created = (*admin)->CreateTopic({.name = options.topic, .if_not_exists = true});
  if (!created.ok()) return Report(common, created.status());
  Remark(common, absl::StrCat("created ", options.topic, " with ", FormatCountOf(created->partitions, "partition"),
                              ", replication factor ", created->replication_factor));
  return kExitDone;
}

// Sends a record, however long the buffer stays full; gives up on Ctrl-C, when another record failed, and after the delivery
// time-out, as the record would have waited that long in the buffer.
absl::Status SendPatiently(Producer& producer, const ProducerRecord& record, int64_t line, Deliveries& deliveries,
                           milliseconds timeout) {
  absl::Status sent = producer.Send(record, deliveries.ForLine(line));
  if (sent.ok()) return sent;
  const auto deadline = SteadyClock::now() + timeout;
  while (!sent.ok() && ErrorFrom(sent).retriable && !Interrupted() && !deliveries.failed() &&
         SteadyClock::now() < deadline) {
    sent = producer.Send(record, deliveries.ForLine(line));
  }
  return sent;
}

absl::Status AtLine(const ProduceOptions& options, int64_t line, const absl::Status& status) {
  return absl::InvalidArgumentError(absl::StrCat(LineNoun(options), " ", line,
                                                 options.file == "-" ? "" : " of " + options.file, " ",
                                                 std::string(status.message())));
}

std::string ProgressText(const RecordInput& input, const Producer& producer, double seconds) {
  ProducerCounters counters = producer.counters();
  std::string text = absl::StrCat(FormatCount(counters.records_acked), " records acked, ",
                                  FormatBytes(static_cast<double>(counters.bytes_sent) / seconds), "/s");
  if (std::optional<double> share = input.Fraction())
    absl::StrAppend(&text, ", ", static_cast<int>(*share * 100), " %");
  return text;
}

double SecondsSince(SteadyClock::time_point begin) {
  return std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

// Sends all records and waits for their acks; stops at the first that is wrong or failed, and on Ctrl-C.
Stop SendAll(const Common& common, const ProduceOptions& options, RecordInput& input, RecordMaker& maker,
             Producer& producer, Deliveries& deliveries) {
  Progress progress(common.quiet);
  const auto begin = SteadyClock::now();
  const milliseconds timeout = TimeoutOr(common, kDeliveryTimeout);
  auto show_progress = [&] { progress.Show([&] { return ProgressText(input, producer, SecondsSince(begin)); }); };
  ProducerRecord record{.topic = options.topic, .partition = options.partition};

  while (!deliveries.failed() && !Interrupted() && input.Next()) {
    if (absl::Status made = maker.Make(input.record(), record); !made.ok()) {
      return {.line = input.number(), .error = AtLine(options, input.number(), made), .line_refused = true};
    }
    if (absl::Status sent = SendPatiently(producer, record, input.number(), deliveries, timeout); !sent.ok()) {
      bool gave_up = Interrupted() || deliveries.failed();
      return {.line = input.number(), .error = gave_up ? absl::OkStatus() : sent, .line_refused = !gave_up};
    }
    if (input.number() % kRecordsBetweenProgress == 0) show_progress();
  }
  const int64_t next = input.number() + 1;
  if (absl::IsInvalidArgument(input.status()))
    return {.line = next, .error = AtLine(options, next, input.status()), .line_refused = true};
  if (absl::IsCancelled(input.status()) || Interrupted() || deliveries.failed()) return {.line = next};
  if (!input.status().ok()) return {.line = next, .error = input.status()};
  while (!Interrupted() && absl::IsDeadlineExceeded(producer.Flush(kSendWait))) show_progress();
  return {};
}

Summary Summarize(const Deliveries& deliveries, const Stop& stop, const Producer& producer, double seconds) {
  Summary summary{.acked = deliveries.acked(),
                  .failed = deliveries.failures() + (stop.line_refused ? 1 : 0),
                  .bytes = producer.counters().bytes_sent,
                  .first_unacked_line = deliveries.first_failed_line(),
                  .seconds = seconds,
                  .partitions = deliveries.partitions()};
  if (stop.line > 0) summary.first_unacked_line = std::min(stop.line, summary.first_unacked_line.value_or(stop.line));
  return summary;
}

int Produce(const Common& common, const ProduceOptions& options) {
  if (std::string wrong = Contradiction(options); !wrong.empty()) return ReportUsage(common, wrong);

  absl::StatusOr<std::unique_ptr<ByteSource>> source = OpenInput(options.file);
  if (!source.ok()) return Report(common, source.status());
  ProducerOptions producer_options = options.producer.Options(common);
  producer_options.max_block = kSendWait;
  absl::StatusOr<std::unique_ptr<Producer>> producer = Producer::Create(producer_options);
  if (!producer.ok()) return ReportOptions(common, producer.status());
  if (int code = EnsureTopic(common, options); code != kExitDone) return code;

  if (options.file == "-" && isatty(STDIN_FILENO) == 1)
    Remark(common, "reading standard input, one record a line; Ctrl-D ends it");
  DeferInterrupts();
  const auto begin = SteadyClock::now();
  RecordInput input(*std::move(source), options.length_prefixed ? Framing::kLengthPrefixed : Framing::kLines);
  RecordMaker maker(options.maker);
  Deliveries deliveries;
  const Stop stop = SendAll(common, options, input, maker, **producer, deliveries);
  // Every record's outcome comes through its callback, so Close() has nothing to add.
  (*producer)->Close(Interrupted() ? kInterruptedFlush : TimeoutOr(common, kDeliveryTimeout)).IgnoreError();
  const Summary summary = Summarize(deliveries, stop, **producer, SecondsSince(begin));

  if (maker.KeyFieldNeverSeen() && summary.acked > 0) {
    Remark(common, absl::StrCat("no line had the field '", *options.maker.key_field, "': all keys are null"));
  }
  int code = kExitDone;
  const absl::Status& error = deliveries.first_error().ok() ? stop.error : deliveries.first_error();
  if (!error.ok() && !Interrupted()) code = ReportTopicError(common, error, options.topic);
  if (code != kExitDone && summary.acked > 0) code = kExitPartly;
  if (Interrupted()) code = kExitInterrupted;
  if (!common.json()) {
    Remark(common, SummaryText(summary, LineNoun(options)));
    return code;
  }
  int printed = Print(common, SummaryJson(summary));
  return code == kExitDone ? printed : code;
}

}  // namespace

void AddProduceCommand(CLI::App& app, const Common& common, Run& run) {
  CLI::App& produce = AddLeaf(app, "produce", "Write records, one a line, from standard input or a file", kFooter);
  ProduceOptions& o = AddCommand(produce, run, Produce, common);
  AddTopicName(produce, "TOPIC", o.topic);
  produce.add_option("--file", o.file, "Read this instead of standard input; .gz is unpacked")->type_name("FILE");
  AddChoice<RecordMakerOptions::Input>(
      produce, "--input", o.maker.input,
      {{"lines", RecordMakerOptions::Input::kLines}, {"json", RecordMakerOptions::Input::kJson}},
      "lines (default), or json: what `consume --output json` writes");
  produce.add_option("-k,--key", o.maker.key, "Key of every record")->type_name("KEY");
  AddParsed(produce, "-K,--key-separator", o.maker.key_separator, ResolveEscapes, "C",
            "What stands between key and value on each line");
  produce.add_option("--key-field", o.maker.key_field, "Lines are JSON; the key is this field")->type_name("NAME");
  produce.add_option("--timestamp-field", o.maker.timestamp_field, "Lines are JSON; the record's time is this field")
      ->type_name("NAME");
  AddNumber(produce, "-p,--partition", o.partition, 0,
            "Write to this partition (default: by key, or spread without one)");
  AddRepeated(
      produce, "-H,--header", [](std::string_view text) { return ParseAssignment(text, "header"); },
      [&o](std::pair<std::string, std::string> header) {
        o.maker.headers.push_back({header.first, header.second});
      },
      "NAME=VALUE", "Header of every record");
  produce.add_flag("--length-prefixed", o.length_prefixed, "Values are binary, each behind its length");
  produce.add_flag("--keep-partition", o.maker.keep_partition,
                   "With --input json: write each record to the partition it says");
  produce.add_flag("--keep-timestamp", o.maker.keep_timestamp, "With --input json: each record keeps its time");
  produce.add_flag("--create", o.create, "Create the topic, with one partition, when it is missing");
  AddProducerFlags(produce, o.producer);
}

}  // namespace millrace::cli
