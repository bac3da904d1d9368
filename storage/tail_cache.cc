#include "storage/tail_cache.h"

#include <algorithm>
#include <string>

#include "absl/strings/cord.h"

namespace millrace::storage {
namespace {

using raft::Entry;
using raft::LogIndex;
using raft::Offset;

// Of an entry besides its payload: its header, its places in two deques.
constexpr size_t kEntryCost = sizeof(Entry) + 64;

constexpr size_t kCopyBytesMax = 4096;

// Names of entries that are gone, at most, besides as many as there are entries.
constexpr size_t kCutOffMax = 1024;

// Small payloads are usually slices of a large network buffer that they would keep alive.
absl::Cord Tight(const absl::Cord& payload) {
  const size_t held = payload.EstimatedMemoryUsage();
  if (payload.size() >= kCopyBytesMax && held <= payload.size() + payload.size() / 2) return payload;
  if (payload.TryFlat() && held <= payload.size() + 256) return payload;
  return absl::Cord(std::string(payload));
}

}  // namespace

bool CachedTail::Read(Offset from, Offset end, size_t bytes_max, std::vector<Entry>* entries) const {
  std::lock_guard lock(mutex_);
  if (items_.empty() || from < items_.front().entry.header.base_offset) return false;
  auto item = std::partition_point(items_.begin(), items_.end(),
                                   [from](const Item& item) { return item.entry.header.end_offset() <= from; });
  entries->clear();
  size_t bytes = 0;
  for (; item != items_.end() && item->entry.header.end_offset() <= end; ++item) {
    bytes += raft::MemoryCost(item->entry);
    if (!entries->empty() && bytes > bytes_max) break;
    entries->push_back(item->entry);
  }
  return true;
}

bool CachedTail::ReadEntries(LogIndex first, LogIndex last, size_t bytes_max, std::vector<Entry>* entries) const {
  std::lock_guard lock(mutex_);
  if (items_.empty() || first < items_.front().entry.header.index) return false;
  entries->clear();
  size_t bytes = 0;
  const LogIndex oldest = items_.front().entry.header.index;
  for (auto at = static_cast<size_t>(first - oldest); at < items_.size(); ++at) {
    const Entry& entry = items_[at].entry;
    bytes += raft::MemoryCost(entry);
    if (entry.header.index > last || (!entries->empty() && bytes > bytes_max)) break;
    entries->push_back(entry);
  }
  return !entries->empty();
}

void TailCache::Append(const std::shared_ptr<CachedTail>& tail, std::vector<Entry>& entries) {
  std::lock_guard order_lock(mutex_);
  {
    std::lock_guard lock(tail->mutex_);
    for (Entry& entry : entries) {
      order_.push_back({tail, entry.header.index});
      entry.payload = Tight(entry.payload);
      const size_t cost = entry.payload.EstimatedMemoryUsage() + kEntryCost;
      tail->items_.push_back({std::move(entry), cost});
      bytes_.fetch_add(cost, std::memory_order_relaxed);
      entries_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  if (order_.size() > 2 * entries_.load(std::memory_order_relaxed) + kCutOffMax) ForgetCutOff();
  Evict();
}

// With mutex_ held: were two threads to evict at once, an entry could go before an older one of its log, which then nobody
// would find at the front any more.
void TailCache::Evict() {
  while (bytes() > bytes_max_ && !order_.empty()) {
    const Appended oldest = std::move(order_.front());
    order_.pop_front();
    std::lock_guard lock(oldest.tail->mutex_);
    auto& items = oldest.tail->items_;
    if (items.empty() || items.front().entry.header.index != oldest.index) continue;  // was cut off since
    bytes_.fetch_sub(items.front().cost, std::memory_order_relaxed);
    entries_.fetch_sub(1, std::memory_order_relaxed);
    items.pop_front();
  }
}

// With mutex_ held. Without it the names of entries of removed logs would pile up until the budget is used for the first time.
void TailCache::ForgetCutOff() {
  std::erase_if(order_, [](const Appended& appended) {
    std::lock_guard lock(appended.tail->mutex_);
    const auto& items = appended.tail->items_;
    return items.empty() || appended.index < items.front().entry.header.index ||
           appended.index > items.back().entry.header.index;
  });
}

void TailCache::TruncateSuffix(CachedTail& tail, LogIndex first_removed) {
  std::lock_guard lock(tail.mutex_);
  while (!tail.items_.empty() && tail.items_.back().entry.header.index >= first_removed) {
    bytes_.fetch_sub(tail.items_.back().cost, std::memory_order_relaxed);
    entries_.fetch_sub(1, std::memory_order_relaxed);
    tail.items_.pop_back();
  }
}

}  // namespace millrace::storage
