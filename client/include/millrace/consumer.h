// Reads records from topics.
//
//     auto consumer = millrace::Consumer::Create({});  // 127.0.0.1:9470
//     if (!consumer.ok()) return consumer.status();
//     absl::Status assigned = (*consumer)->Assign({{.topic = "orders", .until = millrace::Position::End()}});
//     for (const auto& record : **consumer) Process(record.key, record.value);
//     return (*consumer)->status();  // OK: everything up to the end was read
//
// Batches are pushed by the brokers as they appear and wait in memory, up to fetch.max.bytes; giving them to the
// application asks for more. Records of one partition come in offset order; partitions take turns batch by batch. The
// library reconnects and goes on where it was when a broker restarts or a leader moves, without repeating or skipping a
// record.
//
// Thread safety: one thread at a time, but for Wakeup(), which any thread may call.
// To follow several topics at once, assign them together: consumers that are assigned the same partition each read all of it.
// Members of a group share the partitions instead, and the group's position survives them all:
//
//     auto consumer = millrace::Consumer::Create({.group_id = "payment"});
//     absl::Status joined = (*consumer)->Subscribe({.topics = {"orders"}});
//     for (const auto& record : **consumer) Charge(*record.value);     // committed as handled, every auto.commit.interval.ms
//
// Each record is handled at least once: what was handled and not yet committed when a member dies comes again at its heir.
// Ownership: records and gaps point into the consumer's memory until the next call of Poll(), step of iteration,
// Assign() or Seek(). OwnedRecord keeps a copy.
// Errors: what a retry mends is retried inside, for ever; trouble() tells a broker that cannot be reached from a topic
// without news. The rest comes out of Poll(), or ends the iteration with status():
//   kOffsetOutOfRange         the position is not in the log (any more); with on.gap=report a Gap comes instead
//   kUnknownTopicOrPartition  the topic was deleted, or made anew (kUnknownTopicId)
//   kCorruptMessage           a batch is damaged; with on.gap=report a Gap comes instead
//   kUnsupportedVersion       a batch was made by a later release of the library: use that one
// They concern one partition, named in the error, which stops until Seek(); the next Poll() goes on with the others.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/error.h"
#include "millrace/options.h"
#include "millrace/record.h"

namespace millrace {

// A place in a partition, found when reading begins.
class Position {
 public:
  enum class Kind { kBeginning, kEnd, kOffset, kTime, kBeforeEnd, kAgo };

  // The first record there is.
  static Position Beginning() { return Position(Kind::kBeginning, 0); }
  // Behind the last record there is (the high watermark).
  static Position End() { return Position(Kind::kEnd, 0); }
  static Position Offset(int64_t offset) { return Position(Kind::kOffset, offset); }
  // The first record, in offset order, whose time is `unix_ms` or later; the end if there is none.
  static Position Time(int64_t unix_ms) { return Position(Kind::kTime, unix_ms); }
  // So many records before the end, but not before the beginning.
  static Position BeforeEnd(int64_t records) { return Position(Kind::kBeforeEnd, records); }
  // Time(now - duration).
  static Position Ago(std::chrono::milliseconds duration) { return Position(Kind::kAgo, duration.count()); }

  Kind kind() const { return kind_; }
  // Offset, milliseconds since 1970, record count or milliseconds, as kind() says.
  int64_t value() const { return value_; }
  bool operator==(const Position&) const = default;

 private:
  Position(Kind kind, int64_t value) : kind_(kind), value_(value) {}
  Kind kind_;
  int64_t value_;
};

// What to read.
struct Assignment {
  std::string topic = {};
  // Unset: all of the topic's; partitions added later are then read from their beginning (unless `until` is set).
  std::optional<int32_t> partition = {};
  // Where to begin; unset: as auto.offset.reset says.
  std::optional<Position> from = {};
  // Where to stop, exclusive: found once, when reading begins. End() is "what is there now". Unset: never.
  std::optional<Position> until = {};
};

// What a member of a group reads. Topics that are not there yet are waited for; partitions that are added are shared, too.
struct Subscription {
  std::vector<std::string> topics = {};
  std::string pattern = {};  // of whole names, in RE2's syntax (https://github.com/google/re2/wiki/Syntax)
};

// How far a group has come in a partition.
struct CommittedOffset {
  std::string topic = {};
  int32_t partition = 0;
  int64_t offset = -1;  // of the next record to be handled; -1: none
  int32_t leader_epoch = 0;
  std::string metadata = {};  // up to 4,096 bytes of UTF-8, for people
  int64_t commit_time = 0;    // milliseconds since 1970; set by the coordinator
};

// What Poll() found. Empty when the time-out passed.
struct PollResult {
  std::span<const ConsumerRecord> records;  // of one partition, in offset order
  std::span<const Gap> gaps;                // come before `records`; only with on.gap=report
  bool end = false;                         // every partition has reached its `until`: nothing will come any more

  bool empty() const { return records.empty() && gaps.empty() && !end; }
};

// What becomes of a record: OK, it was handled.
using Handler = std::function<absl::Status(const ConsumerRecord&)>;

// What Run() does about damaged batches: end with kCorruptMessage, or go on behind them (needs on.gap=report).
enum class OnCorrupt { kStop, kSkip };

struct RunOptions {
  int attempts = 3;                               // of each record; at least 1
  std::chrono::milliseconds backoff{100};         // before the second one; doubles with each
  std::chrono::milliseconds backoff_max{10'000};  // up to this
  // Where a record goes that has failed so often: with its key, value, time and headers, and the headers millrace.origin.topic,
  // millrace.origin.partition, millrace.origin.offset, millrace.error and millrace.attempts. Empty: Run() ends with its error.
  std::string dead_letter_topic = {};
  OnCorrupt on_corrupt = OnCorrupt::kStop;
};

// Where a partition's reader is.
struct PartitionProgress {
  std::string topic;
  int32_t partition = 0;
  int64_t position = -1;          // offset of the record that comes next; -1: not known yet
  int64_t high_watermark = -1;    // as last heard: the lag is high_watermark - position; -1: not known yet
  int64_t log_start_offset = -1;  // as last heard
  std::optional<int64_t> until;   // as found when reading began
  bool ended = false;             // at `until`, or stopped by an error
  bool paused = false;
};

// What keeps records from coming, while the library goes on trying.
struct Trouble {
  absl::Status status;  // the last failure: where, why, what to do
  int64_t since = 0;    // when it began, in milliseconds since 1970
};

// Totals since the consumer was made.
struct ConsumerCounters {
  int64_t records = 0;           // given to the application
  int64_t bytes = 0;             // their keys and values
  int64_t batches = 0;           // received
  int64_t batch_bytes = 0;       // as received, compressed or not
  int64_t filtered_records = 0;  // read and dropped by header.filters
  int64_t gap_records = 0;       // missing, as gaps told
  int64_t reconnects = 0;        // connections that broke after they had worked
};

class Consumer {
 public:
  // Steps through records, polling for more when it has to. See begin().
  class Iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = ConsumerRecord;
    using difference_type = std::ptrdiff_t;

    const ConsumerRecord& operator*() const { return *next_; }
    const ConsumerRecord* operator->() const { return next_; }
    Iterator& operator++() {
      // Not there: Seek() or Pause() dropped what is left.
      if (consumer_->iterated_ == nullptr || ++next_ == last_) Refill();
      consumer_->iterated_ = next_;
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return next_ == last_; }

   private:
    friend class Consumer;
    explicit Iterator(Consumer* consumer);
    void Refill();

    Consumer* consumer_;
    const ConsumerRecord* next_ = nullptr;
    const ConsumerRecord* last_ = nullptr;
  };

  // Does not wait for a broker. kInvalidConfig: an option is out of bounds.
  static absl::StatusOr<std::unique_ptr<Consumer>> Create(ConsumerOptions options);

  virtual ~Consumer() = default;
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;

  // Reads these and nothing else from now on. Finds the partitions and every `until`; waits for that, at most
  // request.timeout.ms. With a group.id, partitions without `from` begin where the group has committed; the consumer is no member
  // for that, and commits (enable.auto.commit) as long as the group has none. Errors: kUnknownTopicOrPartition, kNetworkException,
  // kRequestTimedOut, kInvalidRequest (a partition named twice); nothing is assigned then.
  virtual absl::Status Assign(std::vector<Assignment> assignments) = 0;

  // Joins the group group.id, and reads what its coordinator assigns to this member, from where the group has come. Does not
  // wait: Poll() has the records, and the errors (kFencedInstanceId: another process has come with this group.instance.id;
  // kInvalidRegularExpression; kGroupMaxSizeReached), which end the membership. Called again: another subscription, another member.
  virtual absl::Status Subscribe(Subscription subscription) = 0;

  // Stores how far this consumer has come: all that Poll() has given, or, of that, what an iteration or Run() has reached, the record
  // in hand included; or what is named. Waits for that, at most request.timeout.ms. Each partition is stored by itself; the error is
  // that of the first that was not, and may_have_happened is set if others were. Errors: kInvalidRequest (no group.id, a negative
  // offset), kFencedMemberEpoch and kUnknownMemberId (the partition is not this member's any more, or somebody has reset its position;
  // or the group has members and this is none), kOffsetOutOfRange (behind the end), kUnknownTopicOrPartition, kUnknownTopicId (the
  // topic was made anew), kInvalidCommitOffsetSize (the metadata), kRequestTimedOut.
  virtual absl::Status Commit() = 0;
  virtual absl::Status Commit(std::span<const CommittedOffset> offsets) = 0;
  // Does not wait; `done` is told on the library's thread, and may be empty.
  virtual void CommitAsync(std::function<void(const absl::Status&)> done) = 0;

  // What the group has committed of these partitions, in order; none named: all. Waits, at most request.timeout.ms.
  virtual absl::StatusOr<std::vector<CommittedOffset>> Committed(std::span<const TopicPartition> partitions = {}) = 0;

  // Commits what was handled (with enable.auto.commit) and leaves the group, so that others take over at once. The destructor does the
  // same. Nothing can be read afterwards. The error is the commit's.
  virtual absl::Status Close() = 0;

  // Goes on elsewhere in an assigned partition; also after an error there. What was received but not given out is
  // dropped.
  // kInvalidRequest: the partition is not assigned. Does not wait: a position that is not in the log is told by Poll().
  virtual absl::Status Seek(const TopicPartition& partition, Position position) = 0;

  // Waits up to `timeout` for records of some partition, or other news. Errors: see above; kCancelled after Wakeup();
  // kInvalidRequest when nothing is assigned.
  virtual absl::StatusOr<PollResult> Poll(std::chrono::milliseconds timeout) = 0;

  // Gives nothing of these partitions until Resume(), and fetches nothing: what was received is dropped and comes again
  // afterwards. None named: all. kInvalidRequest: a partition is not assigned; nothing is changed then.
  virtual absl::Status Pause(std::span<const TopicPartition> partitions = {}) = 0;
  virtual absl::Status Resume(std::span<const TopicPartition> partitions = {}) = 0;

  // Hands every record to `handler`, until Wakeup() (OK), or every partition has reached its `until`, or an error. A record that
  // the handler fails is given to it again after a pause, in which the other partitions go on and its own waits; after so many
  // attempts it is set aside, acked, before anything behind it is handled. In a group, what was handled or set aside is committed
  // (enable.auto.commit); a record may come again after a failure of this process, or when its partition moves meanwhile.
  virtual absl::Status Run(Handler handler, RunOptions options = {}) = 0;

  // Makes a waiting Poll(), or else the next one, return kCancelled. Any thread may call it.
  virtual void Wakeup() = 0;

  // All assigned partitions, in the order assigned.
  virtual std::vector<PartitionProgress> progress() const = 0;

  // Set while a partition that is to be read cannot be, for want of a broker or a leader; the longest such failure. It
  // is mended inside: this is for telling people, and for programs that would rather give up.
  virtual std::optional<Trouble> trouble() const = 0;

  virtual ConsumerCounters counters() const = 0;

  // Iteration: goes on where the last one was left, waits for records without limit, and ends when every partition reached its `until`, at the first error,
  // or after Wakeup(): status() tells which. Gap markers (on.gap=report) are passed over and counted in
  // counters().gap_records.
  Iterator begin() { return Iterator(this); }
  std::default_sentinel_t end() const { return {}; }

  // How the last iteration ended. OK: everything was read.
  const absl::Status& status() const { return status_; }

 protected:
  Consumer() = default;

  // The record that an iteration stands at: those before it in what the last Poll() gave were handled. Null: there is none.
  const ConsumerRecord* iterated_ = nullptr;
  const ConsumerRecord* iterated_end_ = nullptr;

 private:
  absl::Status status_;
};

}  // namespace millrace
