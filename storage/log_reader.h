// Reads logs from RocksDB. Knows no locks and no caches: what it is given of a log (its image) it takes as it is.
//
// Offsets are found by binary search: over segments in memory, over the intervals of one segment, then over the entries of one
// interval; from there on each entry's header says what the next one's key is, so entries are fetched one by one by their exact
// keys. A fetched value's bytes become the payload without being copied.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "raft/log_store.h"
#include "storage/log_image.h"

namespace rocksdb {
class DB;
}

namespace millrace::storage {

// Where an entry lies.
struct EntryPlace {
  raft::LogIndex index;
  raft::Offset base_offset;
};

// What a read may return.
struct ReadLimits {
  raft::LogIndex last;      // not beyond this entry
  raft::Offset end;         // nor any that ends above this offset
  size_t bytes_max = 0;     // of payloads; the first entry may be larger
  raft::Offset above{-1};   // skips entries that end at or below this offset
};

class LogReader {
 public:
  explicit LogReader(rocksdb::DB& db) : db_(db) {}

  // What is in the store of a group that exists; kNotFound.
  absl::StatusOr<LogImage> Load(raft::GroupId group) const;

  // kDataLoss also when it is not there: the caller knows that it was written.
  absl::StatusOr<StoredHeader> HeaderAt(raft::GroupId group, raft::LogIndex index) const;
  absl::StatusOr<EntryPlace> PlaceOf(raft::GroupId group, raft::LogIndex index) const;
  // The last closed interval that begins at or before `index`.
  absl::StatusOr<std::optional<IntervalMeta>> IntervalAt(raft::GroupId group, raft::LogIndex index) const;

  // The entry that holds `offset`, which is in the log.
  absl::StatusOr<EntryPlace> Find(raft::GroupId group, const LogImage& image, raft::Offset offset) const;
  // Entries from `place` on. Stops before a damaged one; a damaged first one is an error. kNotFound: there is no entry at
  // `place` (the log was cut meanwhile, or the place was only a guess).
  absl::StatusOr<std::vector<raft::Entry>> Read(raft::GroupId group, EntryPlace place, const ReadLimits& limits) const;
  // As LogStore::OffsetForTime.
  absl::StatusOr<raft::Offset> OffsetForTime(raft::GroupId group, const LogImage& image, int64_t timestamp) const;

  absl::StatusOr<std::vector<raft::GroupId>> Groups() const;
  absl::StatusOr<std::vector<std::pair<std::string, std::string>>> Values(raft::GroupId group) const;

 private:
  absl::StatusOr<std::optional<StoredHeader>> LastHeader(raft::GroupId group) const;
  absl::Status LoadSegments(raft::GroupId group, LogImage& image) const;
  // The first entry of one interval's whose records end above image.start.offset and that has max_timestamp >= `timestamp`.
  absl::StatusOr<std::optional<raft::Offset>> TimeInInterval(raft::GroupId group, const LogImage& image,
                                                             const IntervalMeta& interval, int64_t timestamp) const;

  rocksdb::DB& db_;
};

}  // namespace millrace::storage
