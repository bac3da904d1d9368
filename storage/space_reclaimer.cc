#include "storage/space_reclaimer.h"

#include <algorithm>
#include <memory>
#include <utility>

#include <rocksdb/db.h>

#include "storage/rocks_util.h"

namespace millrace::storage {
namespace {

using raft::GroupId;
using rocksdb::BottommostLevelCompaction;

constexpr GroupId kLastGroup(INT64_MAX - 1);
constexpr uint64_t kCheapBytes = 16 << 20;
constexpr uint64_t kCheapAfterAWhileBytes = 64 << 20;
constexpr std::chrono::milliseconds kAWhile{30'000};  // on top of the delay
// When so many times the bytes of all tables were removed, they are rewritten at once: 0.1 CPU s per GB that comes in and goes.
constexpr uint64_t kRemovedPerTables = 64;
// Or when so many times dead_bytes_max were, whichever is more.
constexpr uint64_t kRemovedMax = 2;
constexpr int64_t kRemovedPart = 4;  // of what was removed may be rewritten
// Of all there is, for what an earlier process removed: how much is not known.
constexpr uint64_t kRemovedBeforePart = 16;
constexpr double kDeadPart = 0.1;  // of what lives
// While the disk is short.
constexpr uint64_t kDeadMaxWhenShort = 4 << 20;
constexpr double kDeadPartMinWhenShort = 0.125;  // of a file that payloads are moved out of
constexpr uint64_t kFreePartWhenShort = 4;       // of what is free may be written at once
constexpr int kPausesWhenShort = 10;             // times as long as it took, before the next time
// Of what may be dead stays when payloads are moved, so that it does not begin again at once.
constexpr uint64_t kDeadLeftPart = 2;
constexpr double kDeadPartStop = 0.2;  // of what lives, and
constexpr int64_t kDeadStop = 3;       // times dead_bytes_max: above it writers wait for payloads to be moved
constexpr size_t kRemovalsMax = 16;    // compacted one by one; more are taken together with what lies between
constexpr std::chrono::milliseconds kLookEvery{1000};
constexpr int64_t kLookAtBytes = 64 << 20;  // or when so much more was removed
constexpr std::chrono::milliseconds kNoPause{0};
constexpr std::chrono::milliseconds kPauseMax{60'000};  // after payloads were to be moved and nothing was gained
constexpr std::chrono::milliseconds kFirstDelay{2000};  // at most, after the start
// Moved at a time, beside so many times what the tables have. While payloads are moved no other compaction runs, and the tables
// of flushes add up; on the other hand all keys are rewritten each time.
constexpr uint64_t kMovedBytesMax = 256 << 20;
constexpr uint64_t kMovedPerTables = 4;

constexpr GroupRange kAllGroups = {GroupId(0), kLastGroup};

KeyRange EntriesOf(GroupRange groups) {
  return {EntriesFrom(groups.first, raft::LogIndex(0)).begin, EntriesFrom(groups.last, raft::LogIndex(0)).end};
}

}  // namespace

SpaceReclaimer::SpaceReclaimer(rocksdb::DB& db, PayloadFiles& payloads, WriteStall& stall, const Options& options)
    : db_(db), payloads_(payloads), stall_(stall), options_(options), thread_([this] { Run(); }) {
  // Soon, as the next process may not run for long either.
  const Clock::time_point since = Clock::now() - std::max(options_.delay - kFirstDelay, std::chrono::milliseconds(0));
  std::lock_guard lock(mutex_);
  for (const std::string& key : options_.removed_groups) {
    if (const std::optional<GroupRange> groups = ParseRemovedGroupsKey(key)) AddLogs(*groups, since);
  }
  if (options_.removed_before) removed_before_ = {.groups = kAllGroups, .since = since};
}

SpaceReclaimer::~SpaceReclaimer() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  look_.notify_one();
  thread_.join();
}

void SpaceReclaimer::Removed(GroupId group, int64_t bytes, int64_t table_bytes) {
  std::lock_guard lock(mutex_);
  const int64_t before = removed_ ? removed_->bytes : 0;
  Add({.groups = {group, group}, .bytes = bytes, .table_bytes = table_bytes, .since = Clock::now()});
  // At a GB/s it would be late when it looks again.
  const auto much = static_cast<int64_t>(options_.dead_bytes_max);
  if (removed_->bytes > much && removed_->bytes / kLookAtBytes != before / kLookAtBytes) look_.notify_one();
}

void SpaceReclaimer::RemovedLogs(const std::vector<GroupId>& groups) {
  std::lock_guard lock(mutex_);
  for (GroupId group : groups) AddLogs({group, group}, Clock::now());
}

void SpaceReclaimer::AddLogs(GroupRange groups, Clock::time_point since) {
  const bool adjoins = !removed_logs_.empty() && removed_logs_.back().groups.last + 1 == groups.first;
  if (!adjoins && removed_logs_.size() < kRemovalsMax) {
    removed_logs_.push_back({.groups = groups, .since = since});
    return;
  }
  GroupRange& range = removed_logs_.back().groups;
  range = {std::min(range.first, groups.first), std::max(range.last, groups.last)};
}

std::vector<std::string> SpaceReclaimer::MarksIn(GroupRange groups) const {
  std::vector<std::string> marks;
  const KeyRange all = AllRemovedGroups();
  const std::unique_ptr<rocksdb::Iterator> key(db_.NewIterator(rocksdb::ReadOptions()));
  for (key->Seek(ToSlice(all.begin)); key->Valid() && all.Contains(ToView(key->key())); key->Next()) {
    const std::optional<GroupRange> marked = ParseRemovedGroupsKey(ToView(key->key()));
    if (marked && groups.first <= marked->first && marked->last <= groups.last) marks.push_back(key->key().ToString());
  }
  return marks;  // fewer if something cannot be read: the others stay
}

void SpaceReclaimer::Run() {
  const auto look_every = std::clamp(options_.delay, std::chrono::milliseconds(1), kLookEvery);
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    look_.wait_for(lock, look_every);
    lock.unlock();
    for (const Removal& due : TakeDue()) Reclaim(due);
    if (!done_.empty() && options_.forget(done_)) done_.clear();
    while (Clock::now() >= evacuate_after_ && Evacuate()) {
    }
    lock.lock();
  }
}

void SpaceReclaimer::Reclaim(const Removal& removal) {
  const std::vector<std::string> marks = MarksIn(removal.groups);  // what is removed from here on may be missed
  // Also what was moved to the lowest level as it was; not what this compaction wrote there itself.
  bool compacted = Compact(removal.groups, BottommostLevelCompaction::kForceOptimized);
  // RocksDB looks down to the level that was the deepest with such keys when it began. A compaction that was under way may have
  // taken them further down meanwhile.
  for (const std::string& mark : marks) {
    compacted = compacted && Compact(*ParseRemovedGroupsKey(mark), BottommostLevelCompaction::kForceOptimized);
  }
  if (compacted) done_.insert(done_.end(), marks.begin(), marks.end());
  ++runs_;
}

std::vector<SpaceReclaimer::Removal> SpaceReclaimer::TakeDue() {
  const Clock::time_point latest = Clock::now() - options_.delay;
  std::vector<Removal> due;
  // RocksDB and the disk are asked without mutex_: the thread that writes takes it, too.
  const bool is_short = SpaceIsShort() && Clock::now() >= evacuate_after_;
  const uint64_t when_short = is_short ? WritableWhenShort() : 0;
  if (std::optional<Removal> removal = TakeRemoved(latest, is_short)) {
    const bool waited = Clock::now() - removal->since > options_.delay + kAWhile;
    if (IsCheap(*removal, std::max(when_short, waited ? kCheapAfterAWhileBytes : kCheapBytes))) {
      due.push_back(*removal);
    } else {
      std::lock_guard lock(mutex_);
      Add(*removal);
    }
  }
  // A part of all there is may be more than there is room for.
  const uint64_t for_removed_before = is_short ? when_short : LiveBytes(payloads_.space()) / kRemovedBeforePart;
  if (const std::optional<Removal> before =
          TakeRemovedBefore(latest, std::max(for_removed_before, kCheapAfterAWhileBytes), is_short)) {
    due.push_back(*before);
  }
  std::lock_guard lock(mutex_);
  std::erase_if(removed_logs_, [&](const Removal& removal) {
    if (removal.since > latest && !is_short) return false;
    due.push_back(removal);
    return true;
  });
  return due;
}

std::optional<SpaceReclaimer::Removal> SpaceReclaimer::TakeRemovedBefore(Clock::time_point latest, uint64_t cheap_bytes,
                                                                         bool is_short) {
  std::optional<Removal> before;
  {
    std::lock_guard lock(mutex_);
    before = removed_before_;
  }
  if (!before || before->since > latest) return std::nullopt;
  const GroupId last = before->groups.last;
  bool is_cheap = IsCheap(*before, cheap_bytes);
  if (!is_cheap) {
    if (!is_short) return std::nullopt;
    before->groups.last = LastCheap(before->groups, cheap_bytes);
    is_cheap = IsCheap(*before, cheap_bytes);  // not a log that is too much by itself: it is left to RocksDB
  }
  std::lock_guard lock(mutex_);
  removed_before_->groups.first = before->groups.last + 1;
  if (before->groups.last == last) removed_before_.reset();
  return is_cheap ? before : std::nullopt;
}

GroupId SpaceReclaimer::LastCheap(GroupRange groups, uint64_t cheap_bytes) const {
  GroupId cheap = groups.first;
  GroupId too_much = groups.last;
  while (cheap + 1 < too_much) {
    const GroupId middle = cheap + (too_much - cheap) / 2;
    (IsCheap({.groups = {groups.first, middle}}, cheap_bytes) ? cheap : too_much) = middle;
  }
  return cheap;
}

std::optional<SpaceReclaimer::Removal> SpaceReclaimer::TakeRemoved(Clock::time_point latest, bool is_short) {
  const PayloadFiles::Space space = payloads_.space();
  const uint64_t pays = std::max(kRemovedMax * options_.dead_bytes_max, kRemovedPerTables * TableBytes());
  const uint64_t removed_max = DeadMax(space) + (kRemovedMax - 1) * options_.dead_bytes_max;
  std::lock_guard lock(mutex_);
  if (!removed_) return std::nullopt;
  const auto removed = static_cast<uint64_t>(removed_->bytes);
  const bool much = removed > pays || space.dead + removed > removed_max || is_short;
  if (removed_->since > latest && !much) return std::nullopt;
  return std::exchange(removed_, std::nullopt);
}

void SpaceReclaimer::Add(const Removal& removal) {
  if (!removed_) {
    removed_ = removal;
    return;
  }
  removed_->groups = {std::min(removed_->groups.first, removal.groups.first),
                      std::max(removed_->groups.last, removal.groups.last)};
  removed_->bytes += removal.bytes;
  removed_->table_bytes += removal.table_bytes;
  removed_->since = std::min(removed_->since, removal.since);
}

uint64_t SpaceReclaimer::TableBytes() const {
  uint64_t bytes = 0;
  return db_.GetIntProperty(rocksdb::DB::Properties::kTotalSstFilesSize, &bytes) ? bytes : 0;
}

uint64_t SpaceReclaimer::LiveBytes(const PayloadFiles::Space& space) const { return space.live + TableBytes(); }

uint64_t SpaceReclaimer::DeadMax(const PayloadFiles::Space& space) const {
  return options_.dead_bytes_max + static_cast<uint64_t>(kDeadPart * static_cast<double>(LiveBytes(space)));
}

int64_t SpaceReclaimer::WritableBytes(const PayloadFiles::Space& space) const {
  const auto stop = kDeadStop * static_cast<int64_t>(options_.dead_bytes_max) +
                    static_cast<int64_t>(kDeadPartStop * static_cast<double>(LiveBytes(space)));
  return stop - static_cast<int64_t>(space.dead - space.stuck);
}

bool SpaceReclaimer::IsCheap(const Removal& removal, uint64_t cheap_bytes) const {
  const KeyRange entries = EntriesOf(removal.groups);
  const rocksdb::Range range(ToSlice(entries.begin), ToSlice(entries.end));
  uint64_t bytes = 0;
  rocksdb::SizeApproximationOptions files;
  files.include_files = true;
  files.include_memtables = false;
  if (!db_.GetApproximateSizes(files, db_.DefaultColumnFamily(), &range, 1, &bytes).ok()) return false;
  const auto for_removed = static_cast<uint64_t>(removal.bytes / kRemovedPart + removal.table_bytes);
  return bytes <= for_removed || bytes - for_removed <= cheap_bytes;
}

// A failure is the listener's: it has stopped the store.
bool SpaceReclaimer::Compact(GroupRange groups, BottommostLevelCompaction lowest) {
  if (stopping_) return false;
  const KeyRange entries = EntriesOf(groups);
  const rocksdb::Slice begin = ToSlice(entries.begin), end = ToSlice(entries.end);
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.canceled = &stopping_;
  options.bottommost_level_compaction = lowest;
  return db_.CompactRange(options, &begin, &end).ok();
}

uint64_t SpaceReclaimer::WritableWhenShort() const {
  uint64_t free_bytes = 0;
  const rocksdb::IOStatus known =
      db_.GetFileSystem()->GetFreeSpace(db_.GetName(), rocksdb::IOOptions(), &free_bytes, nullptr);
  return known.ok() ? free_bytes / kFreePartWhenShort : 0;
}

bool SpaceReclaimer::Evacuate() {
  const PayloadFiles::Space space = payloads_.space();
  const Clock::time_point begin = Clock::now();
  const bool is_short = SpaceIsShort();
  const uint64_t dead_max = is_short ? std::min(kDeadMaxWhenShort, options_.dead_bytes_max) : DeadMax(space);
  if (stopping_ || space.dead - space.stuck <= dead_max) return false;
  uint64_t free_bytes = 0;
  const rocksdb::IOStatus known =
      db_.GetFileSystem()->GetFreeSpace(db_.GetName(), rocksdb::IOOptions(), &free_bytes, nullptr);
  if (!known.ok()) return false;
  const uint64_t tables = TableBytes();
  uint64_t live_max = std::min(free_bytes / 2, kMovedBytesMax + kMovedPerTables * tables);
  if (is_short) live_max = std::min(live_max, WritableWhenShort() - std::min(WritableWhenShort(), tables));
  // What is to be had for little, or else a disk that stays short is written over and over.
  const double dead_part_min = is_short ? kDeadPartMinWhenShort : 0;
  if (live_max == 0 || !payloads_.BeginEvacuation(dead_max / kDeadLeftPart, live_max, dead_part_min)) return false;
  stall_.Limit(WritableBytes(space));
  // Also what a compaction wrote that began before and so moved nothing.
  Compact(kAllGroups, BottommostLevelCompaction::kForce);
  payloads_.EndEvacuation();
  stall_.Unlimit();
  ++evacuations_;
  const bool gained = payloads_.space().dead < space.dead;
  // Otherwise an iterator keeps the old tables, or nothing can be read or written.
  pause_ = gained ? kNoPause : std::clamp(2 * pause_, kLookEvery, kPauseMax);
  evacuate_after_ = Clock::now() + std::min(pause_, options_.delay);
  if (is_short) evacuate_after_ = std::max(evacuate_after_, Clock::now() + kPausesWhenShort * (Clock::now() - begin));
  return gained;
}

}  // namespace millrace::storage
