#include "tests/support/fake_log_store.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "raft/damage.h"

namespace millrace {
namespace {

using raft::Entry;
using raft::GroupId;
using raft::LogIndex;
using raft::Offset;

absl::Status NotFound(GroupId group) { return absl::NotFoundError(absl::StrCat("no log of group ", group.value())); }

std::optional<Entry> EntryAt(const std::map<GroupId, MemoryLog>& disk, GroupId group, Offset offset) {
  const auto log = disk.find(group);
  const Entry* const entry = log == disk.end() ? nullptr : log->second.EntryAt(offset);
  return entry == nullptr ? std::nullopt : std::optional(*entry);
}

class FakeRound : public raft::Round {
 public:
  using Change = std::function<void(MemoryLog&)>;

  void Append(GroupId group, Entry entry) override {
    bytes_ += entry.payload.size();
    Stage(group, [entry = std::move(entry)](MemoryLog& log) { log.Append(entry); });
  }
  void TruncateSuffix(GroupId group, LogIndex first_removed) override {
    ++truncations;
    Stage(group, [first_removed](MemoryLog& log) { log.TruncateSuffix(first_removed); });
  }
  void Reset(GroupId group, const raft::LogBegin& begin) override {
    ++resets;
    Stage(group, [begin](MemoryLog& log) { log.Reset(begin); });
  }
  void SetTermAndVote(GroupId group, const raft::TermAndVote& state) override {
    Stage(group, [state](MemoryLog& log) { log.SetTermAndVote(state); });
  }
  void SetLogStart(GroupId group, Offset log_start) override {
    Stage(group, [log_start](MemoryLog& log) { log.SetLogStart(log_start); });
  }
  void PutValue(GroupId group, std::string_view key, std::string_view value) override {
    Stage(group, [k = std::string(key), v = std::string(value)](MemoryLog& log) { log.values()[k] = v; });
  }
  void DeleteValue(GroupId group, std::string_view key) override {
    Stage(group, [k = std::string(key)](MemoryLog& log) { log.values().erase(k); });
  }
  bool empty() const override { return changes_.empty(); }
  size_t bytes() const override { return bytes_; }

  std::vector<std::pair<GroupId, Change>> Take() {
    bytes_ = 0;
    return std::exchange(changes_, {});
  }

  uint64_t truncations = 0;
  uint64_t resets = 0;

 private:
  void Stage(GroupId group, Change change) { changes_.emplace_back(group, std::move(change)); }

  std::vector<std::pair<GroupId, Change>> changes_;
  size_t bytes_ = 0;
};

}  // namespace

FakeLogStore::FakeLogStore(Schedule schedule)
    : schedule_(std::move(schedule)), self_(std::make_shared<FakeLogStore*>(this)) {}

size_t FakeLogStore::CompleteSyncs() {
  size_t completed = 0;
  for (size_t waiting = waiting_syncs(); completed < waiting && CompleteSync(); ++completed) {
  }
  return completed;
}

size_t FakeLogStore::waiting_syncs() const {
  std::lock_guard lock(mutex_);
  return waiting_.size();
}

size_t FakeLogStore::unsynced_writes() const {
  std::lock_guard lock(mutex_);
  return unsynced_.size();
}

raft::LogState FakeLogStore::SyncedState(GroupId group) const {
  std::lock_guard lock(mutex_);
  return synced_.at(group).State();
}

absl::StatusOr<raft::Term> FakeLogStore::SyncedTermAt(GroupId group, LogIndex index) const {
  std::lock_guard lock(mutex_);
  return synced_.at(group).TermAt(index);
}

raft::Offset FakeLogStore::WrittenEnd(GroupId group) const {
  std::lock_guard lock(mutex_);
  const auto found = written_.find(group);
  return found == written_.end() ? raft::Offset(0) : found->second.log_end();
}

raft::Offset FakeLogStore::SyncedEnd(GroupId group) const {
  std::lock_guard lock(mutex_);
  const auto found = synced_.find(group);
  return found == synced_.end() ? raft::Offset(0) : found->second.log_end();
}

std::optional<Entry> FakeLogStore::WrittenAt(GroupId group, Offset offset) const {
  std::lock_guard lock(mutex_);
  return EntryAt(written_, group, offset);
}

std::optional<Entry> FakeLogStore::SyncedAt(GroupId group, Offset offset) const {
  std::lock_guard lock(mutex_);
  return EntryAt(synced_, group, offset);
}

void FakeLogStore::Crash(size_t unsynced_writes_kept) {
  std::lock_guard lock(mutex_);
  const size_t kept = std::min(unsynced_writes_kept, unsynced_.size());
  for (size_t i = 0; i < kept; ++i) unsynced_[i](synced_);
  writes_ -= unsynced_.size() - kept;
  unsynced_.clear();
  written_ = synced_;
  open_.clear();
  cached_from_.clear();
  waiting_.clear();
  stalled_ = false;
  retries_.clear();
  ++crashes_;
  health_ = next_write_ = next_sync_ = absl::OkStatus();
}

void FakeLogStore::Stall() {
  std::lock_guard lock(mutex_);
  stalled_ = true;
}

void FakeLogStore::EndStall() {
  std::vector<Task> retries;
  {
    std::lock_guard lock(mutex_);
    stalled_ = false;
    retries.swap(retries_);
  }
  for (const Task& retry : retries) retry();
}

void FakeLogStore::FailNextWrite(absl::Status status) {
  std::lock_guard lock(mutex_);
  next_write_ = std::move(status);
}

void FakeLogStore::FailNextSync(absl::Status status) {
  std::lock_guard lock(mutex_);
  next_sync_ = std::move(status);
}

void FakeLogStore::Damage(GroupId group, LogIndex index) {
  std::lock_guard lock(mutex_);
  damaged_.emplace(group, index);
}

void FakeLogStore::DamageHeader(GroupId group, LogIndex index) {
  std::lock_guard lock(mutex_);
  damaged_headers_.emplace(group, index);
}

void FakeLogStore::ChangePayload(GroupId group, LogIndex index, const std::function<void(std::string&)>& change) {
  std::lock_guard lock(mutex_);
  auto entries = written_.at(group).ReadEntries(index, index, 0);
  MILLRACE_CHECK(entries.ok() && entries->size() == 1) << "group " << group << " entry " << index;
  std::string payload(entries->front().payload);
  change(payload);
  Apply([group, index, payload = absl::Cord(payload)](Disk& disk) { disk.at(group).SetPayload(index, payload); });
}

void FakeLogStore::DamageEnd(GroupId group) {
  std::lock_guard lock(mutex_);
  MILLRACE_CHECK(!open_.contains(group)) << "group " << group;
  Apply([group](Disk& disk) { disk.at(group).TruncateSuffix(disk.at(group).State().last_index); });
  read_only_.insert(group);
}

void FakeLogStore::DamageWhole(GroupId group) {
  std::lock_guard lock(mutex_);
  MILLRACE_CHECK(!open_.contains(group)) << "group " << group;
  damaged_logs_.insert(group);
}

void FakeLogStore::DropCache() {
  std::lock_guard lock(mutex_);
  for (GroupId group : open_) cached_from_[group] = written_.at(group).State().log_end;
}

uint64_t FakeLogStore::writes() const {
  std::lock_guard lock(mutex_);
  return writes_;
}

uint64_t FakeLogStore::read_bytes() const {
  std::lock_guard lock(mutex_);
  return read_bytes_;
}

uint64_t FakeLogStore::syncs() const {
  std::lock_guard lock(mutex_);
  return syncs_;
}

void FakeLogStore::Apply(Change change) {
  change(written_);
  unsynced_.push_back(std::move(change));
  ++writes_;
}

absl::Status FakeLogStore::Create(GroupId group, const raft::SegmentLimits& limits) {
  std::lock_guard lock(mutex_);
  if (!health_.ok()) return health_;
  if (stalled_) return raft::StalledError();
  if (written_.contains(group)) return absl::AlreadyExistsError(absl::StrCat("group ", group.value(), " has a log"));
  Apply([group, limits](Disk& disk) { disk.emplace(group, MemoryLog(limits)); });
  return absl::OkStatus();
}

absl::Status FakeLogStore::Remove(const std::vector<GroupId>& groups) {
  std::lock_guard lock(mutex_);
  if (!health_.ok()) return health_;
  if (stalled_) return raft::StalledError();
  Apply([groups](Disk& disk) {
    for (GroupId group : groups) disk.erase(group);
  });
  for (GroupId group : groups) {
    open_.erase(group);
    cached_from_.erase(group);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<GroupId>> FakeLogStore::List() {
  std::lock_guard lock(mutex_);
  if (!health_.ok()) return health_;
  std::vector<GroupId> groups;
  for (const auto& [group, log] : written_) groups.push_back(group);
  return groups;
}

absl::StatusOr<raft::LogState> FakeLogStore::Open(GroupId group) {
  std::lock_guard lock(mutex_);
  if (!health_.ok()) return health_;
  auto found = written_.find(group);
  if (found == written_.end()) return NotFound(group);
  if (damaged_logs_.contains(group)) return absl::DataLossError("the test's log has entries and no segments");
  raft::LogState state = found->second.State();
  state.read_only = read_only_.contains(group);
  if (open_.insert(group).second) cached_from_[group] = state.log_end;
  return state;
}

raft::LogState FakeLogStore::State(GroupId group) {
  std::lock_guard lock(mutex_);
  MILLRACE_CHECK(open_.contains(group)) << "group " << group;
  return written_.at(group).State();
}

std::vector<raft::SegmentInfo> FakeLogStore::Segments(GroupId group) {
  std::lock_guard lock(mutex_);
  MILLRACE_CHECK(open_.contains(group)) << "group " << group;
  return written_.at(group).Segments();
}

void FakeLogStore::SetLimits(GroupId group, const raft::SegmentLimits& limits) {
  std::lock_guard lock(mutex_);
  MILLRACE_CHECK(open_.contains(group)) << "group " << group;
  Apply([group, limits](Disk& disk) { disk.at(group).SetLimits(limits); });
}

std::unique_ptr<raft::Round> FakeLogStore::NewRound() { return std::make_unique<FakeRound>(); }

absl::Status FakeLogStore::Write(raft::Round& round) {
  std::lock_guard lock(mutex_);
  if (health_.ok() && stalled_) return raft::StalledError();
  auto& fake = static_cast<FakeRound&>(round);
  truncations_ += std::exchange(fake.truncations, 0);
  resets_ += std::exchange(fake.resets, 0);
  auto changes = fake.Take();
  if (health_.ok()) health_ = std::exchange(next_write_, absl::OkStatus());
  if (!health_.ok()) return health_;
  // A log may have been removed after its changes were staged.
  std::erase_if(changes, [this](const auto& change) { return !written_.contains(change.first); });
  for (const auto& [group, change] : changes) MILLRACE_CHECK(open_.contains(group)) << "group " << group;
  Apply([changes = std::move(changes)](Disk& disk) {
    for (const auto& [group, change] : changes) change(disk.at(group));
  });
  // What was truncated and written again is cached from where it was cut.
  for (auto& [group, from] : cached_from_) from = std::min(from, written_.at(group).State().log_end);
  return absl::OkStatus();
}

void FakeLogStore::WhenWritable(Task retry) {
  {
    std::lock_guard lock(mutex_);
    if (stalled_) return retries_.push_back(std::move(retry));
  }
  retry();
}

void FakeLogStore::Sync(std::function<void(absl::Status)> done) {
  uint64_t crashes;
  {
    std::lock_guard lock(mutex_);
    waiting_.push_back({writes_, std::move(done)});
    crashes = crashes_;
  }
  if (schedule_ == nullptr) return;
  schedule_([weak = std::weak_ptr(self_), crashes] {
    auto self = weak.lock();
    if (self == nullptr) return;
    FakeLogStore& store = **self;
    {
      std::lock_guard lock(store.mutex_);
      if (store.crashes_ != crashes) return;
    }
    store.CompleteSync();
  });
}

bool FakeLogStore::CompleteSync() {
  WaitingSync sync;
  absl::Status status;
  {
    std::lock_guard lock(mutex_);
    if (waiting_.empty()) return false;
    sync = std::move(waiting_.front());
    waiting_.pop_front();
    if (health_.ok()) health_ = std::exchange(next_sync_, absl::OkStatus());
    status = health_;
    if (status.ok()) {
      ++syncs_;
      for (uint64_t synced = writes_ - unsynced_.size(); synced < sync.writes; ++synced) {
        unsynced_.front()(synced_);
        unsynced_.pop_front();
      }
    }
  }
  sync.done(status);
  return true;
}

absl::StatusOr<MemoryLog*> FakeLogStore::FindOpen(GroupId group) {
  if (!health_.ok()) return health_;
  if (!open_.contains(group)) return NotFound(group);
  return &written_.at(group);
}

absl::StatusOr<std::vector<Entry>> FakeLogStore::UpToDamage(GroupId group,
                                                            absl::StatusOr<std::vector<Entry>> entries) const {
  if (!entries.ok()) return entries;
  for (size_t i = 0; i < entries->size(); ++i) {
    const LogIndex index = (*entries)[i].header.index;
    if (!damaged_.contains({group, index})) continue;
    if (i == 0) {
      const raft::EntryHeader& header = (*entries)[i].header;
      const std::string text = absl::StrCat("group ", group.value(), " entry ", index.value(), " is damaged");
      return raft::DamagedEntry(text, {header.base_offset, header.end_offset()});
    }
    entries->resize(i);
  }
  return entries;
}

bool FakeLogStore::ReadCached(GroupId group, Offset from, Offset end, size_t bytes_max, std::vector<Entry>* entries) {
  std::lock_guard lock(mutex_);
  auto log = FindOpen(group);
  if (!log.ok()) return false;
  const raft::LogState state = (*log)->State();
  if (from < cached_from_.at(group) || from < state.log_start || from > state.log_end) return false;
  *entries = (*log)->Read(from, end, bytes_max).value();
  return true;
}

bool FakeLogStore::ReadCachedEntries(GroupId group, LogIndex first, LogIndex last, size_t bytes_max,
                                     std::vector<Entry>* entries) {
  std::lock_guard lock(mutex_);
  auto log = FindOpen(group);
  if (!log.ok()) return false;
  const absl::StatusOr<raft::EntryHeader> header = (*log)->HeaderAt(first);
  if (!header.ok() || header->base_offset < cached_from_.at(group)) return false;
  *entries = (*log)->ReadEntries(first, last, bytes_max).value();
  return true;
}

absl::StatusOr<std::vector<Entry>> FakeLogStore::Read(GroupId group, Offset from, Offset end, size_t bytes_max) {
  std::lock_guard lock(mutex_);
  auto log = FindOpen(group);
  if (!log.ok()) return log.status();
  return UpToDamage(group, (*log)->Read(from, end, bytes_max));
}

absl::StatusOr<std::vector<Entry>> FakeLogStore::ReadEntries(GroupId group, LogIndex first, LogIndex last,
                                                             size_t bytes_max) {
  std::lock_guard lock(mutex_);
  auto log = FindOpen(group);
  if (!log.ok()) return log.status();
  auto entries = UpToDamage(group, (*log)->ReadEntries(first, last, bytes_max));
  if (entries.ok()) {
    for (const Entry& entry : *entries) read_bytes_ += entry.payload.size();
  }
  return entries;
}

absl::StatusOr<raft::Term> FakeLogStore::TermAt(GroupId group, LogIndex index) {
  std::lock_guard lock(mutex_);
  auto log = FindOpen(group);
  if (!log.ok()) return log.status();
  return (*log)->TermAt(index);
}

absl::StatusOr<raft::EntryHeader> FakeLogStore::HeaderAt(GroupId group, LogIndex index) {
  std::lock_guard lock(mutex_);
  auto log = FindOpen(group);
  if (!log.ok()) return log.status();
  if (damaged_headers_.contains({group, index})) {
    return absl::DataLossError(absl::StrCat("group ", group.value(), " entry ", index.value(), " is damaged"));
  }
  return (*log)->HeaderAt(index);
}

absl::StatusOr<raft::EntryHeader> FakeLogStore::HeaderFor(GroupId group, Offset offset) {
  const absl::StatusOr<std::vector<Entry>> entries = Read(group, offset, offset + 1'000'000'000, 1);
  if (!entries.ok()) return entries.status();
  if (entries->empty()) return absl::OutOfRangeError(absl::StrCat("no entry holds offset ", offset.value()));
  return entries->front().header;
}

absl::StatusOr<Offset> FakeLogStore::OffsetForTime(GroupId group, int64_t timestamp) {
  std::lock_guard lock(mutex_);
  auto log = FindOpen(group);
  if (!log.ok()) return log.status();
  return (*log)->OffsetForTime(timestamp);
}

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> FakeLogStore::Values(GroupId group) {
  std::lock_guard lock(mutex_);
  auto log = FindOpen(group);
  if (!log.ok()) return log.status();
  return std::vector<std::pair<std::string, std::string>>((*log)->values().begin(), (*log)->values().end());
}

}  // namespace millrace
