// Reading a partition from another executor, or from the disk: asynchronous, and answered on the reader's own executor.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "proto/wire/frames.h"
#include "raft/types.h"
#include "server/broker.h"

namespace millrace::server {

// Where a partition stands, taken together.
struct PartitionBounds {
  raft::Offset log_start;
  raft::Offset high_watermark;
  raft::Term leader_epoch;
};

struct ReadOutcome {
  ErrorFrame error;  // OFFSET_OUT_OF_RANGE: outside [log_start, high_watermark]
  PartitionBounds bounds;
  std::vector<raft::Entry> entries;  // none at the high watermark
};

// Reads entries from the one that holds `from`. At the high watermark there are none; `waiter`, if given, is then added to the
// partition. `done` is called on `home`.
void ReadPartition(Broker& broker, std::shared_ptr<Partition> partition, raft::Offset from, size_t bytes_max,
                   std::shared_ptr<Partition::Waiter> waiter, Executor& home, std::function<void(ReadOutcome)> done);

// A position as a client gives it.
struct PositionSpec {
  enum Kind { kOffset, kEarliest, kLatest, kTimestamp, kRecordsBeforeEnd };
  Kind kind = kOffset;
  int64_t value = 0;
};

struct PositionOutcome {
  ErrorFrame error;
  PartitionBounds bounds;
  raft::Offset offset;
};

// Turns a position into an offset; an offset given as such is returned unchecked. `done` is called on `home`.
void ResolvePosition(Broker& broker, std::shared_ptr<Partition> partition, PositionSpec spec, Executor& home,
                     std::function<void(PositionOutcome)> done);

// Runs `work` on `executor`: now if that is the current thread's, else posted.
void RunOn(Executor& executor, std::function<void()> work);

ErrorFrame OutOfRangeError(const PartitionName& name, int64_t offset, const PartitionBounds& bounds);

}  // namespace millrace::server
