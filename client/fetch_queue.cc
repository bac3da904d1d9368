#include "client/fetch_queue.h"

#include <utility>

namespace millrace::client {

void FetchQueue::Push(std::vector<FetchedItem> items) {
  if (items.empty()) return;
  bool notify = false;
  {
    std::lock_guard lock(mutex_);
    for (FetchedItem& item : items) items_.push_back(std::move(item));
    notify = waiting_;
  }
  if (notify) news_.notify_one();
}

std::optional<FetchedItem> FetchQueue::Pop() {
  std::lock_guard lock(mutex_);
  if (items_.empty()) return std::nullopt;
  FetchedItem item = std::move(items_.front());
  items_.pop_front();
  return item;
}

std::vector<FetchedItem> FetchQueue::Remove(const FetchPartition* partition) {
  std::vector<FetchedItem> removed;
  std::lock_guard lock(mutex_);
  std::deque<FetchedItem> kept;
  for (FetchedItem& item : items_) {
    if (partition == nullptr || item.partition.get() == partition) {
      removed.push_back(std::move(item));
    } else {
      kept.push_back(std::move(item));
    }
  }
  items_ = std::move(kept);
  return removed;
}

bool FetchQueue::Wait(SteadyTime deadline) {
  std::unique_lock lock(mutex_);
  waiting_ = true;
  news_.wait_until(lock, deadline, [this] { return woken_ || nudged_ || !items_.empty(); });
  waiting_ = nudged_ = false;
  return std::exchange(woken_, false);
}

bool FetchQueue::TakeWake() {
  std::lock_guard lock(mutex_);
  return std::exchange(woken_, false);
}

void FetchQueue::Nudge() {
  std::lock_guard lock(mutex_);
  nudged_ = true;
  news_.notify_one();
}

void FetchQueue::Wake() {
  std::lock_guard lock(mutex_);
  woken_ = true;
  news_.notify_one();
}

}  // namespace millrace::client
