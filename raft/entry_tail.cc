#include "raft/entry_tail.h"

#include <utility>

#include "proto/wire/check.h"

namespace millrace::raft {

void EntryTail::Append(Entry entry) {
  MILLRACE_CHECK(entry.header.index == last_index() + 1);
  end_offset_ = entry.header.end_offset();
  bytes_ += MemoryCost(entry);
  entries_.push_back(std::move(entry));
}

void EntryTail::TruncateSuffix(LogIndex first_removed, Offset end_offset) {
  while (!empty() && last_index() >= first_removed) {
    bytes_ -= MemoryCost(entries_.back());
    entries_.pop_back();
  }
  if (first_removed < first_) {
    entries_.clear();
    head_ = 0;
    first_ = first_removed;
  }
  end_offset_ = end_offset;
}

void EntryTail::RemovePrefix(LogIndex last_removed) {
  while (!empty() && first_ <= last_removed) {
    bytes_ -= MemoryCost(entries_[head_]);
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
  LogIndex end = first + 1;
  for (size_t bytes = MemoryCost(At(first)); end <= last; ++end) {
    bytes += MemoryCost(At(end));
    if (bytes > bytes_max) break;
  }
  const Entry* const begin = &At(first);
  out->insert(out->end(), begin, begin + (end - first));
}

void EntryTail::Shrink() {
  if (empty()) std::vector<Entry>().swap(entries_);
  if (empty()) head_ = 0;
}

}  // namespace millrace::raft
