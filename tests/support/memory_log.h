// One partition log as raft/log_store.h describes it, in the plainest form: every entry in a deque, every question answered by
// a walk. FakeLogStore is made of these, and the RocksDB store is held against them.
//
// A copy is a snapshot; payloads are shared.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "raft/log_store.h"

namespace millrace {

class MemoryLog {
 public:
  explicit MemoryLog(const raft::SegmentLimits& limits) : limits_(limits) {}

  void Append(raft::Entry entry);
  void TruncateSuffix(raft::LogIndex first_removed);
  void Reset(const raft::LogBegin& begin);
  void SetTermAndVote(const raft::TermAndVote& state);
  void SetLogStart(raft::Offset log_start);
  void SetPayload(raft::LogIndex index, absl::Cord payload) {
    entries_[index - FirstIndex()].payload = std::move(payload);
  }
  void SetLimits(const raft::SegmentLimits& limits) { limits_ = limits; }
  std::map<std::string, std::string>& values() { return values_; }
  const std::map<std::string, std::string>& values() const { return values_; }

  raft::LogState State() const;
  raft::Offset log_end() const { return Last().end_offset(); }
  // The entry with the record at `offset`; null: there is none, or not any more.
  const raft::Entry* EntryAt(raft::Offset offset) const;
  absl::StatusOr<std::vector<raft::Entry>> Read(raft::Offset from, raft::Offset end, size_t bytes_max) const;
  absl::StatusOr<std::vector<raft::Entry>> ReadEntries(raft::LogIndex first, raft::LogIndex last,
                                                       size_t bytes_max) const;
  absl::StatusOr<raft::Term> TermAt(raft::LogIndex index) const;
  absl::StatusOr<raft::EntryHeader> HeaderAt(raft::LogIndex index) const;
  raft::Offset OffsetForTime(int64_t timestamp) const;
  std::vector<raft::SegmentInfo> Segments() const;

 private:
  struct Segment {
    raft::LogIndex first;
    int64_t first_append_time;
  };

  // Of the last entry, or of the one before the first.
  const raft::EntryHeader& Last() const { return entries_.empty() ? base_ : entries_.back().header; }
  raft::LogIndex FirstIndex() const { return base_.index + 1; }
  raft::LogIndex LastIndex() const { return Last().index; }
  const raft::Entry& At(raft::LogIndex index) const { return entries_[index - FirstIndex()]; }
  bool NeedsNewSegment(const raft::Entry& entry) const;
  bool MayGo(const raft::EntryHeader& last_of_segment) const;
  void RemoveUpTo(raft::LogIndex last_removed);

  raft::SegmentLimits limits_;
  raft::EntryHeader base_{.record_count = 0};  // the entry before entries_.front(); index 0 at first
  std::deque<raft::Entry> entries_;
  std::deque<Segment> segments_;  // segments_.front().first == FirstIndex(), if there are entries
  raft::TermAndVote term_and_vote_;
  raft::Offset log_start_;
  std::map<std::string, std::string> values_;
};

}  // namespace millrace
