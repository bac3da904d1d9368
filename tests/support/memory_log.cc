#include "tests/support/memory_log.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "storage/entry_format.h"

namespace millrace {

using raft::Entry;
using raft::EntryHeader;
using raft::LogIndex;
using raft::Offset;

bool MemoryLog::NeedsNewSegment(const Entry& entry) const {
  if (segments_.empty()) return true;
  size_t bytes = 0;
  for (LogIndex i = segments_.back().first; i <= LastIndex(); ++i) bytes += At(i).payload.size();
  if (bytes > 0 && static_cast<int64_t>(bytes + entry.payload.size()) > limits_.bytes_max) return true;
  const int64_t first = segments_.back().first_append_time;
  return first > 0 && entry.header.append_time - first >= limits_.age_ms_max;
}

void MemoryLog::Append(Entry entry) {
  const EntryHeader& last = Last();
  MILLRACE_CHECK_EQ(entry.header.index, last.index + 1);
  MILLRACE_CHECK_EQ(entry.header.base_offset, last.end_offset());
  MILLRACE_CHECK_GE(entry.header.record_count, 0);
  MILLRACE_CHECK_GE(entry.header.append_time, last.append_time);
  entry.header.chain = storage::ChainDigest(last.chain, entry.header);
  if (NeedsNewSegment(entry)) segments_.push_back({entry.header.index, entry.header.append_time});
  if (segments_.back().first_append_time == 0) segments_.back().first_append_time = entry.header.append_time;
  entries_.push_back(std::move(entry));
}

void MemoryLog::TruncateSuffix(LogIndex first_removed) {
  MILLRACE_CHECK_GT(first_removed, term_and_vote_.commit_index);
  MILLRACE_CHECK_GE(first_removed, FirstIndex());
  while (LastIndex() >= first_removed) entries_.pop_back();
  while (!segments_.empty() && segments_.back().first >= first_removed) segments_.pop_back();
  MILLRACE_CHECK_GE(Last().end_offset(), log_start_);
}

void MemoryLog::Reset(const raft::LogBegin& begin) {
  MILLRACE_CHECK_GE(begin.before.index, term_and_vote_.commit_index);
  MILLRACE_CHECK_GE(begin.end_offset, log_start_);
  entries_.clear();
  segments_.clear();
  base_ = {.term = begin.before.term,
           .index = begin.before.index,
           .base_offset = begin.end_offset,
           .record_count = 0,
           .append_time = begin.append_time,
           .chain = begin.chain};
  log_start_ = begin.end_offset;
}

void MemoryLog::SetTermAndVote(const raft::TermAndVote& state) {
  MILLRACE_CHECK_LE(state.commit_index, LastIndex());
  term_and_vote_ = state;
}

// Entries without records at the very end of what is below the log start may be uncommitted.
bool MemoryLog::MayGo(const EntryHeader& last) const {
  return last.end_offset() < log_start_ ||
         (last.end_offset() == log_start_ && (last.record_count > 0 || last.index <= term_and_vote_.commit_index));
}

void MemoryLog::SetLogStart(Offset log_start) {
  MILLRACE_CHECK_LE(log_start, Last().end_offset());
  if (log_start <= log_start_) return;
  log_start_ = log_start;
  while (segments_.size() > 1) {
    const LogIndex last = segments_[1].first - 1;
    if (!MayGo(At(last).header)) return;
    RemoveUpTo(last);
    segments_.pop_front();
  }
  if (segments_.empty() || Last().end_offset() > log_start_) return;
  // Nothing of the active segment can be read any more: what stays of it are entries without records that may be uncommitted.
  LogIndex last = LastIndex();
  while (last >= FirstIndex() && !MayGo(At(last).header)) last = last - 1;
  RemoveUpTo(last);
  segments_.front().first = FirstIndex();
  if (entries_.empty()) segments_.clear();
}

void MemoryLog::RemoveUpTo(LogIndex last_removed) {
  while (!entries_.empty() && FirstIndex() <= last_removed) {
    base_ = entries_.front().header;
    entries_.pop_front();
  }
}

raft::LogState MemoryLog::State() const {
  const EntryHeader& last = Last();
  int64_t bytes = 0;
  for (const Entry& entry : entries_) bytes += static_cast<int64_t>(entry.payload.size());
  return {.begin = {{base_.term, base_.index}, base_.end_offset(), base_.append_time, base_.chain},
          .first_index = FirstIndex(),
          .last_index = last.index,
          .last_term = last.term,
          .log_start = log_start_,
          .log_end = last.end_offset(),
          .last_append_time = last.append_time,
          .chain = last.chain,
          .bytes = bytes,
          .term_and_vote = term_and_vote_};
}

const Entry* MemoryLog::EntryAt(Offset offset) const {
  const auto found = std::upper_bound(entries_.begin(), entries_.end(), offset,
                                      [](Offset o, const Entry& entry) { return o < entry.header.end_offset(); });
  return found == entries_.end() || offset < found->header.base_offset ? nullptr : &*found;
}

absl::StatusOr<std::vector<Entry>> MemoryLog::Read(Offset from, Offset end, size_t bytes_max) const {
  if (from < log_start_ || from > Last().end_offset()) {
    return absl::OutOfRangeError(absl::StrCat("offset ", from.value(), " is not in the log, which has ",
                                              log_start_.value(), " to ", Last().end_offset().value()));
  }
  std::vector<Entry> entries;
  size_t bytes = 0;
  for (const Entry& entry : entries_) {
    if (entry.header.end_offset() <= from) continue;
    bytes += raft::MemoryCost(entry);
    if (entry.header.end_offset() > end || (!entries.empty() && bytes > bytes_max)) break;
    entries.push_back(entry);
  }
  return entries;
}

absl::StatusOr<std::vector<Entry>> MemoryLog::ReadEntries(LogIndex first, LogIndex last, size_t bytes_max) const {
  if (first < FirstIndex() || first > LastIndex() + 1) {
    return absl::OutOfRangeError(absl::StrCat("entry ", first.value(), " is not in the log, which has ",
                                              FirstIndex().value(), " to ", LastIndex().value()));
  }
  std::vector<Entry> entries;
  size_t bytes = 0;
  for (LogIndex i = first; i <= std::min(last, LastIndex()); ++i) {
    bytes += raft::MemoryCost(At(i));
    if (!entries.empty() && bytes > bytes_max) break;
    entries.push_back(At(i));
  }
  return entries;
}

absl::StatusOr<raft::Term> MemoryLog::TermAt(LogIndex index) const {
  if (index == base_.index) return base_.term;
  absl::StatusOr<EntryHeader> header = HeaderAt(index);
  if (!header.ok()) return header.status();
  return header->term;
}

absl::StatusOr<EntryHeader> MemoryLog::HeaderAt(LogIndex index) const {
  if (index < FirstIndex() || index > LastIndex()) {
    return absl::OutOfRangeError(absl::StrCat("entry ", index.value(), " is not in the log, which has ",
                                              FirstIndex().value(), " to ", LastIndex().value()));
  }
  return At(index).header;
}

Offset MemoryLog::OffsetForTime(int64_t timestamp) const {
  for (const Entry& entry : entries_) {
    const EntryHeader& header = entry.header;
    if (header.record_count > 0 && header.end_offset() > log_start_ && header.max_timestamp >= timestamp) {
      return std::max(header.base_offset, log_start_);
    }
  }
  return Last().end_offset();
}

std::vector<raft::SegmentInfo> MemoryLog::Segments() const {
  std::vector<raft::SegmentInfo> infos;
  for (size_t i = 0; i < segments_.size(); ++i) {
    const LogIndex last = i + 1 < segments_.size() ? segments_[i + 1].first - 1 : LastIndex();
    int64_t bytes = 0;
    for (LogIndex index = segments_[i].first; index <= last; ++index)
      bytes += static_cast<int64_t>(At(index).payload.size());
    const EntryHeader& header = At(last).header;
    infos.push_back({segments_[i].first, header.end_offset(), header.append_time, bytes});
  }
  return infos;
}

}  // namespace millrace
