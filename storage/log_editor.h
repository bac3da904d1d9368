// Applies the changes of one round to one log: to a copy of its image and to the WriteBatch that makes them durable together.
//
//     LogEditor editor(group, image, reader);
//     editor.Append(std::move(entry), batch);
//     ... DB::Write(batch) ...
//     publish(editor.image());          // only once the batch is written
//
// A failed edit (it had to read, and could not) leaves the batch unusable.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "raft/log_store.h"
#include "storage/log_image.h"
#include "storage/log_reader.h"

namespace rocksdb {
class WriteBatch;
}

namespace millrace::storage {

class LogEditor {
 public:
  LogEditor(raft::GroupId group, LogImage image, const LogReader& reader)
      : group_(group), reader_(reader), image_(std::move(image)) {}

  void Append(raft::Entry entry, rocksdb::WriteBatch& batch);
  absl::Status TruncateSuffix(raft::LogIndex first_removed, rocksdb::WriteBatch& batch);
  void Reset(const raft::LogBegin& begin, rocksdb::WriteBatch& batch);
  void SetTermAndVote(const raft::TermAndVote& state, rocksdb::WriteBatch& batch);
  absl::Status SetLogStart(raft::Offset offset, rocksdb::WriteBatch& batch);

  LogImage& image() { return image_; }
  // What this round leaves at the log's end: entries from `first_changed` on were removed, then these appended.
  std::vector<raft::Entry>& appended() { return appended_; }
  std::optional<raft::LogIndex> first_removed() const { return first_removed_; }
  // Payload bytes of entries that went because the log start passed them or the log was reset; unset: none did.
  std::optional<int64_t> bytes_removed() const { return bytes_removed_; }
  // Of them, about, those that lie in tables.
  int64_t table_bytes_removed() const { return table_bytes_removed_; }

 private:
  bool NeedsNewSegment(const raft::Entry& entry) const;
  void BeginSegment(int64_t append_time, rocksdb::WriteBatch& batch);
  void CloseInterval(rocksdb::WriteBatch& batch);
  void TruncateSegments(const StoredHeader& last_kept, rocksdb::WriteBatch& batch);
  absl::Status TruncateIntervals(const LogPosition& last_kept, rocksdb::WriteBatch& batch);
  // Entries first to last went, which had so many bytes together.
  void CountRemoved(raft::LogIndex first, raft::LogIndex last, int64_t bytes);
  bool MayGo(const LogPosition& last_of_segment) const;
  absl::StatusOr<LogPosition> LastRemovable(const SegmentMeta& active) const;

  // Of entries and intervals of this round before those in the store.
  absl::StatusOr<StoredHeader> HeaderAt(raft::LogIndex index) const;
  absl::StatusOr<std::optional<IntervalMeta>> IntervalAt(raft::LogIndex index) const;

  // Set at construction.
  const raft::GroupId group_;
  const LogReader& reader_;

  LogImage image_;
  std::vector<raft::Entry> appended_;
  std::vector<StoredHeader> appended_headers_;  // of appended_
  std::vector<IntervalMeta> closed_intervals_;  // of this round
  std::optional<raft::LogIndex> first_removed_;
  bool was_reset_ = false;  // by this round: the store holds nothing of what the log is now
  std::optional<int64_t> bytes_removed_;
  int64_t table_bytes_removed_ = 0;
};

}  // namespace millrace::storage
