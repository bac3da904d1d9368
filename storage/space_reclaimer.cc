#include "storage/space_reclaimer.h"

#include <algorithm>

#include <rocksdb/db.h>

#include "storage/keys.h"
#include "storage/rocks_util.h"

namespace millrace::storage {
namespace {

constexpr uint64_t kCheapBytes = 16 << 20;
constexpr int64_t kRemovedPart = 4;  // of what was removed may be rewritten

KeyRange EntriesOf(raft::GroupId first, raft::GroupId last) {
  return {EntriesFrom(first, raft::LogIndex(0)).begin, EntriesFrom(last, raft::LogIndex(0)).end};
}

}  // namespace

SpaceReclaimer::SpaceReclaimer(rocksdb::DB& db, std::chrono::milliseconds delay)
    : db_(db), delay_(delay), thread_([this] { Run(); }) {}

SpaceReclaimer::~SpaceReclaimer() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void SpaceReclaimer::Removed(raft::GroupId group, int64_t bytes) {
  std::lock_guard lock(mutex_);
  if (!dead_) dead_ = Dead{.first = group, .last = group};
  dead_->first = std::min(dead_->first, group);
  dead_->last = std::max(dead_->last, group);
  dead_->bytes += bytes;
  if (!news_) changed_.notify_one();
  news_ = true;
}

void SpaceReclaimer::Run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    changed_.wait(lock, [this] { return news_ || stopping_; });
    // What is removed meanwhile comes along.
    changed_.wait_for(lock, delay_, [this] { return stopping_.load(); });
    news_ = false;
    const Dead dead = dead_.value_or(Dead());
    lock.unlock();
    const bool cheap = !stopping_ && IsCheap(dead);
    if (cheap) Reclaim(dead);
    lock.lock();
    if (cheap && !news_) dead_.reset();
  }
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
void SpaceReclaimer::Reclaim(const Dead& dead) {
  const KeyRange entries = EntriesOf(dead.first, dead.last);
  const rocksdb::Slice begin = ToSlice(entries.begin), end = ToSlice(entries.end);
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.canceled = &stopping_;
  db_.CompactRange(options, &begin, &end).PermitUncheckedError();
  ++runs_;
}

}  // namespace millrace::storage
