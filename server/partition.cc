#include "server/partition.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "server/errors.h"
#include "server/log.h"
#include "server/retention_rule.h"

namespace millrace::server {
namespace {

using raft::Entry;
using raft::EntryType;
using raft::Offset;
using v1::Error;

// How much may have to be read again at the first use after a start to bring the producer table up to date.
constexpr int64_t kUnsavedEntriesMax = 256;
constexpr int64_t kUnsavedBytesMax = 8 << 20;
// The saved table covers entries up to this index.
constexpr std::string_view kProducersUpToKey = "producers-up-to";
constexpr size_t kReplayBytes = 4 << 20;

Durability DurabilityOf(FlushPolicy flush, Acks acks) {
  if (flush == FlushPolicy::kCommit) return acks == Acks::kLeader ? Durability::kLeaderDisk : Durability::kQuorumDisk;
  return acks == Acks::kLeader ? Durability::kLeaderMemory : Durability::kQuorumMemory;
}

}  // namespace

Partition::Partition(PartitionName name, raft::GroupId group, raft::Term leader_epoch,
                     std::shared_ptr<const TopicConfig> config, const Host& host)
    : name_(std::move(name)), group_(group), leader_epoch_(leader_epoch), host_(host), config_(std::move(config)) {}

absl::Status Partition::Open() {
  if (open_ && !closed_) return absl::OkStatus();
  if (closed_) return absl::NotFoundError("the topic was deleted");
  absl::StatusOr<raft::LogState> state = host_.store.Open(group_);
  if (!state.ok()) return state.status();
  const std::shared_ptr<const TopicConfig> config = config_.load();
  host_.store.SetLimits(group_, {config->SegmentBytes(), config->SegmentMillis()});
  if (absl::Status status = RebuildProducers(*state); !status.ok()) return status;
  tail_ = LogTail(*state);
  log_start_ = state->log_start;
  high_watermark_ = tail_.end();  // with one replica, what recovery found is committed
  open_ = true;
  read_only_ = state->read_only;
  if (read_only_) {
    MILLRACE_LOG(kError, "the end of a partition is damaged; what is below is served, nothing can be appended",
                 {"topic", name_.topic}, {"partition", name_.partition}, {"offset", tail_.end().value()});
  }
  return absl::OkStatus();
}

absl::Status Partition::RebuildProducers(const raft::LogState& state) {
  auto values = host_.store.Values(group_);
  if (!values.ok()) return values.status();
  raft::LogIndex next = state.first_index;
  for (const auto& [key, value] : *values) {
    int64_t up_to = 0;
    if (key == kProducersUpToKey && absl::SimpleAtoi(value, &up_to)) {
      next = std::max(next, raft::LogIndex(up_to + 1));
    } else if (ProducerTable::IsKey(key)) {
      if (absl::Status status = producers_.Load(key, value); !status.ok()) return status;
    }
  }
  while (next <= state.last_index) {
    absl::StatusOr<std::vector<Entry>> entries = host_.store.ReadEntries(group_, next, state.last_index, kReplayBytes);
    if (absl::IsDataLoss(entries.status())) {  // of the entry `next` alone
      LogDamaged(next, entries.status().ToString());
      ++next;
      continue;
    }
    if (!entries.ok()) return entries.status();
    if (entries->empty()) break;
    ReplayProducers(*entries);
    next = entries->back().header.index + 1;
  }
  return absl::OkStatus();
}

void Partition::ReplayProducers(const std::vector<Entry>& entries) {
  for (const Entry& entry : entries) {
    if (entry.header.type != EntryType::kRecords) continue;
    CountUnsaved(entry);
    absl::StatusOr<BatchView> batch = ParseBatch(entry.payload);
    // What cannot be trusted tells nothing of its producer: a wrong sequence would make the next batch a repeat, acked and lost.
    if (!batch.ok() || ComputeBatchCrc(batch->header, batch->payload) != entry.header.payload_crc) {
      LogDamaged(entry.header.index, "its checksum does not match");
      continue;
    }
    if (batch->header.producer_id != 0) {
      producers_.Update(batch->header, entry.header.base_offset, entry.header.append_time);
    }
  }
}

void Partition::LogDamaged(raft::LogIndex entry, const std::string& status) const {
  MILLRACE_LOG(kError, "a stored batch is damaged; readers are told, everything else goes on", {"topic", name_.topic},
               {"partition", name_.partition}, {"entry", entry.value()}, {"status", status});
}

void Partition::CountUnsaved(const Entry& entry) {
  ++unsaved_entries_;
  unsaved_bytes_ += static_cast<int64_t>(entry.payload.size());
}

ErrorFrame Partition::ErrorOf(const absl::Status& status) const {
  ErrorFrame error = ErrorFromStatus(status);
  error.topic = name_.topic;
  error.partition = name_.partition;
  return error;
}

void Partition::Append(ValidBatch batch, Acks acks, AppendDone done) {
  AppendOutcome outcome;
  outcome.leader_epoch = leader_epoch_;
  outcome.crc_computed = batch.crc_computed;
  if (closed_) {
    outcome.error = GoneError();
    return Complete(std::move(outcome), done);
  }
  if (absl::Status status = Open(); !status.ok()) {
    outcome.error = ErrorOf(status);
    return Complete(std::move(outcome), done);
  }
  if (read_only_) {
    outcome.error = ReadOnlyError();
    return Complete(std::move(outcome), done);
  }
  const std::shared_ptr<const TopicConfig> config = config_.load();
  outcome.durability = DurabilityOf(config->flush, acks);
  const BatchHeader& header = batch.header;
  if (Refuses(header, static_cast<int64_t>(batch.bytes.size()), &outcome)) return Complete(std::move(outcome), done);
  if (outcome.duplicate) {
    // The original may not be durable yet; whatever is staged after it is durable after it.
    WhenCommitted(config->flush,
                  [self = shared_from_this(), outcome, done = std::move(done)] { self->Complete(outcome, done); });
    return;
  }

  Entry entry = tail_.Next(EntryType::kRecords, leader_epoch_, host_.log_clock.AppendTime());
  entry.header.record_count = header.record_count;
  entry.header.max_timestamp = config->timestamp_type == TimestampType::kLogAppendTime ? entry.header.append_time
                                                                                       : header.EffectiveMaxTimestamp();
  entry.header.payload_crc = batch.crc;
  entry.payload = std::move(batch.bytes);
  outcome.base_offset = entry.header.base_offset;
  outcome.append_time = entry.header.append_time;
  const Offset end = entry.header.end_offset();
  if (header.producer_id != 0) producers_.Update(header, outcome.base_offset, outcome.append_time);
  CountUnsaved(entry);
  Stage(std::move(entry));
  if (unsaved_entries_ >= kUnsavedEntriesMax || unsaved_bytes_ >= kUnsavedBytesMax) SaveProducers();
  WhenCommitted(config->flush, [self = shared_from_this(), outcome, end, done = std::move(done)]() mutable {
    self->Advance(end);
    if (self->closed_) {
      outcome.error = self->GoneError();
      outcome.error.may_have_happened = true;
    }
    self->Complete(std::move(outcome), done);
  });
}

// True: outcome->error says why. Repeats of what is stored are not refused.
bool Partition::Refuses(const BatchHeader& header, int64_t bytes, AppendOutcome* outcome) const {
  if (header.producer_id != 0 && !CheckProducer(header, outcome, &outcome->duplicate)) return true;
  if (outcome->duplicate || !host_.disk_floor.Refuses(bytes)) return false;
  outcome->error = MakeError(
      Error::KAFKA_STORAGE_ERROR,
      absl::StrCat("the broker's disk has ", host_.disk_floor.free_bytes(), " bytes free, less than disk.free.floor (",
                   host_.disk_floor.floor_bytes(),
                   "): nothing was appended; make room (topic trim, topic delete, other files), retries then succeed"));
  return true;
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
      // An id that a producer made up would later be given to another one, whose records would then pass for repeats.
      if (verdict.first && header.producer_id >= host_.producer_ids_end) {
        return refuse(Error::UNKNOWN_PRODUCER_ID, absl::StrCat("producer id ", header.producer_id,
                                                               " was never given out; get one with InitProducer"));
      }
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

void Partition::Stage(Entry entry) {
  tail_.Advance(entry.header);
  host_.writer.round().Append(group_, std::move(entry));
}

void Partition::SaveProducers() {
  if (closed_ || unsaved_entries_ == 0) return;
  unsaved_entries_ = 0;
  unsaved_bytes_ = 0;
  raft::Round& round = host_.writer.round();
  for (const auto& [key, value] : producers_.TakeChanges()) {
    if (value.empty()) {
      round.DeleteValue(group_, key);
    } else {
      round.PutValue(group_, key, value);
    }
  }
  round.PutValue(group_, kProducersUpToKey, std::to_string(tail_.last_index().value()));
}

void Partition::WhenCommitted(FlushPolicy flush, std::function<void()> then) {
  if (flush == FlushPolicy::kCommit) {
    host_.writer.OnDurable(std::move(then));
  } else {
    host_.writer.OnWritten(std::move(then));
  }
}

void Partition::Advance(Offset committed) {
  if (committed <= high_watermark_) return;
  high_watermark_ = committed;
  MILLRACE_CHECK(high_watermark_ <= tail_.end()) << name_.topic << '/' << name_.partition;
  NotifyWaiters();
}

void Partition::NotifyWaiters() {
  std::vector<std::shared_ptr<Waiter>> waiters;
  waiters.swap(waiters_);
  for (auto& waiter : waiters) waiter->OnPartitionAdvanced();
}

void Partition::Complete(AppendOutcome outcome, const AppendDone& done) const {
  if (done == nullptr) return;
  if (!outcome.error.ok()) {
    outcome.error.topic = name_.topic;
    outcome.error.partition = name_.partition;
    outcome.durability = Durability::kUnspecified;
  }
  outcome.log_start = log_start_;
  outcome.high_watermark = high_watermark_;
  done(outcome);
}

void Partition::Trim(Offset before, TrimDone done) {
  if (closed_) return done(GoneError(), log_start_);
  if (absl::Status status = Open(); !status.ok()) return done(ErrorOf(status), log_start_);
  if (before > high_watermark_) {
    ErrorFrame error =
        MakeError(Error::OFFSET_OUT_OF_RANGE, name_.topic, name_.partition,
                  absl::StrCat("cannot trim ", name_.topic, "/", name_.partition, " before offset ", before.value(),
                               ": it ends at ", high_watermark_.value(), "; trim before that to remove all of it"));
    error.log_start_offset = log_start_.value();
    error.high_watermark = high_watermark_.value();
    return done(error, log_start_);
  }
  if (before <= log_start_) {  // the trim that moved it may not be durable yet
    return host_.writer.OnDurable([self = shared_from_this(), done = std::move(done)] { done({}, self->log_start_); });
  }
  if (read_only_) return done(ReadOnlyError(), log_start_);
  MoveLogStart(before);
  MILLRACE_LOG(kInfo, "partition trimmed", {"topic", name_.topic}, {"partition", name_.partition},
               {"log_start", before.value()});
  host_.writer.OnDurable([self = shared_from_this(), before, done = std::move(done)] {
    self->NotifyWaiters();
    done({}, before);
  });
}

void Partition::MoveLogStart(Offset to) {
  SaveProducers();  // what goes away is not there any more to rebuild the table from
  // The new start travels in the log, so that replicas follow the leader's decision and not their own clocks.
  // It takes the time of the entry before, so that it makes no segment younger.
  Entry entry = tail_.Next(EntryType::kLogStart, leader_epoch_, 0);
  entry.payload = absl::Cord(std::to_string(to.value()));
  Stage(std::move(entry));
  // With one replica what is written is committed: so entries without records go, too, and the store need not look for them.
  host_.writer.round().SetTermAndVote(group_, {.term = leader_epoch_, .commit_index = tail_.last_index()});
  host_.writer.round().SetLogStart(group_, to);
  log_start_ = to;
}

absl::StatusOr<Partition::Removed> Partition::Retain(std::optional<UnixMillis> now) {
  const std::shared_ptr<const TopicConfig> config = config_.load();
  if (closed_ || (config->retention_ms == kUnlimited && config->retention_bytes == kUnlimited)) return Removed();
  // The log alone: what nobody uses need not have its producers in memory.
  absl::StatusOr<raft::LogState> state = host_.store.Open(group_);
  if (!state.ok()) return state.status();
  if (state->read_only) return Removed();
  const RetentionDue due =
      FindRetentionDue(host_.store.Segments(group_), *config, now, open_ ? high_watermark_ : state->log_end);
  if (due.segments == 0 || due.end <= (open_ ? log_start_ : state->log_start)) return Removed();
  if (absl::Status status = Open(); !status.ok()) return status;
  const Removed removed{due.segments, due.end - log_start_, due.bytes};
  MoveLogStart(due.end);
  MILLRACE_LOG(kDebug, "retention removed records", {"topic", name_.topic}, {"partition", name_.partition},
               {"log_start", due.end.value()}, {"records", removed.records}, {"reason", due.by_time ? "time" : "size"});
  host_.writer.OnWritten([self = shared_from_this()] { self->NotifyWaiters(); });
  return removed;
}

bool Partition::ReadCached(Offset from, size_t bytes_max, std::vector<Entry>* entries) {
  return host_.store.ReadCached(group_, from, high_watermark_, bytes_max, entries);
}

void Partition::AddWaiter(std::shared_ptr<Waiter> waiter) { waiters_.push_back(std::move(waiter)); }

void Partition::RemoveWaiter(const Waiter* waiter) {
  std::erase_if(waiters_, [waiter](const auto& held) { return held.get() == waiter; });
}

void Partition::SetConfig(std::shared_ptr<const TopicConfig> config) {
  config_.store(config);
  if (open_ && !closed_) host_.store.SetLimits(group_, {config->SegmentBytes(), config->SegmentMillis()});
}

void Partition::Close() {
  closed_ = true;
  NotifyWaiters();
}

int64_t Partition::bytes() const { return open_ && !closed_ ? host_.store.State(group_).bytes : 0; }

ErrorFrame Partition::ReadOnlyError() const {
  return MakeError(
      Error::CORRUPT_MESSAGE, name_.topic, name_.partition,
      absl::StrCat("what ", name_.topic, "/", name_.partition, " has at offset ", tail_.end().value(),
                   ", its end, is damaged, and how many records it held is not known: nothing can be appended, "
                   "trimmed or waited for there. Offsets ",
                   log_start_.value(), " to ", tail_.end().value(),
                   " (exclusive) can be read; copy them to another topic, then delete this one"));
}

ErrorFrame Partition::GoneError() const { return TopicDeleted(name_.topic, name_.partition); }

}  // namespace millrace::server
