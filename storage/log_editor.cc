#include "storage/log_editor.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include <rocksdb/write_batch.h>

#include "proto/wire/check.h"
#include "proto/wire/varint.h"
#include "storage/keys.h"
#include "storage/rocks_util.h"
#include "storage/wal_format.h"

namespace millrace::storage {
namespace {

using raft::Entry;
using raft::EntryHeader;
using raft::LogIndex;
using raft::Offset;

// An interval is closed by what comes first: so much has to be walked for an offset or a time.
constexpr int64_t kIntervalBytes = 1 << 20;
constexpr int64_t kIntervalEntries = 256;

void CheckOk(const rocksdb::Status& status) { MILLRACE_CHECK(status.ok()) << status.ToString(); }

void Put(rocksdb::WriteBatch& batch, std::string_view key, std::string_view value) {
  CheckOk(batch.Put(ToSlice(key), ToSlice(value)));
}
void DeleteRange(rocksdb::WriteBatch& batch, const KeyRange& range) {
  CheckOk(batch.DeleteRange(ToSlice(range.begin), ToSlice(range.end)));
}

// Into the log only: RocksDB does not put log data into the memtable. WriteBatch::PutLogData would do but that it takes one piece,
// and a payload comes in several; this is what it does (db/write_batch.cc). Returns where in the batch the payload begins.
uint64_t PutLogData(rocksdb::WriteBatch& batch, const absl::Cord& payload) {
  auto& bytes = const_cast<std::string&>(batch.Data());
  char head[1 + internal::kVarint32BytesMax] = {static_cast<char>(kLogDataTag)};
  bytes.append(head, internal::WriteVarint(head + 1, payload.size()) - head);
  const uint64_t position = bytes.size();
  for (absl::string_view chunk : payload.Chunks()) bytes.append(chunk.data(), chunk.size());
  return position;
}

// The payload's chunks go into the batch as they lie: the one copy that is made of them here.
void PutEntry(rocksdb::WriteBatch& batch, const EntryKey& key, const StoredHeader& header, const absl::Cord& payload) {
  char head[kPlacedValueBytes];
  EncodeHeader(header, head);
  if (header.placed) {
    EncodePlace({.offset = PutLogData(batch, payload)}, head + kStoredHeaderBytes);
    return Put(batch, key.view(), std::string_view(head, kPlacedValueBytes));
  }
  std::vector<rocksdb::Slice> parts = {{head, kStoredHeaderBytes}};
  for (absl::string_view chunk : payload.Chunks()) parts.emplace_back(chunk.data(), chunk.size());
  const rocksdb::Slice key_slice = ToSlice(key.view());
  CheckOk(
      batch.Put(rocksdb::SliceParts(&key_slice, 1), rocksdb::SliceParts(parts.data(), static_cast<int>(parts.size()))));
}

}  // namespace

bool LogEditor::NeedsNewSegment(const Entry& entry) const {
  if (!image_.active) return true;
  const SegmentMeta& active = *image_.active;
  const auto bytes = static_cast<int64_t>(entry.payload.size());
  if (active.bytes() > 0 && active.bytes() + bytes > image_.limits.bytes_max) return true;
  return active.first_append_time > 0 &&
         entry.header.append_time - active.first_append_time >= image_.limits.age_ms_max;
}

void LogEditor::Append(Entry entry, rocksdb::WriteBatch& batch) {
  MILLRACE_CHECK(!image_.read_only) << "group " << group_;
  EntryHeader& header = entry.header;
  const LogPosition& last = image_.last;
  MILLRACE_CHECK_EQ(header.index, last.index + 1) << "group " << group_;
  MILLRACE_CHECK_EQ(header.base_offset, last.end_offset) << "group " << group_;
  MILLRACE_CHECK_GE(header.record_count, 0) << "group " << group_;
  MILLRACE_CHECK_GE(header.append_time, last.append_time) << "group " << group_;
  MILLRACE_CHECK_LE(entry.payload.size(), std::numeric_limits<uint32_t>::max()) << "group " << group_;
  header.chain = ChainDigest(last.chain, header);
  if (NeedsNewSegment(entry)) BeginSegment(header.append_time, batch);

  SegmentMeta& active = *image_.active;
  if (active.first_append_time == 0 && header.append_time > 0) {
    active.first_append_time = header.append_time;
    Put(batch, SegmentKey(group_, active.first_index()), Encode(active));
  }
  IntervalMeta& interval = image_.interval;
  if (header.record_count > 0) {
    active.max_timestamp = std::max(active.max_timestamp, header.max_timestamp);
    interval.max_timestamp = std::max(interval.max_timestamp, header.max_timestamp);
  }
  const StoredHeader stored = {.entry = header,
                               .log_bytes = last.log_bytes + static_cast<int64_t>(entry.payload.size()),
                               .segment_max_timestamp = active.max_timestamp,
                               .payload_bytes = static_cast<uint32_t>(entry.payload.size()),
                               .placed = entry.payload.size() >= kPlacedBytesMin};
  PutEntry(batch, EntryKey(group_, header.index, header.base_offset), stored, entry.payload);
  image_.last = active.last = LogPosition::After(stored);
  interval.last_index = header.index;
  appended_headers_.push_back(stored);
  appended_.push_back(std::move(entry));
  if (image_.last.log_bytes - image_.interval_begin_bytes >= kIntervalBytes ||
      interval.last_index - interval.first_index + 1 >= kIntervalEntries) {
    CloseInterval(batch);
  }
}

void LogEditor::BeginSegment(int64_t append_time, rocksdb::WriteBatch& batch) {
  if (image_.active) {
    CloseInterval(batch);
    image_.active->sealed = true;
    Put(batch, SegmentKey(group_, image_.active->first_index()), Encode(*image_.active));
    auto sealed = std::make_shared<SegmentList>(*image_.sealed);
    sealed->push_back(*image_.active);
    image_.sealed = std::move(sealed);
  }
  image_.active = SegmentMeta{.before = image_.last, .last = image_.last, .first_append_time = append_time};
  Put(batch, SegmentKey(group_, image_.active->first_index()), Encode(*image_.active));
  image_.BeginInterval(image_.last);
}

void LogEditor::CloseInterval(rocksdb::WriteBatch& batch) {
  IntervalMeta& interval = image_.interval;
  if (interval.last_index < interval.first_index) return;
  interval.end_offset = image_.last.end_offset;
  interval.end_log_bytes = image_.last.log_bytes;
  Put(batch, IntervalKey(group_, interval.first_index), Encode(interval));
  closed_intervals_.push_back(interval);
  image_.BeginInterval(image_.last);
}

absl::Status LogEditor::TruncateSuffix(LogIndex first_removed, rocksdb::WriteBatch& batch) {
  MILLRACE_CHECK(!image_.read_only) << "group " << group_;
  if (first_removed > image_.last.index) return absl::OkStatus();
  MILLRACE_CHECK_GT(first_removed, image_.term_and_vote.commit_index) << "group " << group_ << ": a committed entry";
  MILLRACE_CHECK_GE(first_removed, image_.first_index()) << "group " << group_;
  if (first_removed == image_.first_index()) {
    if (image_.active) TruncateSegments({.entry = {.index = image_.start.before.index}}, batch);
    image_.last = image_.start.before;
  } else {
    absl::StatusOr<StoredHeader> last_kept = HeaderAt(first_removed - 1);
    if (!last_kept.ok()) return last_kept.status();
    TruncateSegments(*last_kept, batch);
    image_.last = image_.active->last;
  }
  MILLRACE_CHECK_GE(image_.last.end_offset, image_.start.offset) << "group " << group_;
  ++image_.cuts;
  DeleteRange(batch, EntriesFrom(group_, first_removed));
  while (!appended_.empty() && appended_.back().header.index >= first_removed) {
    appended_.pop_back();
    appended_headers_.pop_back();
  }
  first_removed_ = std::min(first_removed_.value_or(first_removed), first_removed);
  return TruncateIntervals(image_.last, batch);
}

// Removes the segments behind `last_kept`, and makes the one that holds it the active one again.
void LogEditor::TruncateSegments(const StoredHeader& last_kept, rocksdb::WriteBatch& batch) {
  SegmentList segments = *image_.sealed;
  segments.push_back(*image_.active);
  while (!segments.empty() && segments.back().first_index() > last_kept.entry.index) {
    CheckOk(batch.Delete(ToSlice(SegmentKey(group_, segments.back().first_index()))));
    segments.pop_back();
  }
  image_.active.reset();
  if (!segments.empty()) {
    SegmentMeta active = segments.back();
    segments.pop_back();
    if (active.sealed) {
      active.sealed = false;
      active.last = active.before;
      Put(batch, SegmentKey(group_, active.first_index()), Encode(active));
    }
    active.last = LogPosition::After(last_kept);
    active.max_timestamp = last_kept.segment_max_timestamp;
    image_.active = active;
  }
  image_.sealed = std::make_shared<SegmentList>(std::move(segments));
}

absl::Status LogEditor::TruncateIntervals(const LogPosition& last_kept, rocksdb::WriteBatch& batch) {
  DeleteRange(batch, IntervalsFrom(group_, last_kept.index + 1));
  std::erase_if(closed_intervals_, [&](const IntervalMeta& closed) { return closed.first_index > last_kept.index; });
  if (image_.interval.first_index <= last_kept.index) {
    image_.interval.last_index = last_kept.index;
    return absl::OkStatus();
  }
  // The cut goes through a closed interval, or between two.
  absl::StatusOr<std::optional<IntervalMeta>> cut = IntervalAt(last_kept.index);
  if (!cut.ok()) return cut.status();
  if (cut->has_value() && (*cut)->last_index > last_kept.index) {
    IntervalMeta& shorter = **cut;
    shorter.last_index = last_kept.index;
    shorter.end_offset = last_kept.end_offset;
    shorter.end_log_bytes = last_kept.log_bytes;
    Put(batch, IntervalKey(group_, shorter.first_index), Encode(shorter));
  }
  image_.BeginInterval(last_kept);
  return absl::OkStatus();
}

void LogEditor::Reset(const raft::LogBegin& begin, rocksdb::WriteBatch& batch) {
  MILLRACE_CHECK(!image_.read_only) << "group " << group_;
  MILLRACE_CHECK_GE(begin.before.index, image_.term_and_vote.commit_index) << "group " << group_;
  MILLRACE_CHECK_GE(begin.end_offset, image_.start.offset) << "group " << group_;
  DeleteRange(batch, EntriesFrom(group_, LogIndex(0)));
  DeleteRange(batch, Segments(group_));
  DeleteRange(batch, IntervalsFrom(group_, LogIndex(0)));
  if (image_.active) {
    CountRemoved(image_.first_index(), image_.last.index, image_.last.log_bytes - image_.start.before.log_bytes);
  }
  image_.last = {.index = begin.before.index,
                 .term = begin.before.term,
                 .end_offset = begin.end_offset,
                 .append_time = begin.append_time,
                 .chain = begin.chain,
                 .log_bytes = image_.last.log_bytes};
  image_.start = {.offset = begin.end_offset, .before = image_.last};
  Put(batch, LogStartKey(group_), Encode(image_.start));
  image_.sealed = std::make_shared<SegmentList>();
  image_.active.reset();
  image_.BeginInterval(image_.last);
  ++image_.cuts;
  appended_.clear();
  appended_headers_.clear();
  closed_intervals_.clear();
  first_removed_ = LogIndex(0);
  was_reset_ = true;
}

void LogEditor::SetTermAndVote(const raft::TermAndVote& state, rocksdb::WriteBatch& batch) {
  MILLRACE_CHECK_LE(state.commit_index, image_.last.index) << "group " << group_;
  image_.term_and_vote = state;
  Put(batch, TermAndVoteKey(group_), Encode(state));
}

// Entries without records at the very end of what is below the log start may be uncommitted: they stay.
bool LogEditor::MayGo(const LogPosition& last) const {
  return last.end_offset < image_.start.offset ||
         (last.end_offset == image_.start.offset &&
          (last.after_records || last.index <= image_.term_and_vote.commit_index));
}

// The last entry of an active segment wholly below the log start that may go; active.before if none may.
absl::StatusOr<LogPosition> LogEditor::LastRemovable(const SegmentMeta& active) const {
  LogPosition last = active.last;
  while (last.index > active.before.index && !MayGo(last)) {
    if (last.index == active.first_index()) return active.before;
    absl::StatusOr<StoredHeader> previous = HeaderAt(last.index - 1);
    if (!previous.ok()) return previous.status();
    last = LogPosition::After(*previous);
  }
  return last;
}

absl::Status LogEditor::SetLogStart(Offset offset, rocksdb::WriteBatch& batch) {
  MILLRACE_CHECK(!image_.read_only) << "group " << group_;
  MILLRACE_CHECK_LE(offset, image_.last.end_offset) << "group " << group_;
  if (offset <= image_.start.offset) return absl::OkStatus();
  image_.start.offset = offset;
  const LogIndex old_first = image_.first_index();
  LogPosition before = image_.start.before;  // the last entry that goes

  auto kept = std::find_if(image_.sealed->begin(), image_.sealed->end(),
                           [this](const SegmentMeta& segment) { return !MayGo(segment.last); });
  for (auto gone = image_.sealed->begin(); gone != kept; ++gone) {
    CheckOk(batch.Delete(ToSlice(SegmentKey(group_, gone->first_index()))));
    before = gone->last;
  }
  const bool all_sealed_go = kept == image_.sealed->end();
  if (kept != image_.sealed->begin()) image_.sealed = std::make_shared<SegmentList>(kept, image_.sealed->end());

  if (all_sealed_go && image_.active && image_.last.end_offset <= offset) {
    absl::StatusOr<LogPosition> last_removable = LastRemovable(*image_.active);
    if (!last_removable.ok()) return last_removable.status();
    before = *last_removable;
    if (before.index >= image_.active->first_index()) {
      CheckOk(batch.Delete(ToSlice(SegmentKey(group_, image_.active->first_index()))));
      if (before.index == image_.last.index) {
        image_.active.reset();
      } else {
        image_.active->before = before;
        SegmentMeta stored = *image_.active;
        stored.last = before;
        Put(batch, SegmentKey(group_, stored.first_index()), Encode(stored));
      }
    }
  }
  const int64_t bytes = before.log_bytes - image_.start.before.log_bytes;
  image_.start.before = before;
  Put(batch, LogStartKey(group_), Encode(image_.start));
  if (before.index >= old_first) {
    ++image_.cuts;
    CountRemoved(old_first, before.index, bytes);
    DeleteRange(batch, Entries(group_, old_first, before.index + 1));
    DeleteRange(batch, Intervals(group_, old_first, before.index + 1));
  }
  if (image_.interval.first_index <= before.index) {
    const LogIndex last_index = image_.last.index;
    image_.BeginInterval(before);
    image_.interval.last_index = last_index;
  }
  return absl::OkStatus();
}

void LogEditor::CountRemoved(LogIndex first, LogIndex last, int64_t bytes) {
  bytes_removed_ = bytes_removed_.value_or(0) + bytes;
  if (bytes < (last - first + 1) * static_cast<int64_t>(kPlacedBytesMin)) table_bytes_removed_ += bytes;
}

absl::StatusOr<StoredHeader> LogEditor::HeaderAt(LogIndex index) const {
  if (!appended_headers_.empty() && index >= appended_headers_.front().entry.index) {
    return appended_headers_[index - appended_headers_.front().entry.index];
  }
  return reader_.HeaderAt(group_, index);
}

// The closed interval that begins at or before `index`, if it holds kept entries.
absl::StatusOr<std::optional<IntervalMeta>> LogEditor::IntervalAt(LogIndex index) const {
  for (auto closed = closed_intervals_.rbegin(); closed != closed_intervals_.rend(); ++closed) {
    if (closed->first_index <= index && closed->first_index >= image_.first_index()) return *closed;
  }
  if (was_reset_) return std::nullopt;
  absl::StatusOr<std::optional<IntervalMeta>> stored = reader_.IntervalAt(group_, index);
  if (stored.ok() && stored->has_value() && (*stored)->first_index < image_.first_index()) return std::nullopt;
  return stored;
}

}  // namespace millrace::storage
