#include "server/partition.h"

#include <algorithm>
#include <string>
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

bool RestsOnSequences(int32_t code) {
  return code == Error::OUT_OF_ORDER_SEQUENCE_NUMBER || code == Error::UNKNOWN_PRODUCER_ID ||
         code == Error::DUPLICATE_SEQUENCE_NUMBER || code == Error::INVALID_PRODUCER_EPOCH;
}

// Of what may have happened: how it is done without being done twice.
constexpr char kSendSequenceAgain[] =
    "; send it again with the same producer id and sequence, so that it cannot be stored twice";
constexpr char kLookBeforeSending[] =
    "; sent again without a producer id and sequence it could be stored twice: read the end of the partition before "
    "sending it again";
constexpr char kTrimAgain[] = "; trim again, which is safe to repeat";

ErrorFrame WithAdvice(ErrorFrame error, const char* advice) {
  error.message += advice;
  return error;
}

}  // namespace

Partition::Partition(PartitionName name, raft::GroupId group, std::vector<raft::ReplicaId> replicas,
                     std::shared_ptr<const TopicConfig> config, const Host& host)
    : name_(std::move(name)),
      group_(group),
      replicas_(std::move(replicas)),
      host_(host),
      config_(std::move(config)),
      may_have_lost_(host.may_have_lost) {}

Partition::~Partition() = default;

// ---- Appending

void Partition::Append(ValidBatch batch, const AppendOptions& options, AppendDone done) {
  if (serving_ != raft::Term(0)) return AppendSettled(std::move(batch), options, std::move(done));
  WhenSettled([self = shared_from_this(), batch = std::move(batch), options, done = std::move(done)]() mutable {
    self->AppendSettled(std::move(batch), options, std::move(done));
  });
}

void Partition::AppendSettled(ValidBatch batch, const AppendOptions& options, AppendDone done) {
  AppendOutcome outcome;
  outcome.leader_epoch = serving_;
  outcome.crc_computed = batch.crc_computed;
  const std::shared_ptr<const TopicConfig> config = config_.load();
  const BatchHeader& header = batch.header;
  if (Refuses(header, static_cast<int64_t>(batch.bytes.size()), options, &outcome)) {
    if (RestsOnSequences(outcome.error.code)) return RefuseConfirmed(std::move(outcome), std::move(done));
    return Complete(std::move(outcome), done);
  }
  if (!outcome.duplicate) {
    Entry entry{.header = {.type = EntryType::kRecords,
                           .record_count = header.record_count,
                           .append_time = std::max(host_.log_clock.AppendTime(), replica_->core().last_append_time()),
                           .payload_crc = batch.crc}};
    entry.header.max_timestamp = config->timestamp_type == TimestampType::kLogAppendTime
                                     ? entry.header.append_time
                                     : header.EffectiveMaxTimestamp();
    outcome.base_offset = replica_->core().end_offset();
    outcome.append_time = entry.header.append_time;
    entry.payload = std::move(batch.bytes);
    raft::Core& core = host_.groups.Touch(*replica_, entry.payload.size());
    if (absl::Status status = core.Propose(std::move(entry)).status(); !status.ok()) {
      outcome.error = MakeError(Error::NOT_ENOUGH_REPLICAS,
                                absl::StrCat(name_.topic, "/", name_.partition, ": ", ToStdString(status.message())));
      return Complete(std::move(outcome), done);
    }
    if (header.producer_id != 0) producers_.OnAppended(header, outcome.base_offset, outcome.append_time);
  }
  // The original of a repeat may not be committed yet; whatever is appended by now is committed after it.
  auto& waiting = options.acks == Acks::kLeader ? local_ : pending_;
  const char* const advice = header.producer_id != 0 ? kSendSequenceAgain : kLookBeforeSending;
  waiting.push_back({replica_->core().last_index(), [self = shared_from_this(), outcome, acks = options.acks, advice,
                                                     done = std::move(done)](bool committed) mutable {
                       if (committed) outcome.durability = self->DurabilityReached(acks);
                       if (!committed) {
                         outcome.error =
                             self->closed_ ? self->GoneError() : WithAdvice(self->LostLeadershipError(), advice);
                       }
                       if (!committed) outcome.error.may_have_happened = true;
                       self->Complete(std::move(outcome), done);
                     }});
  CompletePending();
}

// The producer takes what it sent for not stored, and may send it again under another id or from the sequence that is expected: only
// who still leads knows that, and only of what cannot be lost any more.
void Partition::RefuseConfirmed(AppendOutcome outcome, AppendDone done) {
  pending_.push_back({replica_->core().last_index(), [self = shared_from_this(), outcome = std::move(outcome),
                                                      done = std::move(done)](bool committed) mutable {
                        if (committed) return self->RefuseIfLeading(std::move(outcome), std::move(done));
                        if (self->Readable(&outcome.error)) outcome.error = self->UnconfirmedError();
                        self->Complete(std::move(outcome), done);
                      }});
  CompletePending();
}

void Partition::RefuseIfLeading(AppendOutcome outcome, AppendDone done) {
  Confirm([self = shared_from_this(), outcome = std::move(outcome), done = std::move(done)](bool leads) mutable {
    if (!leads && self->Readable(&outcome.error)) outcome.error = self->UnconfirmedError();
    self->Complete(std::move(outcome), done);
  });
}

// True: outcome->error says why. Repeats of what is stored are not refused.
bool Partition::Refuses(const BatchHeader& header, int64_t bytes, const AppendOptions& options,
                        AppendOutcome* outcome) const {
  if (!Readable(&outcome->error) || !CheckEpoch(options.leader_epoch, &outcome->error)) return true;
  if (read_only_) {
    outcome->error = ReadOnlyError();
    return true;
  }
  if (header.producer_id != 0 && !CheckProducer(header, outcome)) return true;
  if (outcome->duplicate || !host_.disk_floor.Refuses(bytes)) return false;
  outcome->error = MakeError(
      Error::KAFKA_STORAGE_ERROR,
      absl::StrCat("the broker's disk has ", host_.disk_floor.free_bytes(), " bytes free, less than disk.free.floor (",
                   host_.disk_floor.floor_bytes(),
                   "): nothing was appended; make room (topic trim, topic delete, other files), retries then succeed"));
  return true;
}

bool Partition::CheckEpoch(int32_t expected, ErrorFrame* error) const {
  const int64_t epoch = leader_epoch().value();
  if (expected == 0 || expected == epoch) return true;
  *error =
      MakeError(expected < epoch ? Error::FENCED_LEADER_EPOCH : Error::UNKNOWN_LEADER_EPOCH,
                absl::StrCat("leader epoch is ", epoch, ", the request says ", expected, "; ask for metadata again"));
  return false;
}

// An id that a producer made up would later be given to another one, whose records would then pass for repeats.
bool Partition::WasGivenOut(int64_t producer_id, ErrorFrame* error) const {
  const auto image = host_.view.image();
  const bool alone = image->brokers().size() == 1;
  if (producer_id < (alone ? host_.producer_ids_given_here.load() : image->producer_ids_end())) return true;
  // Or the controller gave it out a moment ago, and this broker has not heard of that yet.
  *error =
      alone ? MakeError(Error::UNKNOWN_PRODUCER_ID,
                        absl::StrCat("producer id ", producer_id, " was never given out; get one with InitProducer"))
            : MakeError(Error::LEADER_NOT_AVAILABLE,
                        absl::StrCat("producer id ", producer_id, " is not known to have been given out; try again"));
  return false;
}

// Also where no later producer of the name has sent anything yet, and where all of them were forgotten.
bool Partition::HasItsName(const BatchHeader& header, ErrorFrame* error) const {
  const auto image = host_.view.image();
  const int32_t* latest = image->EpochOfNamed(header.producer_id);
  if (latest == nullptr || *latest / kEpochsRaised == header.producer_epoch / kEpochsRaised) return true;
  if (header.producer_epoch > *latest) {  // given out a moment ago
    *error = MakeError(Error::LEADER_NOT_AVAILABLE,
                       absl::StrCat("epoch ", header.producer_epoch, " of producer ", header.producer_id,
                                    " is not known to have been given out; try again"));
    return false;
  }
  *error = MakeError(Error::INVALID_PRODUCER_EPOCH,
                     absl::StrCat("producer ", header.producer_id, " has epoch ", header.producer_epoch,
                                  ", but a later one has its name; close this producer"));
  error->producer_epoch = *latest;
  return false;
}

// False: refused, outcome->error says why.
bool Partition::CheckProducer(const BatchHeader& header, AppendOutcome* outcome) const {
  if (header.producer_epoch >= kEpochsRaised && !HasItsName(header, &outcome->error)) return false;
  using Verdict = ProducerTable::Verdict;
  const Verdict verdict = producers_.Check(header);
  const auto refuse = [&](ErrorCode code, std::string message) {
    outcome->error = MakeError(code, std::move(message));
    outcome->error.producer_epoch = verdict.current_epoch;
    outcome->error.expected_sequence = verdict.expected_sequence;
    return false;
  };
  switch (verdict.kind) {
    case Verdict::kAppend:
      if (verdict.first && !WasGivenOut(header.producer_id, &outcome->error)) return false;
      return true;
    case Verdict::kDuplicate:
      outcome->base_offset = verdict.base_offset;
      outcome->append_time = verdict.append_time;
      outcome->duplicate = true;
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
      return refuse(Error::UNKNOWN_PRODUCER_ID, absl::StrCat("producer ", header.producer_id,
                                                             " is not known to this partition and does not begin at "
                                                             "sequence 0; begin at 0 under a higher epoch"));
  }
  MILLRACE_CHECK(false) << "verdict " << static_cast<int>(verdict.kind);
  return false;
}

// By what was counted: copies of a topic whose level has changed may be only written still, also of a repeat's original.
Durability Partition::DurabilityReached(Acks acks) const {
  const raft::Core& core = replica_->core();
  if (acks == Acks::kLeader) return core.synced() ? Durability::kLeaderDisk : Durability::kLeaderMemory;
  return core.commit_is_synced() ? Durability::kQuorumDisk : Durability::kQuorumMemory;
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

// ---- The log start

void Partition::Trim(Offset before, TrimDone done) {
  ErrorFrame error;
  if (!Readable(&error)) return done(error, log_start_);
  if (before > high_watermark_) {
    error = MakeError(Error::OFFSET_OUT_OF_RANGE, name_.topic, name_.partition,
                      absl::StrCat("cannot trim ", name_.topic, "/", name_.partition, " before offset ", before.value(),
                                   ": it ends at ", high_watermark_.value(), "; trim before that to remove all of it"));
    error.log_start_offset = log_start_.value();
    error.high_watermark = high_watermark_.value();
    return done(error, log_start_);
  }
  // What moved it may not be durable here yet.
  if (before <= log_start_) {
    return host_.writer.OnDurable([self = shared_from_this(), done = std::move(done)] { done({}, self->log_start_); });
  }
  if (read_only_) return done(ReadOnlyError(), log_start_);
  if (absl::Status status = ProposeLogStart(before); !status.ok()) return done(ErrorOf(status), log_start_);
  MILLRACE_LOG(kInfo, "partition trimmed", {"topic", name_.topic}, {"partition", name_.partition},
               {"log_start", before.value()});
  pending_.push_back({replica_->core().last_index(), [self = shared_from_this(), before, done](bool committed) {
                        if (!committed) {
                          return done(WithAdvice(self->LostLeadershipError(), kTrimAgain), self->log_start_);
                        }
                        self->host_.writer.OnDurable([done, before] { done({}, before); });
                      }});
}

// The new start travels in the log, so that replicas follow the leader's decision and not their own clocks.
absl::Status Partition::ProposeLogStart(Offset to) {
  Entry entry{
      .header = {.type = EntryType::kLogStart}};  // takes the time of the entry before: it makes no segment younger
  entry.payload = absl::Cord(std::to_string(to.value()));
  const absl::Status status = host_.groups.Touch(*replica_).Propose(std::move(entry)).status();
  if (status.ok()) log_start_proposed_ = std::max(log_start_proposed_, to);
  return status;
}

absl::StatusOr<Partition::Removed> Partition::Retain(std::optional<UnixMillis> now) {
  const std::shared_ptr<const TopicConfig> config = config_.load();
  if (closed_ || (config->retention_ms == kUnlimited && config->retention_bytes == kUnlimited)) return Removed();
  if (open_ ? serving_ == raft::Term(0) : !alone()) return Removed();
  // The log alone: what nobody uses need not have its replica started.
  absl::StatusOr<raft::LogState> state = host_.store.Open(group_);
  if (absl::IsNotFound(state.status())) return Removed();  // not made yet
  if (!state.ok()) return state.status();
  if (state->read_only) return Removed();
  const RetentionDue due =
      FindRetentionDue(host_.store.Segments(group_), *config, now, open_ ? high_watermark_ : state->log_end);
  if (due.segments == 0 || due.end <= std::max(log_start_proposed_, state->log_start)) return Removed();
  if (!open_) {  // and comes back when it serves
    WhenSettled([self = shared_from_this(), now] { (void)self->Retain(now); });
    return Removed();
  }
  const Removed removed{due.segments, due.end - std::max(log_start_, log_start_proposed_), due.bytes};
  if (absl::Status status = ProposeLogStart(due.end); !status.ok()) return status;
  MILLRACE_LOG(kDebug, "retention removes records", {"topic", name_.topic}, {"partition", name_.partition},
               {"log_start", due.end.value()}, {"records", removed.records}, {"reason", due.by_time ? "time" : "size"});
  return removed;
}

// ---- Reading

bool Partition::Readable(ErrorFrame* error) const {
  if (closed_) {
    *error = GoneError();
  } else if (!open_error_.ok()) {
    *error = ErrorOf(open_error_);
  } else if (!read_only_ && serving_ == raft::Term(0)) {
    *error = NotLeaderError();
  } else {
    return true;
  }
  return false;
}

void Partition::Confirm(std::function<void(bool leads)> then) {
  if (replica_ == nullptr || replica_->core().membership().voters.size() == 1) return then(true);
  const uint64_t id = ++last_read_;
  confirming_[id] = std::move(then);
  if (!host_.groups.Touch(*replica_).ReadIndex(id).ok()) OnReadAnswered(id, false);
}

void Partition::OnReadAnswered(uint64_t id, bool ready) {
  if (auto read = confirming_.extract(id); !read.empty()) read.mapped()(ready);
}

bool Partition::ReadCached(Offset from, size_t bytes_max, std::vector<Entry>* entries) {
  return host_.store.ReadCached(group_, from, high_watermark_, bytes_max, entries);
}

void Partition::AddWaiter(std::shared_ptr<Waiter> waiter) { waiters_.push_back(std::move(waiter)); }

void Partition::RemoveWaiter(const Waiter* waiter) {
  std::erase_if(waiters_, [waiter](const auto& held) { return held.get() == waiter; });
}

void Partition::NotifyWaiters() {
  std::vector<std::shared_ptr<Waiter>> waiters;
  waiters.swap(waiters_);
  for (auto& waiter : waiters) waiter->OnPartitionAdvanced();
}

// ---- The rest

void Partition::SetConfig(std::shared_ptr<const TopicConfig> config) {
  config_.store(config);
  if (!open_ || closed_) return;
  host_.store.SetLimits(group_, {config->SegmentBytes(), config->SegmentMillis()});
  if (replica_ != nullptr) host_.groups.SetFlush(*replica_, FlushOf(*config));
}

void Partition::Close() {
  closed_ = true;
  StopServing();
  if (std::exchange(replica_, nullptr) != nullptr) host_.groups.Close(group_);
  while (!confirming_.empty()) OnReadAnswered(confirming_.begin()->first, false);
  host_.peers.Forget(group_);
  Settle();
  NotifyWaiters();
}

void Partition::Abandon() {
  unsettled_.clear();
  pending_.clear();
  local_.clear();
  confirming_.clear();
  waiters_.clear();
  state_.reset();
}

Offset Partition::log_end() const { return replica_ != nullptr ? replica_->core().end_offset() : high_watermark_; }

std::vector<ReplicaReport> Partition::Replicas() const {
  if (replica_ == nullptr) return {{.replica = host_.self, .in_sync = true, .missing_from = applied_ + 1}};
  return ReportReplicas(replica_->core(), host_.view.Reachable());
}

int64_t Partition::bytes() const { return open_ && !closed_ ? host_.store.State(group_).bytes : 0; }

ErrorFrame Partition::ErrorOf(const absl::Status& status) const {
  ErrorFrame error = ErrorFromStatus(status);
  error.topic = name_.topic;
  error.partition = name_.partition;
  return error;
}

ErrorFrame Partition::ReadOnlyError() const {
  return MakeError(
      Error::CORRUPT_MESSAGE, name_.topic, name_.partition,
      absl::StrCat("what ", name_.topic, "/", name_.partition, " has at offset ", high_watermark_.value(),
                   ", its end, is damaged, and how many records it held is not known: nothing can be appended, "
                   "trimmed or waited for there. Offsets ",
                   log_start_.value(), " to ", high_watermark_.value(),
                   " (exclusive) can be read; copy them to another topic, then delete this one"));
}

ErrorFrame Partition::UnconfirmedError() const {
  return MakeError(Error::LEADER_NOT_AVAILABLE, name_.topic, name_.partition,
                   absl::StrCat("it is not known whether this broker still leads ", name_.topic, "/", name_.partition,
                                ": most of its other replicas do not answer; try again"));
}

ErrorFrame Partition::GoneError() const { return TopicDeleted(name_.topic, name_.partition); }

ErrorFrame Partition::NotLeaderError() const {
  const auto leader = host_.view.LeaderOf(group_, replicas_);
  if (!leader || leader->broker == host_.self.broker) {
    return MakeError(
        Error::LEADER_NOT_AVAILABLE, name_.topic, name_.partition,
        absl::StrCat(name_.topic, "/", name_.partition,
                     " has no leader at the moment: one is being elected, or most of its replicas do not answer; try "
                     "again"));
  }
  ErrorFrame error = MakeError(Error::NOT_LEADER_OR_FOLLOWER, name_.topic, name_.partition,
                               absl::StrCat("broker ", leader->broker.value(), " leads ", name_.topic, "/",
                                            name_.partition, ", not this one; ask there"));
  error.leader = FrameOf(*leader);
  return error;
}

ErrorFrame Partition::LostLeadershipError() const {
  ErrorFrame error = NotLeaderError();
  error.message = absl::StrCat("the leadership of ", name_.topic, "/", name_.partition,
                               " was lost before a majority had it: whether it is kept is not known yet");
  error.may_have_happened = true;
  return error;
}

}  // namespace millrace::server
