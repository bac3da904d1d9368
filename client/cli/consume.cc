// millrace consume
#include <millrace/admin.h>
#include <millrace/consumer.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "client/cli/arguments.h"
#include "client/cli/interrupt.h"
#include "client/cli/output.h"
#include "client/cli/position.h"
#include "client/cli/record_format.h"

namespace millrace::cli {
namespace {

using std::chrono::milliseconds;

// How long waiting for records may keep us from looking at interrupts and the closed pipe.
constexpr milliseconds kPollWait{100};
constexpr int32_t kPollRecords = 4096;
// Nothing came for so long: look whether a broker answers.
constexpr milliseconds kSilence{10'000};

constexpr const char* kFooter = R"(Examples:
  millrace consume orders --from 1000 --count 10
  millrace consume orders --from @2013-07-04T00:00:00Z --until @2013-07-05T00:00:00Z --format '%T %k %v\n'
  millrace consume orders --follow --from end --output json
  millrace consume orders --group payment

POSITION: beginning, end, an offset (1000), a time (@2013-07-04T00:00:00Z or @MILLISECONDS), a time back from now
  (-15m), a number of records back from the end of each partition (-100).
--format: %t topic  %p partition  %o offset  %k key  %v value  %T time in ms  %h headers  %e leader epoch
  %K, %V length of key and value (-1: null)  %% percent; \n \t \r \0 \\ \xNN
--length-prefixed: each value behind its length, 4 bytes, signed, big-endian; -1 is a null value. Keys are left out.
--output json: one record a line, as `produce --input json` takes it.
--group with --no-follow ends once all that this member was assigned is written, or after --timeout (default 10s)
  without a partition, as when the other members have all of them.)";

struct ConsumeOptions {
  std::string topic;
  std::vector<int32_t> partitions;
  std::optional<Position> from;
  std::optional<Position> until;
  std::optional<int64_t> count;
  std::optional<std::string> group;
  std::optional<std::chrono::nanoseconds> session_timeout;
  bool follow = false;
  bool no_follow = false;
  std::optional<RecordFormat> format;
  bool length_prefixed = false;
};

std::string Contradiction(const Common& common, const ConsumeOptions& options) {
  if (options.follow && options.no_follow) return "--follow and --no-follow exclude each other";
  if (options.group && options.group->empty()) return "--group needs a name";
  if (options.group && !options.partitions.empty()) return "--group assigns partitions itself: give it or --partition";
  if (options.session_timeout && !options.group) return "--session-timeout is of a member: give --group, too";
  if (options.group && options.until) return "--group has a position of its own and no end: give it or --until";
  if (options.follow && options.until) return "--follow never ends, --until does: give one of them";
  if (std::set<int32_t>(options.partitions.begin(), options.partitions.end()).size() < options.partitions.size()) {
    return "--partition names the same partition twice";
  }
  if (options.format.has_value() + options.length_prefixed + common.json() > 1) {
    return "--format, --length-prefixed and --output json exclude each other";
  }
  return "";
}

bool Follows(const ConsumeOptions& options) {
  bool from_end = options.from && options.from->kind() == Position::Kind::kEnd;
  return options.follow || ((from_end || options.group) && !options.no_follow && !options.until);
}

bool IsOffset(const std::optional<Position>& position) {
  return position && position->kind() == Position::Kind::kOffset;
}

// What to read, and how much of what was asked for that is.
struct Range {
  std::vector<Assignment> assignments;
  int code = kExitDone;        // otherwise some partitions, or all, have been reported
  bool cut_at_the_end = true;  // reading stops at the high watermark seen at the start
};

int ReportAboveEnd(const Common& common, const OffsetAnswer& at, int64_t from) {
  Error error;
  error.code = ErrorCode::kOffsetOutOfRange;
  error.topic = at.topic;
  error.partition = at.partition;
  error.message =
      absl::StrCat(at.topic, " ", at.partition, ": offset ", from, " is above the end of the log, ", at.high_watermark);
  error.log_start_offset = at.log_start_offset;
  error.high_watermark = at.high_watermark;
  return Report(common, ToStatus(error), absl::StrCat("See what there is with: millrace offsets ", at.topic));
}

// Offsets that were named, held against what each partition has: reading cannot begin above the end, and does not wait for the
// end of the range to be written.
Range BoundByLog(const Common& common, const ConsumeOptions& options, const std::vector<OffsetAnswer>& ends) {
  Range range;
  range.cut_at_the_end = !Follows(options) && !options.until;
  for (const OffsetAnswer& end : ends) {
    if (!end.status.ok()) {
      range.code = Report(common, end.status);
    } else if (IsOffset(options.from) && options.from->value() > end.high_watermark) {
      range.code = ReportAboveEnd(common, end, options.from->value());
    } else {
      Assignment assignment{.topic = end.topic,
                            .partition = end.partition,
                            .from = options.from.value_or(Position::Beginning()),
                            .until = options.until};
      bool beyond = IsOffset(options.until) && options.until->value() > end.high_watermark;
      range.cut_at_the_end |= beyond;
      if (beyond || (!options.until && !Follows(options))) assignment.until = Position::Offset(end.high_watermark);
      range.assignments.push_back(std::move(assignment));
    }
  }
  return range;
}

absl::StatusOr<std::vector<OffsetAnswer>> FindEnds(Admin& admin, const ConsumeOptions& options) {
  std::vector<int32_t> partitions = options.partitions;
  if (partitions.empty()) {
    absl::StatusOr<ClusterMetadata> metadata = admin.GetMetadata({options.topic});
    if (!metadata.ok()) return metadata.status();
    for (const TopicMetadata::Partition& p : metadata->topics.at(0).partitions) partitions.push_back(p.partition);
  }
  std::vector<OffsetQuery> queries;
  for (int32_t partition : partitions) queries.push_back({.topic = options.topic, .partition = partition});
  return admin.ListOffsets(queries);
}

Range FindRange(const Common& common, Admin& admin, const ConsumeOptions& options) {
  if (IsOffset(options.from) || IsOffset(options.until)) {
    absl::StatusOr<std::vector<OffsetAnswer>> ends = FindEnds(admin, options);
    if (!ends.ok()) return {.code = ReportTopicError(common, ends.status(), options.topic)};
    Range range = BoundByLog(common, options, *ends);
    if (range.code != kExitDone || !Follows(options)) return range;
  }
  Range range{.cut_at_the_end = !options.until && !Follows(options)};
  Assignment assignment{
      .topic = options.topic, .from = options.from.value_or(Position::Beginning()), .until = options.until};
  if (range.cut_at_the_end) assignment.until = Position::End();
  if (options.partitions.empty()) range.assignments.push_back(assignment);
  for (int32_t partition : options.partitions) {
    assignment.partition = partition;
    range.assignments.push_back(assignment);
  }
  return range;
}

int ReportGap(const Common& common, const Gap& gap) {
  const bool truncated = gap.reason == Gap::Reason::kTruncated;
  const std::string why =
      gap.reason == Gap::Reason::kRetention ? "retention or trim" : std::string(GapReasonName(gap.reason));
  Error error;
  error.code = gap.reason == Gap::Reason::kCorrupt ? ErrorCode::kCorruptMessage : ErrorCode::kOffsetOutOfRange;
  error.topic = std::string(gap.topic);
  error.partition = gap.partition;
  error.message = absl::StrCat(error.topic, " ", gap.partition, ": offsets ", gap.from, " to ", gap.to - 1,
                               " are gone (", why, "); reading goes on at ", truncated ? gap.from : gap.to);
  Report(common, ToStatus(error));
  return kExitPartly;
}

// Writes records to standard output in the form asked for.
class RecordWriter {
 public:
  RecordWriter(const Common& common, const ConsumeOptions& options)
      : json_(common.json()),
        length_prefixed_(options.length_prefixed),
        format_(options.format ? &*options.format : nullptr) {}

  // False when nothing can be written any more.
  bool Write(const ConsumerRecord& record) {
    std::string& buffer = out_.buffer();
    if (json_) {
      AppendJsonRecord(buffer, record);
    } else if (length_prefixed_) {
      AppendLengthPrefixed(buffer, record);
    } else if (format_ != nullptr) {
      format_->Append(buffer, record);
    } else {
      buffer += record.value.value_or("");
      buffer += '\n';
    }
    ++records_;
    return out_.FlushIfLarge();
  }

  bool Flush() { return out_.Flush(); }
  bool closed() { return out_.closed(); }
  const absl::Status& status() const { return out_.status(); }
  int64_t records() const { return records_; }

 private:
  const bool json_;
  const bool length_prefixed_;
  const RecordFormat* format_;
  OutputBuffer out_{STDOUT_FILENO};
  int64_t records_ = 0;
};

bool AllEnded(const Consumer& consumer) {
  for (const PartitionProgress& partition : consumer.progress()) {
    if (!partition.ended) return false;
  }
  return true;
}

// Notices that nothing comes because something is wrong, which `ask` finds out: the SDK goes on trying for ever.
class Watch {
 public:
  using Ask = std::function<absl::Status()>;

  Watch(const Common& common, const ConsumeOptions& options, Ask ask)
      : common_(common), follows_(Follows(options)), patience_(TimeoutOr(common, kSilence)), ask_(std::move(ask)) {}

  void Seen() { last_ = SteadyClock::now(); }
  bool Silent() const { return SteadyClock::now() - last_ >= patience_; }

  // What is wrong, if anything is. Whoever follows is only told, once for each kind of trouble.
  absl::Status LookNow() {
    const absl::Status answer = ask_();
    Seen();
    if (!answer.ok() && !follows_) return answer;
    const Error error = ErrorFrom(answer);
    if (!answer.ok() && error.code != told_) Remark(common_, absl::StrCat("waiting: ", error.message));
    told_ = error.code;
    return absl::OkStatus();
  }

  // The same, once nothing was seen for --timeout.
  absl::Status Look() { return Silent() ? LookNow() : absl::OkStatus(); }

 private:
  using SteadyClock = std::chrono::steady_clock;

  const Common& common_;
  const bool follows_;
  const milliseconds patience_;
  const Ask ask_;
  SteadyClock::time_point last_ = SteadyClock::now();
  ErrorCode told_ = ErrorCode::kNone;
};

// Copies records until the end, --count, Ctrl-C or a closed pipe. Returns the exit code as far as reading goes.
int Copy(const Common& common, const ConsumeOptions& options, Consumer& consumer, Watch& watch, RecordWriter& writer) {
  Progress progress(common.quiet || isatty(STDOUT_FILENO) == 1);
  int code = kExitDone;
  auto fail = [&](const absl::Status& error) {
    progress.Clear();
    return Report(common, error);
  };
  while (!Interrupted() && writer.records() != options.count) {
    absl::StatusOr<PollResult> polled = consumer.Poll(milliseconds(0));
    if (polled.ok() && polled->empty()) {  // about to wait: what was read must not wait with us
      if (!writer.Flush() || writer.closed()) return code;
      polled = consumer.Poll(kPollWait);
    }
    if (!polled.ok()) {
      code = fail(polled.status());
      if (AllEnded(consumer)) return code;
      continue;
    }
    if (polled->empty()) {
      if (absl::Status gone = watch.Look(); !gone.ok()) return fail(gone);
      continue;
    }
    watch.Seen();
    for (const Gap& gap : polled->gaps) code = ReportGap(common, gap);
    for (const ConsumerRecord& record : polled->records) {
      if (!writer.Write(record)) return code;
      if (writer.records() == options.count) break;
    }
    progress.Show([&] { return FormatCountOf(writer.records(), "record"); });
    if (polled->end) break;
  }
  return code;
}

// A member of a group. Commits what was written out, and nothing else: before a partition is let go, now and then, and at the end.
class Member {
 public:
  Member(const Common& common, const ConsumeOptions& options, Admin& admin)
      : common_(common), options_(options), admin_(admin), writer_(common, options) {}

  int Run() {
    absl::StatusOr<std::unique_ptr<Consumer>> consumer = Consumer::Create(Settings());
    if (!consumer.ok()) return ReportOptions(common_, consumer.status());
    consumer_ = std::move(*consumer);
    // A member would wait for them: who mistyped the topic or the address is told, or does not become one.
    absl::Status there = watch_.LookNow();
    if (there.ok()) there = consumer_->Subscribe({.topics = {options_.topic}});
    if (!there.ok()) return ReportTopicError(common_, there, options_.topic);
    subscribed_ = true;
    DeferInterrupts();
    Copy();
    Commit();
    if (absl::Status left = consumer_->Close(); !left.ok()) Fail(left);
    if (writer_.closed()) return kExitDone;
    if (!writer_.status().ok()) return Report(common_, writer_.status());
    if (Interrupted()) return kExitInterrupted;
    return code_ != kExitDone && writer_.records() > 0 ? kExitPartly : code_;
  }

 private:
  ConsumerOptions Settings() {
    ConsumerOptions settings;
    settings.client = common_.Client();
    settings.on_gap = OnGap::kReport;
    settings.max_poll_records = kPollRecords;
    settings.group_id = *options_.group;
    settings.auto_commit = false;
    if (options_.session_timeout) {
      settings.session_timeout = std::chrono::duration_cast<milliseconds>(*options_.session_timeout);
    }
    settings.on_assigned = [this](std::span<const TopicPartition> partitions) { OnAssigned(partitions); };
    settings.on_revoked = [this](std::span<const TopicPartition>) { Commit(); };
    settings.on_lost = [this](std::span<const TopicPartition> partitions) { OnLost(partitions); };
    return settings;
  }

  void Fail(const absl::Status& error) { code_ = ReportTopicError(common_, error, options_.topic); }

  // --from is for partitions of which nothing is committed.
  void OnAssigned(std::span<const TopicPartition> partitions) {
    if (!options_.from) return;
    absl::StatusOr<std::vector<CommittedOffset>> committed = consumer_->Committed(partitions);
    if (!committed.ok()) return (void)Report(common_, committed.status());
    for (const CommittedOffset& each : *committed) {
      if (each.offset < 0) consumer_->Seek({each.topic, each.partition}, *options_.from).IgnoreError();
    }
  }

  // What was written out of them and not committed comes again at their heir; after a reset, it must not be committed.
  void OnLost(std::span<const TopicPartition> partitions) {
    for (const TopicPartition& lost : partitions) written_.erase(lost);
    const std::optional<Trouble> trouble = consumer_->trouble();
    // Without one it is over, whatever it was: this member is back already.
    const std::string why =
        trouble ? ErrorFrom(trouble->status).message
                : "their positions were reset, or the group had taken this member for gone; reading goes on where the "
                  "group has come";
    Remark(common_,
           absl::StrCat("gave up ", FormatCountOf(static_cast<int64_t>(partitions.size()), "partition"), ": ", why));
  }

  void Copy() {
    while (!Interrupted() && writer_.records() != options_.count) {
      absl::StatusOr<PollResult> polled = consumer_->Poll(kPollWait);
      if (!polled.ok()) return Fail(polled.status());
      for (const Gap& gap : polled->gaps) code_ = ReportGap(common_, gap);
      for (const ConsumerRecord& record : polled->records) {
        if (!writer_.Write(record)) return;
        written_[{std::string(record.topic), record.partition}] = record.offset + 1;
        if (writer_.records() == options_.count) break;
      }
      if (!polled->empty()) watch_.Seen();
      if (polled->empty() && !WaitsOn()) return;
      if (std::chrono::steady_clock::now() - committed_at_ > kCommitEvery && !Commit()) return;
    }
  }

  // Nothing came. False: nothing will, or nobody reads it.
  bool WaitsOn() {
    if (!writer_.Flush() || writer_.closed()) return false;
    const bool silent = watch_.Silent();
    if (absl::Status wrong = watch_.Look(); !wrong.ok()) {
      Fail(wrong);
      return false;
    }
    if (!options_.no_follow) return true;
    const std::vector<PartitionProgress> held = consumer_->progress();
    if (!held.empty()) return !AtTheEnd(held);
    if (silent) {
      Remark(common_, absl::StrCat("no partition was assigned to this member; see who has them with: millrace group "
                                   "describe ",
                                   *options_.group));
    }
    return !silent;
  }

  static bool AtTheEnd(const std::vector<PartitionProgress>& partitions) {
    return std::ranges::all_of(partitions, [](const PartitionProgress& each) {
      return each.position >= 0 && each.position >= each.high_watermark;
    });
  }

  // No broker, no topic, or nobody who assigns or has the records.
  absl::Status WhatIsWrong() {
    absl::Status answer = admin_.GetMetadata({options_.topic}).status();
    if (!answer.ok() || !subscribed_) return answer;
    if (const std::optional<Trouble> trouble = consumer_->trouble()) return trouble->status;
    // A coordinator that nobody can name is no trouble of a member that waits to hear of one.
    return consumer_->progress().empty() ? admin_.DescribeGroup(*options_.group).status() : absl::OkStatus();
  }

  // False: it was not written out, or could not be committed.
  bool Commit() {
    committed_at_ = std::chrono::steady_clock::now();
    if (!writer_.Flush()) return false;
    std::vector<CommittedOffset> offsets;
    for (const auto& [where, next] : std::exchange(written_, {})) {
      offsets.push_back({.topic = where.topic, .partition = where.partition, .offset = next});
    }
    if (offsets.empty()) return true;
    absl::Status committed = consumer_->Commit(offsets);
    if (committed.ok()) return true;
    const ErrorCode code = ErrorFrom(committed).code;
    if (code == ErrorCode::kUnknownMemberId || code == ErrorCode::kFencedMemberEpoch) {
      Remark(common_,
             absl::StrCat("some partitions were given up with records that were written out and not committed: ",
                          ErrorFrom(committed).message));
      return true;
    }
    Fail(committed);
    return false;
  }

  static constexpr std::chrono::seconds kCommitEvery{1};

  const Common& common_;
  const ConsumeOptions& options_;
  Admin& admin_;
  RecordWriter writer_;
  Watch watch_{common_, options_, [this] { return WhatIsWrong(); }};
  std::unique_ptr<Consumer> consumer_;
  bool subscribed_ = false;
  std::map<TopicPartition, int64_t> written_;  // the next offset of each, not committed yet
  std::chrono::steady_clock::time_point committed_at_ = std::chrono::steady_clock::now();
  int code_ = kExitDone;
};

int Consume(const Common& common, const ConsumeOptions& options) {
  if (std::string wrong = Contradiction(common, options); !wrong.empty()) return ReportUsage(common, wrong);
  absl::StatusOr<std::unique_ptr<Admin>> admin = Admin::Create(common.Client());
  if (!admin.ok()) return ReportOptions(common, admin.status());
  if (options.group) return Member(common, options, **admin).Run();
  ConsumerOptions consumer_options;
  consumer_options.client = common.Client();
  consumer_options.on_gap = OnGap::kReport;
  consumer_options.max_poll_records = kPollRecords;
  absl::StatusOr<std::unique_ptr<Consumer>> consumer = Consumer::Create(consumer_options);
  if (!consumer.ok()) return ReportOptions(common, consumer.status());
  Range range = FindRange(common, **admin, options);
  if (range.assignments.empty()) return range.code;
  absl::Status assigned = (*consumer)->Assign(std::move(range.assignments));
  if (!assigned.ok()) return ReportTopicError(common, assigned, options.topic);

  DeferInterrupts();
  RecordWriter writer(common, options);
  Watch watch(common, options, [&] { return (*admin)->GetMetadata({options.topic}).status(); });
  int code = Copy(common, options, **consumer, watch, writer);
  if (!writer.Flush()) return writer.closed() ? kExitDone : Report(common, writer.status());
  if (Interrupted()) return kExitInterrupted;
  if (code == kExitDone) code = range.code;
  if (code != kExitDone && writer.records() > 0) return kExitPartly;
  if (code == kExitDone && range.cut_at_the_end && writer.records() != options.count) {
    Remark(common, absl::StrCat(FormatCountOf(writer.records(), "record"),
                                "; stopped at the high watermark seen at the start, --follow waits for more"));
  }
  return code;
}

}  // namespace

void AddConsumeCommand(CLI::App& app, const Common& common, Run& run) {
  CLI::App& consume = AddLeaf(app, "consume", "Write a topic's records to standard output", kFooter);
  ConsumeOptions& o = AddCommand(consume, run, Consume, common);
  AddTopicName(consume, "TOPIC", o.topic);
  AddRepeated(
      consume, "-p,--partition",
      [](std::string_view text) { return ParseInteger(text, 0, std::numeric_limits<int32_t>::max()); },
      [&o](int64_t partition) { o.partitions.push_back(static_cast<int32_t>(partition)); }, "P",
      "Read only this partition");
  AddParsed(consume, "-o,--from", o.from, ParsePosition, "POSITION", "Where to begin (default beginning)");
  AddParsed(consume, "--until", o.until, ParsePosition, "POSITION",
            "Where to stop, exclusive (default: the end as it is now)");
  AddNumber(consume, "-n,--count", o.count, 0, "Stop after so many records");
  consume
      .add_option("-g,--group", o.group,
                  "Share the topic with this group's members; --from is where nothing is committed")
      ->type_name("GROUP");
  AddParsed(consume, "--session-timeout", o.session_timeout, ParseDuration, "DURATION",
            "Silent for so long, a member loses its partitions (default 10s)");
  consume.add_flag("--follow", o.follow, "Wait for more at the end, until Ctrl-C; implied by --group and --from end");
  consume.add_flag("--no-follow", o.no_follow, "Stop at the end also with --group and --from end");
  AddParsed(consume, "-f,--format", o.format, RecordFormat::Compile, "FORMAT",
            "How to write a record (default '%v\\n')");
  consume.add_flag("--length-prefixed", o.length_prefixed, "Values as they are, each behind its length");
}

}  // namespace millrace::cli
