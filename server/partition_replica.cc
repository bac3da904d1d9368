// A partition as what stands on its group's log: raft::StateMachine, and how the replica comes to be.
#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "millrace/internal/v1/partition.pb.h"
#include "proto/wire/check.h"
#include "raft/damage.h"
#include "raft/persisted_state.h"
#include "server/errors.h"
#include "server/log.h"
#include "server/partition.h"

namespace millrace::server {
namespace {

using raft::Entry;
using raft::EntryType;
using raft::LogIndex;
using raft::Offset;

// How much may have to be applied again after a start to bring the producer table, and what else is saved, up to date.
constexpr int64_t kUnsavedEntriesMax = 256;
constexpr int64_t kUnsavedBytesMax = 8 << 20;
// So often at most is the same thing logged of some partition.
constexpr std::chrono::seconds kNoticeEvery{1};
// What is saved covers entries up to this index. The name is from when that was the producers alone.
constexpr std::string_view kSavedUpToKey = "producers-up-to";
constexpr std::string_view kStateUpToKey =
    "state-up-to";  // of an AppliedState, if that came as a snapshot ahead of the log

using Kind = raft::Notice::Kind;

constexpr std::string_view TextOf(Kind kind) {
  switch (kind) {
    case Kind::kLostDurability:
      return "a replica lost entries that it had acked; it does not count until it has caught up";
    case Kind::kPossibleLoss:
      return "all replicas together had to agree on what is left after a crash: records that were acked and not synced "
             "may be lost; readers of such are told";
    case Kind::kAbstainingEnded:
      return "this replica has caught up after a crash of its machine and counts again";
    case Kind::kDiskStalled:
      return "the disk has not finished a write for a second; the leadership is given up";
    case Kind::kDamagedEntry:
      return "an entry that another replica needs is damaged here";
    case Kind::kTransferAborted:
      return "a transfer of the leadership was given up";
  }
  return "";
}

// What happens to a broker happens to all its partitions at once: a line a second, which counts those left out. Each kind has an
// allowance of its own.
template <Kind kind>
void Log(const PartitionName& name, const raft::Notice& notice) {
  if constexpr (kind == Kind::kAbstainingEnded || kind == Kind::kTransferAborted) {
    MILLRACE_LOG_EVERY(kNoticeEvery, kInfo, TextOf(kind), {"topic", name.topic}, {"partition", name.partition},
                       {"replica", notice.replica.broker.value()}, {"entry", notice.index.value()});
  } else {
    MILLRACE_LOG_EVERY(kNoticeEvery, kWarning, TextOf(kind), {"topic", name.topic}, {"partition", name.partition},
                       {"replica", notice.replica.broker.value()}, {"entry", notice.index.value()});
  }
}

}  // namespace

raft::Flush Partition::FlushOf(const TopicConfig& config) {
  return config.flush == FlushPolicy::kCommit ? raft::Flush::kCommit : raft::Flush::kAsync;
}

bool Partition::hosted() const { return std::find(replicas_.begin(), replicas_.end(), host_.self) != replicas_.end(); }

// ---- Starting

bool Partition::Begin(bool has_log) {
  if (!hosted() || closed_ || (alone() && has_log && may_have_lost_ == Lost::kNothing)) return true;
  const absl::Status status = alone() && !has_log ? MakeLog() : Open();
  if (raft::IsStalled(status)) {
    host_.writer.AfterStall([self = shared_from_this(), has_log] { self->Begin(has_log); });
  } else if (!status.ok()) {
    MILLRACE_LOG_EVERY(kNoticeEvery, kError, "a partition cannot be started here; its next use tries again",
                       {"topic", name_.topic}, {"partition", name_.partition}, {"status", status.ToString()});
    return false;
  }
  return true;
}

absl::Status Partition::MakeLog() {
  const std::shared_ptr<const TopicConfig> config = config_.load();
  absl::Status status = host_.store.Create(group_, {config->SegmentBytes(), config->SegmentMillis()});
  if (absl::IsAlreadyExists(status)) return absl::OkStatus();
  if (status.ok()) status = host_.store.Open(group_).status();
  if (!status.ok()) return status;
  StageMembers();
  return absl::OkStatus();
}

// Of a log that was never used.
void Partition::StageMembers() {
  may_have_lost_ = Lost::kNothing;
  members_staged_ = true;
  raft::Membership first{.voters = replicas_};
  std::sort(first.voters.begin(), first.voters.end());
  raft::StageMemberships(host_.writer.round(), group_, {{LogIndex(0), std::move(first)}});
}

// A crash may have come after the log was made and before who takes part was written.
bool Partition::LacksMembers(const raft::LogState& state) const {
  return !members_staged_ && state.last_index == LogIndex(0) && state.term_and_vote == raft::TermAndVote();
}

absl::Status Partition::Open() {
  if (closed_) return absl::NotFoundError("the topic was deleted");
  if (open_ || opening_ || !hosted()) return absl::OkStatus();
  absl::StatusOr<raft::LogState> state = host_.store.Open(group_);
  if (state.ok()) {
    const std::shared_ptr<const TopicConfig> config = config_.load();
    host_.store.SetLimits(group_, {config->SegmentBytes(), config->SegmentMillis()});
    const absl::StatusOr<bool> must_abstain = MustAbstain(*state);
    if (!must_abstain.ok()) return open_error_ = must_abstain.status();
    if (LacksMembers(*state)) {
      StageMembers();
    } else if (*must_abstain) {
      may_have_lost_ = Lost::kNothing;
      raft::StageAbstaining(host_.store, host_.writer.round(), group_);
    } else {
      return open_error_ = StartReplica(*state);
    }
    OpenAgain([this](auto again) { host_.writer.OnWritten(std::move(again)); });
    return open_error_ = absl::OkStatus();
  }
  const absl::Status made = absl::IsNotFound(state.status()) ? MakeLog() : state.status();
  if (raft::IsStalled(made)) {
    OpenAgain([this](auto again) { host_.writer.AfterStall(std::move(again)); });
    return open_error_ = absl::OkStatus();
  }
  // Who takes part is in the store before the replica starts; whatever it promises is synced later, and this with it.
  if (made.ok()) OpenAgain([this](auto again) { host_.writer.OnWritten(std::move(again)); });
  return open_error_ = made;
}

void Partition::OpenAgain(const std::function<void(std::function<void()>)>& when) {
  opening_ = true;
  when([self = shared_from_this()] {
    self->opening_ = false;
    if (!self->closed_ && !self->Open().ok()) self->Settle();
  });
}

// Not by the topic's level of today: it may have been another when what is lost was acked.
absl::StatusOr<bool> Partition::MustAbstain(const raft::LogState& state) const {
  if (state.read_only || may_have_lost_ == Lost::kNothing) return false;
  if (may_have_lost_ == Lost::kAnything) return true;
  return raft::MayLackAcked(host_.store, group_);
}

absl::Status Partition::StartReplica(const raft::LogState& state) {
  log_start_ = state.log_start;
  if (state.read_only) {
    MILLRACE_LOG(kError, "the end of a partition is damaged; what is below is served, nothing can be appended",
                 {"topic", name_.topic}, {"partition", name_.partition}, {"offset", state.log_end.value()});
    high_watermark_ = state.log_end;
    leader_epoch_ = state.last_term.value();
    open_ = read_only_ = true;
    Settle();
    return absl::OkStatus();
  }
  applied_ = state.begin.before.index;
  high_watermark_ = state.begin.end_offset;
  LogIndex saved_up_to;
  if (absl::Status status = LoadSaved(&saved_up_to); !status.ok()) return status;
  if (saved_up_to > applied_) {
    const absl::StatusOr<raft::EntryHeader> last = host_.store.HeaderAt(group_, saved_up_to);
    if (!last.ok()) return last.status();
    applied_ = saved_up_to;
    high_watermark_ = last->end_offset();
  }
  auto replica = host_.groups.Open(
      {.driver = {.group = group_, .self = host_.self, .flush = FlushOf(*config_.load()), .applied = applied_},
       .preferred = replicas_.front(),
       // The leader alone serves what is committed. With one batch at a time half of all peer messages said only this: 8.4 of them
       // for each batch at 25 MB/s of 1 KiB records, 4.3 without.
       .commit_at_once = false},
      *this);
  if (!replica.ok()) return replica.status();
  replica_ = *replica;
  open_ = true;
  leader_epoch_ = replica_->core().term().value();
  if (settled()) Settle();
  return absl::OkStatus();
}

absl::Status Partition::LoadSaved(LogIndex* saved_up_to) {
  auto values = host_.store.Values(group_);
  if (!values.ok()) return values.status();
  producers_ = {};
  if (state_ != nullptr) state_->Clear();
  for (const auto& [key, value] : *values) {
    int64_t up_to = 0;
    absl::Status status;
    if (key == kSavedUpToKey && absl::SimpleAtoi(value, &up_to)) {
      *saved_up_to = LogIndex(up_to);
    } else if (key == kStateUpToKey && absl::SimpleAtoi(value, &up_to)) {
      state_up_to_ = LogIndex(up_to);
    } else if (ProducerTable::IsKey(key)) {
      status = producers_.Load(key, value);
    } else if (state_ != nullptr && state_->IsKey(key)) {
      status = state_->Load(key, value);
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// ---- Serving

// Whether it is known if this replica serves.
bool Partition::settled() const {
  if (closed_ || read_only_ || serving_ != raft::Term(0) || !open_error_.ok() || !hosted()) return true;
  if (replica_ == nullptr) return false;
  return replica_->driver().fatal() != nullptr || (!alone() && replica_->core().role() != raft::Role::kLeader);
}

void Partition::WhenSettled(std::function<void()> then) {
  if (!open_ && !opening_ && !closed_) (void)Open();  // what failed before is tried again
  settled() ? then() : unsettled_.push_back(std::move(then));
}

void Partition::Settle() {
  std::vector<std::function<void()>> waiting;
  waiting.swap(unsettled_);
  for (auto& then : waiting) then();
}

void Partition::BeginServing() {
  serving_ = replica_->core().term();
  log_start_proposed_ = log_start_;
  if (state_ != nullptr) state_->OnServing(serving_);
  Settle();
}

void Partition::StopServing() {
  const bool served = std::exchange(serving_, raft::Term(0)) != raft::Term(0);
  producers_.ForgetAppended();
  std::deque<Pending> lost;
  lost.swap(pending_);
  lost.insert(lost.end(), std::make_move_iterator(local_.begin()), std::make_move_iterator(local_.end()));
  local_.clear();
  for (Pending& pending : lost) pending.then(false);
  if (served && state_ != nullptr) state_->OnServingEnd();
  NotifyWaiters();
}

void Partition::OnRoleChange(const raft::RoleChange& change) {
  leader_epoch_ = change.term.value();
  host_.peers.OnRoleChange(group_, change);
  if (change.role != raft::Role::kLeader && serving_ != raft::Term(0)) StopServing();
  if (settled()) Settle();
}

// ---- Applying

void Partition::Apply(const std::vector<Entry>& entries) {
  for (const Entry& entry : entries) ApplyOne(entry);
  if (unsaved_entries_ >= kUnsavedEntriesMax || unsaved_bytes_ >= kUnsavedBytesMax) Save();
  const bool leads = replica_ != nullptr && replica_->core().role() == raft::Role::kLeader;
  if (leads && serving_ == raft::Term(0) && entries.back().header.term == replica_->core().term()) BeginServing();
  CompletePending();
  NotifyWaiters();
}

void Partition::ApplyOne(const Entry& entry) {
  const raft::EntryHeader& header = entry.header;
  applied_ = header.index;
  high_watermark_ = header.end_offset();
  if (header.type == EntryType::kLogStart) return ApplyLogStart(entry);
  if (header.type != EntryType::kRecords) return;
  ++unsaved_entries_;
  unsaved_bytes_ += static_cast<int64_t>(entry.payload.size());
  const absl::StatusOr<BatchView> batch = ParseBatch(entry.payload);
  if (!batch.ok()) return LogDamaged(header.index, batch.status().ToString());
  if (batch->header.producer_id != 0) {
    producers_.OnCommitted(batch->header, header.base_offset, header.append_time);
  }
  if (state_ != nullptr && header.index > state_up_to_) state_->Apply(*batch);
}

absl::Status Partition::ApplyDamaged(LogIndex index, const absl::Status& damage) {
  LogDamaged(index, damage.ToString());
  applied_ = index;
  if (const auto lost = raft::DamagedOffsets(damage)) high_watermark_ = std::max(high_watermark_, lost->end);
  return absl::OkStatus();
}

void Partition::LogDamaged(LogIndex entry, const std::string& status) const {
  MILLRACE_LOG(kError, "a stored batch is damaged; readers are told, everything else goes on", {"topic", name_.topic},
               {"partition", name_.partition}, {"entry", entry.value()}, {"status", status});
}

void Partition::ApplyLogStart(const Entry& entry) {
  int64_t to = 0;
  if (!absl::SimpleAtoi(std::string(entry.payload), &to)) return LogDamaged(entry.header.index, "not a log start");
  if (Offset(to) <= log_start_) return;
  SaveUpTo(entry.header.index - 1);  // what goes away is not there any more to rebuild it from
  log_start_ = Offset(to);
  host_.groups.SetLogStart(*replica_, log_start_);
}

void Partition::CompletePending() {
  while (!pending_.empty() && pending_.front().index <= applied_) {
    Pending done = std::move(pending_.front());
    pending_.pop_front();
    done.then(true);
  }
  OnProgress();
}

void Partition::OnProgress() {
  while (!local_.empty() && local_.front().index <= replica_->core().stable_index()) {
    Pending done = std::move(local_.front());
    local_.pop_front();
    done.then(true);
  }
}

// Not while a log start is on its way to the disk: a crash would lose it for good, since the next start applies nothing again that
// what is saved covers.
void Partition::Save() {
  if (closed_ || !open_ || host_.store.State(group_).log_start < log_start_) return;
  SaveUpTo(applied_);
}

void Partition::SaveUpTo(LogIndex last) {
  if (unsaved_entries_ == 0) return;
  unsaved_entries_ = 0;
  unsaved_bytes_ = 0;
  raft::Round& round = host_.writer.round();
  const auto save = [&](const AppliedState::Parts& parts) {
    for (const auto& [key, value] : parts) {
      value.empty() ? round.DeleteValue(group_, key) : round.PutValue(group_, key, value);
    }
  };
  save(producers_.TakeChanges());
  if (state_ != nullptr) save(state_->TakeChanges());
  round.PutValue(group_, kSavedUpToKey, std::to_string(last.value()));
}

// ---- Snapshots: the log's start, and what is made of entries that are gone

AppliedState::Parts Partition::AllParts() const {
  AppliedState::Parts parts = producers_.All();
  if (state_ == nullptr) return parts;
  for (auto& part : state_->All()) parts.push_back(std::move(part));
  return parts;
}

std::optional<raft::StateMachine::Snapshot> Partition::MakeSnapshot() {
  internal::v1::PartitionSnapshot snapshot;
  for (auto& [key, value] : AllParts()) {
    internal::v1::SavedPart& part = *snapshot.add_parts();
    part.set_key(std::move(key));
    part.set_value(std::move(value));
  }
  snapshot.set_applied_up_to(applied_.value());
  return Snapshot{host_.store.State(group_).begin.before.index, absl::Cord(snapshot.SerializeAsString())};
}

absl::Status Partition::Install(const raft::InstallSnapshot& snapshot, raft::Round& round) {
  internal::v1::PartitionSnapshot parts;
  if (!parts.ParseFromString(std::string(snapshot.state))) {
    return absl::DataLossError("the leader's snapshot of a partition cannot be read");
  }
  const AppliedState::Parts before = AllParts();
  ProducerState producers;
  if (state_ != nullptr) state_->Clear();
  for (const auto& part : parts.parts()) {
    absl::Status status;
    if (ProducerTable::IsKey(part.key())) {
      status = producers.Load(part.key(), part.value());
    } else if (state_ != nullptr && state_->IsKey(part.key())) {
      status = state_->Load(part.key(), part.value());
    }
    if (!status.ok()) return status;
  }
  for (const auto& [key, value] : before) round.DeleteValue(group_, key);
  for (const auto& part : parts.parts()) round.PutValue(group_, part.key(), part.value());
  round.PutValue(group_, kSavedUpToKey, std::to_string(snapshot.last.index.value()));
  if (state_ != nullptr) {
    state_up_to_ = LogIndex(parts.applied_up_to());
    round.PutValue(group_, kStateUpToKey, std::to_string(state_up_to_.value()));
  }
  producers_ = std::move(producers);
  unsaved_entries_ = unsaved_bytes_ = 0;
  applied_ = snapshot.last.index;
  high_watermark_ = log_start_ = snapshot.end_offset;
  return absl::OkStatus();
}

void Partition::OnNotice(const raft::Notice& notice) {
  switch (notice.kind) {
    case Kind::kLostDurability:
      return Log<Kind::kLostDurability>(name_, notice);
    case Kind::kPossibleLoss:
      return Log<Kind::kPossibleLoss>(name_, notice);
    case Kind::kAbstainingEnded:
      return Log<Kind::kAbstainingEnded>(name_, notice);
    case Kind::kDiskStalled:
      return Log<Kind::kDiskStalled>(name_, notice);
    case Kind::kDamagedEntry:
      return Log<Kind::kDamagedEntry>(name_, notice);
    case Kind::kTransferAborted:
      return Log<Kind::kTransferAborted>(name_, notice);
  }
}

}  // namespace millrace::server
