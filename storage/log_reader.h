// Reads logs from RocksDB. Knows no locks and no caches: what it is given of a log (its image) it takes as it is.
//
// Offsets are found by binary search: over segments in memory, over the intervals of one segment, then over the entries of one
// interval. From there on an iterator walks, and each payload is read from where it lies: one pread, or, of a small one, a copy.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "raft/log_store.h"
#include "storage/keys.h"
#include "storage/log_image.h"
#include "storage/payload_files.h"

namespace rocksdb {
class DB;
}

namespace millrace::storage {

// What a read may return.
struct ReadLimits {
  raft::LogIndex last;    // not beyond this entry
  raft::Offset end;       // nor any that ends above this offset
  size_t bytes_max = 0;   // of payloads; the first entry may be larger
  raft::Offset from{-1};  // skips entries that end at or below this offset
};

class LogReader {
 public:
  // Both outlive it.
  LogReader(rocksdb::DB& db, PayloadFiles& payloads) : db_(db), payloads_(payloads) {}

  // What is in the store of a group that exists; kNotFound.
  absl::StatusOr<LogImage> Load(raft::GroupId group) const;

  // kDataLoss also when it is not there: the caller knows that it was written.
  absl::StatusOr<StoredHeader> HeaderAt(raft::GroupId group, raft::LogIndex index) const;
  // The last closed interval that begins at or before `index`.
  absl::StatusOr<std::optional<IntervalMeta>> IntervalAt(raft::GroupId group, raft::LogIndex index) const;

  // The entry that holds `offset`, which is in the log. If that one cannot be read, the one where Read() comes to tell so.
  absl::StatusOr<raft::LogIndex> Find(raft::GroupId group, const LogImage& image, raft::Offset offset) const;
  // Entries from `first` on, within limits. Stops before a damaged one; a damaged first one is an error. kNotFound: `first` is
  // not there, or begins above limits.from (the log was cut meanwhile, or `first` was a guess).
  absl::StatusOr<std::vector<raft::Entry>> Read(raft::GroupId group, raft::LogIndex first,
                                                const ReadLimits& limits) const;
  // Of an entry whose stored value is, or was when an iterator was made, `value`.
  absl::StatusOr<absl::Cord> Payload(const EntryKey::Parts& key, const StoredHeader& header,
                                     std::string_view value) const;
  // As LogStore::OffsetForTime.
  absl::StatusOr<raft::Offset> OffsetForTime(raft::GroupId group, const LogImage& image, int64_t timestamp) const;

  absl::StatusOr<std::vector<raft::GroupId>> Groups() const;
  // Of groups whose entries are still to be compacted.
  absl::StatusOr<std::vector<std::string>> RemovedGroupsKeys() const;
  absl::StatusOr<std::vector<std::pair<std::string, std::string>>> Values(raft::GroupId group) const;

 private:
  absl::Status LoadSegments(raft::GroupId group, LogImage& image) const;
  // Where the segment that is being filled ends.
  absl::Status LoadActive(raft::GroupId group, SegmentMeta active, LogImage& image) const;
  absl::Status LoadInterval(raft::GroupId group, LogImage& image) const;
  // The last entry of `active` that is not damaged; nothing if all are.
  std::optional<StoredHeader> LastReadable(raft::GroupId group, const SegmentMeta& active) const;
  absl::StatusOr<std::optional<StoredHeader>> LastGoodHeader(raft::GroupId group, const SegmentMeta& active,
                                                             raft::LogIndex below) const;
  // The first entry of one interval's whose records end above image.start.offset and that has max_timestamp >= `timestamp`.
  absl::StatusOr<std::optional<raft::Offset>> TimeInInterval(raft::GroupId group, const LogImage& image,
                                                             const IntervalMeta& interval, int64_t timestamp) const;

  absl::StatusOr<absl::Cord> PayloadIn(const EntryKey::Parts& key, const StoredHeader& header,
                                       std::string_view value) const;

  rocksdb::DB& db_;
  PayloadFiles& payloads_;
};

}  // namespace millrace::storage
