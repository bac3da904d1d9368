// What is kept beside a log's entries, and its bytes in the store: small values, each with a version byte first.
//
//     batch.Put(SegmentKey(group, segment.first_index), Encode(segment));
//     absl::StatusOr<SegmentMeta> segment = DecodeSegment(value);   // kDataLoss
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "raft/log_store.h"
#include "storage/entry_format.h"

namespace millrace::storage {

// A place between two entries, known from the one before it.
struct LogPosition {
  raft::LogIndex index;     // of the entry before; 0 at the log's very beginning
  raft::Term term;          // its term
  raft::Offset end_offset;  // where it ends
  int64_t append_time = 0;
  uint32_t chain = 0;
  int64_t log_bytes = 0;       // payload bytes since the log began, up to here
  bool after_records = false;  // the entry before has records

  static LogPosition After(const StoredHeader& header);
  // As the log's begin is known outside.
  raft::LogBegin ToBegin() const { return {{term, index}, end_offset, append_time, chain}; }
};

// A contiguous run of entries, sealed by size or age, removed as a whole. `last` of the active one moves with each append; its
// stored form has `last` == `before`.
struct SegmentMeta {
  LogPosition before;             // the entry before the first
  LogPosition last;               // the last entry
  int64_t first_append_time = 0;  // of the first entry that has one: a leader's first one in an empty log has none
  int64_t max_timestamp = kNoTimestamp;  // of entries with records; an upper bound
  bool sealed = false;

  raft::LogIndex first_index() const { return before.index + 1; }
  int64_t bytes() const { return last.log_bytes - before.log_bytes; }
};

// About a MiB of a segment's entries: what a look-up by time or offset has to walk at most.
struct IntervalMeta {
  raft::LogIndex first_index;
  raft::LogIndex last_index;
  raft::Offset first_offset;
  raft::Offset end_offset;               // where the next interval begins
  int64_t end_log_bytes = 0;             // LogPosition::log_bytes behind its last entry
  int64_t max_timestamp = kNoTimestamp;  // of entries with records; an upper bound
};

// Where readers may begin, and the entry before the oldest one kept.
struct LogStart {
  raft::Offset offset;
  LogPosition before;
};

std::string Encode(const raft::SegmentLimits& limits);
std::string Encode(const raft::TermAndVote& state);
std::string Encode(const LogStart& start);
std::string Encode(const SegmentMeta& segment);
std::string Encode(const IntervalMeta& interval);

absl::StatusOr<raft::SegmentLimits> DecodeLimits(std::string_view value);
absl::StatusOr<raft::TermAndVote> DecodeTermAndVote(std::string_view value);
absl::StatusOr<LogStart> DecodeLogStart(std::string_view value);
absl::StatusOr<SegmentMeta> DecodeSegment(std::string_view value);
absl::StatusOr<IntervalMeta> DecodeInterval(std::string_view value);

}  // namespace millrace::storage
