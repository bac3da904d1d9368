#include "server/partition.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "server/errors.h"

namespace millrace::server {
namespace {

using raft::Entry;
using raft::EntryType;
using raft::Offset;
using v1::Error;

// How many appends may have to be read again at a start to bring the producer table up to date.
constexpr int kAppendsBetweenSaves = 256;
// The saved table covers entries up to this index.
constexpr std::string_view kProducersUpToKey = "producers-up-to";
constexpr size_t kReplayBytes = 4 << 20;

}  // namespace

Partition::Partition(PartitionName name, raft::GroupId group, raft::Term leader_epoch,
                     std::shared_ptr<const TopicConfig> config, raft::LogStore& store, LogWriter& writer,
                     Executor& executor, const Clock& clock)
    : name_(std::move(name)),
      group_(group),
      leader_epoch_(leader_epoch),
      store_(store),
      writer_(writer),
      executor_(executor),
      clock_(clock),
      config_(std::move(config)) {}

absl::Status Partition::Open() {
  if (open_) return absl::OkStatus();
  absl::StatusOr<raft::LogState> state = store_.Open(group_);
  if (!state.ok()) return state.status();
  store_.SetLimits(group_, {config_->segment_bytes, config_->SegmentMillis()});
  if (absl::Status status = RebuildProducers(*state); !status.ok()) return status;
  last_index_ = state->last_index;
  log_start_ = state->log_start;
  log_end_ = state->log_end;
  high_watermark_ = log_end_;  // with one replica, what recovery found is committed
  last_append_time_ = state->last_append_time;
  open_ = true;
  return absl::OkStatus();
}

absl::Status Partition::RebuildProducers(const raft::LogState& state) {
  auto values = store_.Values(group_);
  if (!values.ok()) return values.status();
  raft::LogIndex next = state.first_index;
  for (const auto& [key, value] : *values) {
    int64_t up_to = 0;
    if (key == kProducersUpToKey && absl::SimpleAtoi(value, &up_to)) {
      next = std::max(next, raft::LogIndex(up_to + 1));
    } else {
      producers_.Load(key, value);
    }
  }
  while (next <= state.last_index) {
    absl::StatusOr<std::vector<Entry>> entries = store_.ReadEntries(group_, next, state.last_index, kReplayBytes);
    if (!entries.ok()) return entries.status();
    if (entries->empty()) break;
    for (const Entry& entry : *entries) {
      next = entry.header.index + 1;
      if (entry.header.type != EntryType::kRecords) continue;
      absl::StatusOr<BatchView> batch = ParseBatch(entry.payload);
      if (!batch.ok()) continue;  // damaged: its readers are told; its producer cannot be known
      if (batch->header.producer_id != 0) {
        producers_.Update(batch->header, entry.header.base_offset, entry.header.append_time);
      }
    }
  }
  return absl::OkStatus();
}

void Partition::Append(ValidBatch batch, Acks acks, AppendDone done) {
  AppendOutcome outcome;
  outcome.leader_epoch = leader_epoch_;
  outcome.crc_computed = batch.crc_computed;
  if (closed_) {
    outcome.error = GoneError();
    return Complete(std::move(outcome), acks, done);
  }
  if (absl::Status status = Open(); !status.ok()) {
    outcome.error = ErrorFromStatus(status);
    return Complete(std::move(outcome), acks, done);
  }
  const BatchHeader& header = batch.header;
  if (header.producer_id != 0 && !CheckProducer(header, &outcome, &outcome.duplicate)) {
    return Complete(std::move(outcome), acks, done);
  }
  if (outcome.duplicate) {
    // The original may not be durable yet; whatever is staged after it is durable after it.
    WhenCommitted(
        [self = shared_from_this(), outcome, acks, done = std::move(done)] { self->Complete(outcome, acks, done); });
    return;
  }

  Entry entry = NextEntry(EntryType::kRecords);
  entry.header.record_count = header.record_count;
  entry.header.max_timestamp = config_->timestamp_type == TimestampType::kLogAppendTime
                                   ? entry.header.append_time
                                   : header.EffectiveMaxTimestamp();
  entry.header.payload_crc = batch.crc;
  entry.payload = std::move(batch.bytes);
  outcome.base_offset = entry.header.base_offset;
  outcome.append_time = entry.header.append_time;
  const Offset end = entry.header.end_offset();
  if (header.producer_id != 0) producers_.Update(header, outcome.base_offset, outcome.append_time);
  Stage(std::move(entry));
  if (++appends_since_save_ >= kAppendsBetweenSaves) SaveProducers();
  WhenCommitted([self = shared_from_this(), outcome, end, acks, done = std::move(done)]() mutable {
    self->Advance(end);
    if (self->closed_) {
      outcome.error = self->GoneError();
      outcome.error.may_have_happened = true;
    }
    self->Complete(std::move(outcome), acks, done);
  });
}

// False: refused, outcome->error says why.
bool Partition::CheckProducer(const BatchHeader& header, AppendOutcome* outcome, bool* duplicate) const {
  using Verdict = ProducerTable::Verdict;
  const Verdict verdict = producers_.Check(header);
  const auto refuse = [&](ErrorCode code, std::string message) {
    outcome->error = MakeError(code, std::move(message));
    return false;
  };
  switch (verdict.kind) {
    case Verdict::kAppend:
      return true;
    case Verdict::kDuplicate:
      outcome->base_offset = verdict.base_offset;
      outcome->append_time = verdict.append_time;
      *duplicate = true;
      return true;
    case Verdict::kOldDuplicate:
      return refuse(
          Error::DUPLICATE_SEQUENCE_NUMBER,
          absl::StrCat("sequence ", header.base_sequence, " of producer ", header.producer_id,
                       " was stored before, longer ago than the last five batches; its offset is not known any more"));
    case Verdict::kOutOfOrder:
      return refuse(
          Error::OUT_OF_ORDER_SEQUENCE_NUMBER,
          absl::StrCat("producer ", header.producer_id, " sent sequence ", header.base_sequence, ", expected ",
                       verdict.expected_sequence, "; an earlier batch was lost, resend from there in order"));
    case Verdict::kFenced:
      return refuse(Error::INVALID_PRODUCER_EPOCH,
                    absl::StrCat("producer ", header.producer_id, " has epoch ", header.producer_epoch, ", but epoch ",
                                 verdict.current_epoch, " is in use; close this producer"));
    case Verdict::kUnknown:
      return refuse(Error::UNKNOWN_PRODUCER_ID,
                    absl::StrCat("producer ", header.producer_id,
                                 " is not known to this partition and does not begin at "
                                 "sequence 0; get a new id with InitProducer and begin at 0"));
  }
  MILLRACE_CHECK(false) << "verdict " << static_cast<int>(verdict.kind);
  return false;
}

Entry Partition::NextEntry(EntryType type) {
  Entry entry;
  entry.header.type = type;
  entry.header.term = leader_epoch_;
  entry.header.index = last_index_ + 1;
  entry.header.base_offset = log_end_;
  entry.header.append_time = std::max<int64_t>(clock_.Wall(), last_append_time_);  // never back: ARCHITECTURE D17
  entry.header.max_timestamp = entry.header.append_time;
  return entry;
}

void Partition::Stage(Entry entry) {
  last_index_ = entry.header.index;
  log_end_ = entry.header.end_offset();
  last_append_time_ = entry.header.append_time;
  writer_.round().Append(group_, std::move(entry));
}

void Partition::SaveProducers() {
  appends_since_save_ = 0;
  raft::Round& round = writer_.round();
  for (const auto& [key, value] : producers_.TakeChanges()) {
    if (value.empty()) {
      round.DeleteValue(group_, key);
    } else {
      round.PutValue(group_, key, value);
    }
  }
  round.PutValue(group_, kProducersUpToKey, std::to_string(last_index_.value()));
}

void Partition::WhenCommitted(std::function<void()> then) {
  if (config_->flush == FlushPolicy::kCommit) {
    writer_.OnDurable(std::move(then));
  } else {
    writer_.OnWritten(std::move(then));
  }
}

void Partition::Advance(Offset committed) {
  if (committed <= high_watermark_) return;
  high_watermark_ = committed;
  MILLRACE_CHECK(high_watermark_ <= log_end_) << name_.topic << '/' << name_.partition;
  NotifyWaiters();
}

void Partition::NotifyWaiters() {
  std::vector<std::shared_ptr<Waiter>> waiters;
  waiters.swap(waiters_);
  for (auto& waiter : waiters) waiter->OnPartitionAdvanced();
}

void Partition::Complete(AppendOutcome outcome, Acks acks, const AppendDone& done) const {
  if (done == nullptr) return;
  if (!outcome.error.ok()) {
    outcome.error.topic = name_.topic;
    outcome.error.partition = name_.partition;
  } else if (config_->flush == FlushPolicy::kCommit) {
    outcome.durability = acks == Acks::kLeader ? Durability::kLeaderDisk : Durability::kQuorumDisk;
  } else {
    outcome.durability = acks == Acks::kLeader ? Durability::kLeaderMemory : Durability::kQuorumMemory;
  }
  outcome.log_start = log_start_;
  outcome.high_watermark = high_watermark_;
  done(outcome);
}

void Partition::Trim(Offset before, TrimDone done) {
  if (closed_) return done(GoneError(), log_start_);
  if (absl::Status status = Open(); !status.ok()) return done(ErrorFromStatus(status), log_start_);
  if (before > high_watermark_) {
    ErrorFrame error = MakeError(Error::OFFSET_OUT_OF_RANGE, name_.topic, name_.partition,
                                 absl::StrCat("cannot trim before offset ", before.value(), ": the partition ends at ",
                                              high_watermark_.value()));
    error.log_start_offset = log_start_.value();
    error.high_watermark = high_watermark_.value();
    return done(error, log_start_);
  }
  if (before <= log_start_) return done({}, log_start_);
  // The new start travels in the log, so that replicas follow the leader's decision and not their own clocks.
  Entry entry = NextEntry(EntryType::kLogStart);
  entry.payload = absl::Cord(std::to_string(before.value()));
  Stage(std::move(entry));
  writer_.round().SetLogStart(group_, before);
  log_start_ = before;
  writer_.OnDurable([self = shared_from_this(), before, done = std::move(done)] {
    self->NotifyWaiters();
    done({}, before);
  });
}

bool Partition::ReadCached(Offset from, size_t bytes_max, std::vector<Entry>* entries) {
  return store_.ReadCached(group_, from, high_watermark_, bytes_max, entries);
}

void Partition::AddWaiter(std::shared_ptr<Waiter> waiter) { waiters_.push_back(std::move(waiter)); }

void Partition::RemoveWaiter(const Waiter* waiter) {
  std::erase_if(waiters_, [waiter](const auto& held) { return held.get() == waiter; });
}

void Partition::SetConfig(std::shared_ptr<const TopicConfig> config) {
  config_ = std::move(config);
  if (open_) store_.SetLimits(group_, {config_->segment_bytes, config_->SegmentMillis()});
}

void Partition::Close() {
  closed_ = true;
  NotifyWaiters();
}

int64_t Partition::bytes() const { return open_ ? store_.State(group_).bytes : 0; }

ErrorFrame Partition::GoneError() const {
  return MakeError(Error::UNKNOWN_TOPIC_OR_PARTITION, name_.topic, name_.partition, "the topic was deleted");
}

}  // namespace millrace::server
