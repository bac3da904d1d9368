#include "client/offset_finder.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "client/control.h"
#include "client/status.h"

namespace millrace::client {
namespace {

// A partition that is between two leaders has one in a moment.
std::optional<Error> LeaderMissing(const absl::Cord& reply) {
  const auto listed = control::ParseListOffsets(reply);
  if (!listed.ok()) return std::nullopt;
  for (const control::BrokerOffsetAnswer& answer : *listed) {
    if (!answer.error.ok() && answer.error.retriable) return FromFrame(answer.error);
  }
  return std::nullopt;
}

// Kept alive by the callbacks of its calls.
class Search : public std::enable_shared_from_this<Search> {
 public:
  Search(ControlClient& control, std::vector<OffsetQuery> queries, std::chrono::nanoseconds timeout, OffsetsFound done)
      : control_(control), queries_(std::move(queries)), timeout_(timeout), done_(std::move(done)) {}

  void Start() {
    if (queries_.empty()) return done_(std::vector<OffsetAnswer>());
    std::vector<control::BrokerOffsetQuery> asked;
    for (const OffsetQuery& query : queries_) {
      const Position::Kind kind = query.at.kind();
      const bool as_is = kind == Position::Kind::kBeginning || kind == Position::Kind::kTime;
      asked.push_back({.topic = query.topic, .partition = query.partition, .at = as_is ? query.at : Position::End()});
    }
    control_.Call(control::kListOffsets, control::ListOffsetsRequest(asked),
                  {.timeout = timeout_, .repeat = Repeat::kSafe, .not_yet = LeaderMissing},
                  [self = shared_from_this()](absl::StatusOr<absl::Cord> reply) { self->OnListed(std::move(reply)); });
  }

 private:
  void OnListed(absl::StatusOr<absl::Cord> reply) {
    if (!reply.ok()) return done_(reply.status());
    auto listed = control::ParseListOffsets(*reply);
    if (!listed.ok()) return done_(listed.status());
    if (listed->size() != queries_.size()) {
      return done_(ToStatus({.code = ErrorCode::kInternal,
                             .message = "the broker answered " + std::to_string(listed->size()) + " of " +
                                        std::to_string(queries_.size()) + " questions for offsets"}));
    }
    waiting_ = 1;
    for (size_t i = 0; i < queries_.size(); ++i) {
      answers_.push_back(AnswerFrom((*listed)[i], queries_[i]));
    }
    for (size_t i = 0; i < queries_.size(); ++i) {
      const OffsetAnswer& answer = answers_[i];
      const bool inexact = queries_[i].at.kind() == Position::Kind::kTime && answer.offset < answer.high_watermark;
      if (answer.status.ok() && inexact) {
        ++waiting_;
        ReadOn(i);
      }
    }
    Finished();
  }

  static OffsetAnswer AnswerFrom(const control::BrokerOffsetAnswer& from, const OffsetQuery& query) {
    OffsetAnswer answer{.topic = query.topic,
                        .partition = query.partition,
                        .status = ToStatus(FromFrame(from.error)),
                        .offset = from.offset,
                        .leader_epoch = from.leader_epoch,
                        .log_start_offset = from.log_start_offset,
                        .high_watermark = from.high_watermark};
    if (query.at.kind() == Position::Kind::kOffset) answer.offset = query.at.value();
    if (query.at.kind() == Position::Kind::kBeforeEnd) {
      answer.offset = std::max(from.log_start_offset, from.high_watermark - query.at.value());
    }
    return answer;
  }

  // The first record at or after the time lies within the batch that begins at answers_[i].offset.
  void ReadOn(size_t i) {
    const OffsetAnswer& answer = answers_[i];
    control_.Call(
        control::kRead, control::ReadRequest(answer.topic, answer.partition, answer.offset),
        {.timeout = timeout_, .repeat = Repeat::kSafe},
        [self = shared_from_this(), i](absl::StatusOr<absl::Cord> reply) { self->OnRead(i, std::move(reply)); });
  }

  void OnRead(size_t i, absl::StatusOr<absl::Cord> reply) {
    OffsetAnswer& answer = answers_[i];
    absl::StatusOr<control::ReadAnswer> read =
        reply.ok() ? control::ParseRead(*reply) : absl::StatusOr<control::ReadAnswer>(reply.status());
    if (!read.ok()) {
      // Everything before is earlier than the time; whoever reads from here is told of the damage.
      if (ErrorFrom(read.status()).code != ErrorCode::kCorruptMessage) answer.status = read.status();
      return Finished();
    }
    for (const auto& record : read->records) {
      if (record.timestamp >= queries_[i].at.value()) {
        answer.offset = record.offset;
        return Finished();
      }
    }
    const bool stuck = read->next_offset <= answer.offset;
    answer.offset = std::max(answer.offset, read->next_offset);
    if (stuck || answer.offset >= answer.high_watermark) return Finished();
    ReadOn(i);
  }

  void Finished() {
    if (--waiting_ == 0) done_(std::move(answers_));
  }

  ControlClient& control_;
  const std::vector<OffsetQuery> queries_;
  const std::chrono::nanoseconds timeout_;
  const OffsetsFound done_;
  std::vector<OffsetAnswer> answers_;
  size_t waiting_ = 0;
};

}  // namespace

void FindOffsets(ControlClient& control, std::vector<OffsetQuery> queries, int64_t now,
                 std::chrono::nanoseconds timeout, OffsetsFound done) {
  for (OffsetQuery& query : queries) {
    if (query.at.kind() == Position::Kind::kAgo) query.at = Position::Time(now - query.at.value());
  }
  std::make_shared<Search>(control, std::move(queries), timeout, std::move(done))->Start();
}

}  // namespace millrace::client
