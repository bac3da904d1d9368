#include "raft/entry_tail.h"

#include <algorithm>
#include <utility>

#include "proto/wire/check.h"

namespace millrace::raft {

void EntryTail::Append(Entry entry) {
  MILLRACE_CHECK(entry.header.index == last_index() + 1);
  end_offset_ = entry.header.end_offset();
  entries_.push_back(std::move(entry));
}

void EntryTail::TruncateSuffix(LogIndex first_removed, Offset end_offset) {
  if (first_removed < first_) {
    entries_.clear();
    head_ = 0;
    first_ = first_removed;
  } else {
    const auto kept = head_ + static_cast<size_t>(first_removed - first_);
    entries_.resize(std::min(kept, entries_.size()));
  }
  end_offset_ = end_offset;
}

void EntryTail::RemovePrefix(LogIndex last_removed) {
  while (!empty() && first_ <= last_removed) {
    entries_[head_++].payload.Clear();
    ++first_;
  }
  if (empty()) {
    entries_.clear();
    head_ = 0;
  } else if (head_ > entries_.size() / 2) {
    entries_.erase(entries_.begin(), entries_.begin() + static_cast<ptrdiff_t>(head_));
    head_ = 0;
  }
}

void EntryTail::CopyTo(LogIndex first, LogIndex last, size_t bytes_max, std::vector<Entry>* out) const {
  size_t bytes = 0;
  for (LogIndex i = first; i <= last; ++i) {
    const Entry& entry = At(i);
    bytes += MemoryCost(entry);
    if (i > first && bytes > bytes_max) return;
    out->push_back(entry);
  }
}

void EntryTail::Shrink() {
  if (empty()) std::vector<Entry>().swap(entries_);
  if (empty()) head_ = 0;
}

}  // namespace millrace::raft
