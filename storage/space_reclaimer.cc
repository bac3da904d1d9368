#include "storage/space_reclaimer.h"

#include <algorithm>
#include <utility>

#include <rocksdb/db.h>

#include "storage/rocks_util.h"

namespace millrace::storage {
namespace {

using raft::GroupId;
using rocksdb::BottommostLevelCompaction;

constexpr GroupId kLastGroup(INT64_MAX - 1);
constexpr uint64_t kCheapBytes = 16 << 20;
// When so many times the bytes of all tables were removed, they are rewritten at once: 0.1 CPU s per GB that comes in and goes.
constexpr uint64_t kRemovedPerTables = 64;
constexpr int64_t kRemovedPart = 4;    // of what was removed may be rewritten
constexpr double kDeadPart = 0.1;      // of what lives
constexpr size_t kDeadRangesMax = 16;  // compacted one by one; more are taken together with what lies between
constexpr std::chrono::milliseconds kLookEvery{1000};
constexpr std::chrono::milliseconds kFirstDelay{2000};  // at most, after the start
// Moved at a time, beside so many times what the tables have. While payloads are moved no other compaction runs, and the tables
// of flushes add up; on the other hand all keys are rewritten each time.
constexpr uint64_t kMovedBytesMax = 256 << 20;
constexpr uint64_t kMovedPerTables = 4;

KeyRange EntriesOf(GroupId first, GroupId last) {
  return {EntriesFrom(first, raft::LogIndex(0)).begin, EntriesFrom(last, raft::LogIndex(0)).end};
}

}  // namespace

SpaceReclaimer::SpaceReclaimer(rocksdb::DB& db, PayloadFiles& payloads, const Options& options)
    : db_(db), payloads_(payloads), options_(options), thread_([this] { Run(); }) {
  if (!options_.removed_before) return;
  std::lock_guard lock(mutex_);
  // How much is not known. Soon, as the next process may not run for long either.
  dead_ = Dead{.first = GroupId(0),
               .last = kLastGroup,
               .bytes = static_cast<int64_t>(options_.dead_bytes_max),
               .since = Clock::now() - std::max(options_.delay - kFirstDelay, std::chrono::milliseconds(0))};
}

SpaceReclaimer::~SpaceReclaimer() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  look_.notify_one();
  thread_.join();
}

void SpaceReclaimer::Removed(GroupId group, int64_t bytes) {
  std::lock_guard lock(mutex_);
  Add({.first = group, .last = group, .bytes = bytes, .since = Clock::now()});
  // At a GB/s it would be late when it looks again.
  if (dead_->bytes > static_cast<int64_t>(options_.dead_bytes_max)) look_.notify_one();
}

void SpaceReclaimer::RemovedLogs(const std::vector<GroupId>& groups) {
  std::lock_guard lock(mutex_);
  for (GroupId group : groups) {
    const bool adjoins = !dead_logs_.empty() && dead_logs_.back().last + 1 == group;
    if (adjoins || dead_logs_.size() == kDeadRangesMax) {
      Dead& range = dead_logs_.back();
      range.first = std::min(range.first, group);
      range.last = std::max(range.last, group);
    } else {
      dead_logs_.push_back({.first = group, .last = group, .since = Clock::now()});
    }
  }
}

void SpaceReclaimer::Run() {
  const auto look_every = std::clamp(options_.delay, std::chrono::milliseconds(1), kLookEvery);
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    look_.wait_for(lock, look_every);
    lock.unlock();
    // Also what was moved to the lowest level as it was; not what this compaction wrote there itself.
    for (const KeyRange& due : TakeDue()) Compact(due, BottommostLevelCompaction::kForceOptimized);
    while (Evacuate()) {
    }
    lock.lock();
  }
}

std::vector<KeyRange> SpaceReclaimer::TakeDue() {
  const Clock::time_point latest = Clock::now() - options_.delay;
  std::vector<KeyRange> due;
  // RocksDB is asked without mutex_: the thread that writes takes it, too.
  if (std::optional<Dead> dead = TakeDead(latest)) {
    if (IsCheap(*dead)) {
      due.push_back(EntriesOf(dead->first, dead->last));
    } else {
      dead->since = Clock::now();
      std::lock_guard lock(mutex_);
      Add(*dead);
    }
  }
  std::lock_guard lock(mutex_);
  std::erase_if(dead_logs_, [&](const Dead& dead) {
    if (dead.since > latest) return false;
    due.push_back(EntriesOf(dead.first, dead.last));
    return true;
  });
  return due;
}

std::optional<SpaceReclaimer::Dead> SpaceReclaimer::TakeDead(Clock::time_point latest) {
  const PayloadFiles::Space space = payloads_.space();
  const uint64_t pays = std::max(options_.dead_bytes_max, kRemovedPerTables * TableBytes());
  std::lock_guard lock(mutex_);
  if (!dead_) return std::nullopt;
  const auto removed = static_cast<uint64_t>(dead_->bytes);
  if (dead_->since > latest && removed <= pays && space.dead + removed <= DeadMax(space)) return std::nullopt;
  return std::exchange(dead_, std::nullopt);
}

void SpaceReclaimer::Add(const Dead& dead) {
  if (!dead_) {
    dead_ = dead;
    return;
  }
  dead_->first = std::min(dead_->first, dead.first);
  dead_->last = std::max(dead_->last, dead.last);
  dead_->bytes += dead.bytes;
}

uint64_t SpaceReclaimer::TableBytes() const {
  uint64_t bytes = 0;
  return db_.GetIntProperty(rocksdb::DB::Properties::kTotalSstFilesSize, &bytes) ? bytes : 0;
}

uint64_t SpaceReclaimer::DeadMax(const PayloadFiles::Space& space) const {
  return options_.dead_bytes_max + static_cast<uint64_t>(kDeadPart * static_cast<double>(space.live));
}

bool SpaceReclaimer::IsCheap(const Dead& dead) const {
  const KeyRange entries = EntriesOf(dead.first, dead.last);
  const rocksdb::Range range(ToSlice(entries.begin), ToSlice(entries.end));
  uint64_t bytes = 0;
  rocksdb::SizeApproximationOptions files;
  files.include_files = true;
  files.include_memtables = false;
  if (!db_.GetApproximateSizes(files, db_.DefaultColumnFamily(), &range, 1, &bytes).ok()) return false;
  return bytes <= kCheapBytes + static_cast<uint64_t>(dead.bytes / kRemovedPart);
}

// A failure is the listener's: it has stopped the store.
void SpaceReclaimer::Compact(const KeyRange& entries, BottommostLevelCompaction lowest) {
  if (stopping_) return;
  const rocksdb::Slice begin = ToSlice(entries.begin), end = ToSlice(entries.end);
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.canceled = &stopping_;
  options.bottommost_level_compaction = lowest;
  db_.CompactRange(options, &begin, &end).PermitUncheckedError();
  ++runs_;
}

bool SpaceReclaimer::Evacuate() {
  const PayloadFiles::Space space = payloads_.space();
  const uint64_t dead_max = DeadMax(space);
  if (stopping_ || space.dead - space.stuck <= dead_max) return false;
  uint64_t free_bytes = 0;
  const rocksdb::IOStatus known =
      db_.GetFileSystem()->GetFreeSpace(db_.GetName(), rocksdb::IOOptions(), &free_bytes, nullptr);
  if (!known.ok()) return false;
  const uint64_t live_max = std::min(free_bytes / 2, kMovedBytesMax + kMovedPerTables * TableBytes());
  if (!payloads_.BeginEvacuation(dead_max / 2, live_max)) return false;
  // Also what a compaction wrote that began before and so moved nothing.
  Compact(EntriesOf(GroupId(0), kLastGroup), BottommostLevelCompaction::kForce);
  payloads_.EndEvacuation();
  ++evacuations_;
  return payloads_.space().dead < space.dead;  // otherwise an iterator keeps the old tables: later
}

}  // namespace millrace::storage
