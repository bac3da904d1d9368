// What comes of reading a partition, and of looking for a position in it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "proto/wire/frames.h"
#include "raft/types.h"

namespace millrace::server {

// Where a partition stands, taken together.
struct PartitionBounds {
  raft::Offset log_start;
  raft::Offset high_watermark;
  raft::Term leader_epoch;
  std::optional<LeaderHintFrame> leader;  // who said so, if this broker does not lead it
};

// Records that a reader who stands at `gap.from` does not get, and where it can go on.
struct Loss {
  GapFrame gap;
  raft::Offset resume;
};

struct ReadOutcome {
  ErrorFrame error;  // OFFSET_OUT_OF_RANGE: outside [log_start, high_watermark]; CORRUPT_MESSAGE: damaged in the store
  std::optional<Loss> loss;  // with these two
  PartitionBounds bounds;
  std::vector<raft::Entry> entries;  // none at the high watermark
};

// A position as a client gives it. The numbers are on the wire between brokers (forward.proto): they stay.
struct PositionSpec {
  enum Kind { kOffset = 0, kEarliest = 1, kLatest = 2, kTimestamp = 3, kRecordsBeforeEnd = 4 };
  Kind kind = kOffset;
  int64_t value = 0;
};

struct PositionOutcome {
  ErrorFrame error;
  PartitionBounds bounds;
  raft::Offset offset;
};

}  // namespace millrace::server
