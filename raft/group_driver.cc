#include "raft/group_driver.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "raft/persisted_state.h"

namespace millrace::raft {
namespace {

// Of entries applied at once.
constexpr size_t kApplyBytesMax = 1 << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<GroupDriver>> GroupDriver::Open(const Config& config, const Options& options,
                                                               StateMachine& machine, const Seams& seams) {
  absl::StatusOr<PersistedState> persisted = LoadPersistedState(seams.store, options.group);
  if (!persisted.ok()) return persisted.status();
  if (options.applied > persisted->terms.last_index()) {
    return absl::DataLossError(absl::StrCat("the state of group ", options.group.value(), " stands for entries up to ",
                                            options.applied.value(), ", its log ends with ",
                                            persisted->terms.last_index().value()));
  }
  persisted->term_and_vote.commit_index = std::max(persisted->term_and_vote.commit_index, options.applied);
  const bool unsynced_acks = persisted->unsynced_acks;
  std::unique_ptr<GroupDriver> driver(new GroupDriver(config, options, machine, seams, *std::move(persisted)));
  driver->flush_due_ = unsynced_acks != (options.flush == Flush::kAsync);
  return driver;
}

GroupDriver::GroupDriver(const Config& config, const Options& options, StateMachine& machine, const Seams& seams,
                         PersistedState persisted)
    : group_(options.group),
      machine_(machine),
      seams_(seams),
      core_(config, options.group, options.self, std::move(persisted), seams.random),
      applied_(std::max(options.applied, core_.terms().before_first())),
      committed_(core_.commit_index()),
      flush_(options.flush),
      apply_due_(applied_ < committed_) {
  core_.SetSynced(flush_ == Flush::kCommit);
}

// ---- Staging

bool GroupDriver::HasWork() const {
  if (!Works() || staged_) return false;
  return core_.HasReady() || LogStartIsDue() || apply_due_ || flush_due_;
}

bool GroupDriver::Stage(Round& round) {
  if (!Works() || staged_) return false;
  StageFlush(round);
  StageLogStart(round);
  apply_due_ = false;
  ApplyCommitted();
  while (Works() && core_.HasReady()) Take(core_.TakeReady(), round);
  return staged_;
}

void GroupDriver::Take(Ready ready, Round& round) {
  if (!Accept(ready, round)) return;
  const bool writes = ready.writes();
  if (writes) {
    Log().Stage(ready, round);
    staged_ = true;
  }
  if (ready.install) {
    applied_ = committed_ = ready.install->last.index;
    std::erase_if(reads_, [](const PendingRead& read) { return !read.request; });
  }
  in_flight_.push_back({.seq = ready.seq,
                        .needs_sync = writes && (ready.must_sync || flush_ == Flush::kCommit),
                        .commit = ready.committed.last,
                        .send_after_persist = std::move(ready.send_after_persist)});
  Send(ready.send_now);
  Tell(ready);
  for (const EntryRequest& request : ready.entry_requests) Answer(request);
  for (ReplicaId to : ready.snapshot_requests) core_.OnSnapshot(to, MakeSnapshot());
  if (!staged_) OnWritten(synced_);
}

// Nothing of a Ready is done unless all of it can be.
bool GroupDriver::Accept(const Ready& ready, Round& round) {
  if (ready.fatal) {
    fatal_ = std::make_unique<Fatal>(*ready.fatal);
    TellStopped(ready);
    return false;
  }
  if (!ready.writes()) return true;
  const Offset log_start = log_start_ != nullptr ? log_start_->log_start : Offset(0);
  if (absl::Status status = Log().Check(ready, log_start); !status.ok()) {
    return Refuse(ready, absl::IsInvalidArgument(status) ? Fatal::kDivergedLog : Fatal::kDamagedLog, status.message());
  }
  if (!ready.install) return true;
  absl::Status status = machine_.Install(*ready.install, round);
  return status.ok() || Refuse(ready, Fatal::kDivergedLog, status.message());
}

StagedLog& GroupDriver::Log() {
  if (log_ == nullptr) log_ = std::make_unique<StagedLog>(seams_.store, group_);
  return *log_;
}

bool GroupDriver::Refuse(const Ready& ready, Fatal::Kind kind, absl::string_view text) {
  Stop(kind, text);
  FailReads(ready);
  return false;
}

void GroupDriver::Stop(Fatal::Kind kind, absl::string_view text) {
  fatal_ = std::make_unique<Fatal>(Fatal{kind, absl::StrCat(text, "; ", core_.Dump())});
  core_.Stop();
  TellStopped(core_.TakeReady());
}

void GroupDriver::TellStopped(const Ready& last) {
  machine_.OnRoleChange(*last.role);
  FailReads(last);
}

void GroupDriver::FailReads(const Ready& ready) {
  for (uint64_t id : ready.reads_failed) machine_.OnReadAnswered(id, false);
  for (const ReadReady& read : ready.reads_ready) machine_.OnReadAnswered(read.id, false);
}

void GroupDriver::SetLogStart(Offset log_start) {
  if (log_start_ != nullptr && log_start <= log_start_->log_start) return;
  log_start_ = std::make_unique<LogStartMove>(LogStartMove{log_start, applied_});
}

// An entry may be committed and applied while its write here is under way: it goes when that is over. And with the records below
// the log start go committed entries without records that lie right behind them: those are applied first.
bool GroupDriver::LogStartIsDue() const {
  return log_start_ != nullptr && core_.stable_index() >= log_start_->after && applied_ == committed_;
}

void GroupDriver::StageLogStart(Round& round) {
  if (!LogStartIsDue()) return;
  Log().StageLogStart(log_start_->log_start, round);
  log_start_.reset();
  staged_ = log_start_staged_ = true;
}

// On the disk before the first ack that is not: so it is in front of all that is staged from now on. It goes in a later write than
// those that were acked unsynced, which are on the disk when it is.
void GroupDriver::StageFlush(Round& round) {
  if (!std::exchange(flush_due_, false)) return;
  StageUnsyncedAcks(round, group_, flush_ == Flush::kAsync);
  staged_ = true;
  if (flush_ == Flush::kAsync) in_flight_.push_back({.seq = ReadySeq(0), .needs_sync = true});
}

// Entries without records that go with it may be durable a little later.
void GroupDriver::TellPrefixRemoved() {
  if (!log_start_moved_) return;
  const LogIndex first = seams_.store.State(group_).first_index;
  if (first - 1 > std::min(core_.commit_index(), core_.stable_index())) return;
  core_.OnPrefixRemoved(first);
  log_start_moved_ = false;
}

void GroupDriver::Tell(const Ready& ready) {
  if (ready.truncate_from) machine_.OnTruncated(*ready.truncate_from);
  if (ready.role) machine_.OnRoleChange(*ready.role);
  for (const Notice& notice : ready.notices) machine_.OnNotice(notice);
  for (uint64_t id : ready.reads_failed) machine_.OnReadAnswered(id, false);
  for (const ReadReady& read : ready.reads_ready) {
    MILLRACE_CHECK(read.index <= applied_) << "group " << group_ << ": applied is " << applied_ << "; " << core_.Dump();
    machine_.OnReadAnswered(read.id, true);
  }
  core_.OnApplied(applied_);
}

void GroupDriver::Send(std::vector<Message>& messages) {
  for (Message& message : messages) seams_.transport.Send(group_, std::move(message));
  messages.clear();
}

// ---- Durability

void GroupDriver::OnWritten(RoundSeq round) {
  if (!Works()) return;
  log_.reset();
  if (std::exchange(staged_, false)) last_written_ = round;
  if (std::exchange(log_start_staged_, false)) log_start_moved_ = true;
  for (InFlight& taken : in_flight_) {
    if (taken.written) continue;
    taken.written = round;
    committed_ = std::max(committed_, taken.commit);
  }
  Advance();
  ApplyCommitted();
}

void GroupDriver::OnSynced(RoundSeq round) {
  synced_ = std::max(synced_, round);
  Advance();
}

void GroupDriver::Advance() {
  auto next = in_flight_.begin();
  ReadySeq durable;
  for (; Works() && next != in_flight_.end(); ++next) {
    if (!next->written || (next->needs_sync && *next->written > synced_)) break;
    if (next->seq == ReadySeq(0)) core_.SetSynced(flush_ == Flush::kCommit);
    Send(next->send_after_persist);
    durable = std::max(durable, next->seq);
  }
  in_flight_.erase(in_flight_.begin(), next);
  // Once for all of them: each call looks at everything that is under way.
  if (durable != ReadySeq(0)) core_.OnPersisted(durable);
  if (in_flight_.empty()) in_flight_.shrink_to_fit();
  TellPrefixRemoved();
}

void GroupDriver::SetFlush(Flush flush) {
  if (flush == flush_) return;
  flush_ = flush;
  flush_due_ = true;
  if (flush == Flush::kAsync) return core_.SetSynced(false);
  for (InFlight& taken : in_flight_) taken.needs_sync = true;
  // What was acked unsynced is waited for, too, in front of what is not acked.
  in_flight_.insert(in_flight_.begin(), {.seq = ReadySeq(0), .needs_sync = true, .written = last_written_});
  Advance();
}

bool GroupDriver::AwaitsSync() const {
  return Works() && std::any_of(in_flight_.begin(), in_flight_.end(), [this](const InFlight& taken) {
           return taken.needs_sync && taken.written && *taken.written > synced_;
         });
}

void GroupDriver::OnFailed(absl::Status status) {
  MILLRACE_CHECK(!status.ok()) << "group " << group_;
  if (failure_.ok()) failure_ = std::move(status);
  core_.Stop();
}

// ---- Applying

void GroupDriver::ApplyCommitted() {
  while (Works() && applied_ < committed_ && !IsReadingToApply()) {
    std::vector<Entry> entries;
    if (!seams_.store.ReadCachedEntries(group_, applied_ + 1, committed_, kApplyBytesMax, &entries)) {
      return Read(applied_ + 1, committed_, kApplyBytesMax, std::nullopt);
    }
    Apply(entries);
  }
}

void GroupDriver::Apply(const std::vector<Entry>& entries) {
  machine_.Apply(entries);
  applied_ = entries.back().header.index;
  core_.OnApplied(applied_);
}

// ---- Reading

void GroupDriver::Answer(const EntryRequest& request) {
  std::vector<Entry> entries;
  const bool is_here = seams_.reader.HasRoom(request.to) &&
                       seams_.store.ReadCachedEntries(group_, request.first, request.last, request.bytes_max, &entries);
  // The core waits for the last it asked for: another answer would have it ask for the same again, for ever behind itself.
  std::erase_if(reads_, [&](const PendingRead& read) { return read.request && read.request->to == request.to; });
  if (!is_here) return Read(request.first, request.last, request.bytes_max, request);
  core_.OnEntries(request, std::move(entries));
}

// From what the state machine gives and what the log and the core know of that place.
std::optional<InstallSnapshot> GroupDriver::MakeSnapshot() {
  std::optional<StateMachine::Snapshot> made = machine_.MakeSnapshot();
  if (!made) return std::nullopt;
  const LogState state = seams_.store.State(group_);
  MILLRACE_CHECK(made->last >= state.begin.before.index && made->last <= applied_)
      << "group " << group_ << ": a snapshot of " << made->last << ", the log begins behind "
      << state.begin.before.index << ", applied is " << applied_;
  InstallSnapshot snapshot{.last = state.begin.before,
                           .end_offset = state.begin.end_offset,
                           .log_start = state.log_start,
                           .append_time = state.begin.append_time,
                           .chain = state.begin.chain,
                           .state = std::move(made->state)};
  if (made->last != state.begin.before.index) {
    absl::StatusOr<EntryHeader> header = seams_.store.HeaderAt(group_, made->last);
    if (!header.ok()) return std::nullopt;
    snapshot.last = {header->term, header->index};
    snapshot.end_offset = header->end_offset();
    snapshot.append_time = header->append_time;
    snapshot.chain = header->chain;
  }
  // As with the first entries (core_membership.cc).
  const MembershipAt& committed = core_.memberships().front();
  snapshot.membership = committed.membership;
  snapshot.membership_index = std::min(committed.index, snapshot.last.index);
  return snapshot;
}

void GroupDriver::Read(LogIndex first, LogIndex last, size_t bytes_max, std::optional<EntryRequest> request) {
  // Drawn: answers to an earlier driver of the group may still come.
  const uint64_t id = seams_.random.Next();
  const ReplicaId to = request ? request->to : kNoReplica;
  reads_.push_back({id, std::move(request)});
  seams_.reader.Read(group_, {.id = id, .first = first, .last = last, .bytes_max = bytes_max, .to = to});
}

bool GroupDriver::IsReadingToApply() const {
  return std::any_of(reads_.begin(), reads_.end(), [](const PendingRead& read) { return !read.request; });
}

bool GroupDriver::Awaits(uint64_t id) const {
  return std::any_of(reads_.begin(), reads_.end(), [id](const PendingRead& read) { return read.id == id; });
}

void GroupDriver::OnRead(uint64_t id, absl::StatusOr<std::vector<Entry>> entries) {
  const auto read = std::find_if(reads_.begin(), reads_.end(), [id](const PendingRead& r) { return r.id == id; });
  if (read == reads_.end()) return;
  const std::optional<EntryRequest> request = read->request;
  reads_.erase(read);
  if (reads_.empty()) reads_.shrink_to_fit();
  if (!Works()) return;
  if (!request) return OnReadToApply(std::move(entries));
  if (absl::IsDataLoss(entries.status())) {
    machine_.OnNotice({.kind = Notice::kDamagedEntry, .replica = request->to, .index = request->first});
  }
  core_.OnEntries(*request, entries.ok() ? *std::move(entries) : std::vector<Entry>());
}

void GroupDriver::OnReadToApply(absl::StatusOr<std::vector<Entry>> entries) {
  if (entries.ok() && !entries->empty()) {
    MILLRACE_CHECK(entries->front().header.index == applied_ + 1) << "group " << group_;
    Apply(*entries);
  } else if (absl::IsDataLoss(entries.status())) {
    absl::Status passed = machine_.ApplyDamaged(applied_ + 1, entries.status());
    if (!passed.ok()) return Stop(Fatal::kDamagedLog, passed.message());
    core_.OnApplied(++applied_);
  } else {
    return core_.Wake();  // again with the next work there is: at once would be a loop while the disk is in trouble
  }
  ApplyCommitted();
}

}  // namespace millrace::raft
