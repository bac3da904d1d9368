// Reading a partition: at once from memory, or asynchronously from another executor or from the disk.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
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

// Reads entries from the one that holds `from`, as far as that needs no disk; false otherwise, with only `bounds` set. At the
// high watermark there are none; `waiter`, if given, is then added to the partition. On the partition's executor.
bool ReadNow(Partition& partition, raft::Offset from, size_t bytes_max,
             const std::shared_ptr<Partition::Waiter>& waiter, ReadOutcome* outcome);

// The same from anywhere, and from the disk if need be. `done` is called on `home`.
void ReadPartition(Broker& broker, std::shared_ptr<Partition> partition, raft::Offset from, size_t bytes_max,
                   std::shared_ptr<Partition::Waiter> waiter, Executor& home, std::function<void(ReadOutcome)> done);

// Hears of a partition's progress on the partition's executor and tells `wake` of it on `home`.
class WakeOn : public Partition::Waiter {
 public:
  WakeOn(Executor& home, std::function<void()> wake) : home_(home), wake_(std::move(wake)) {}
  void OnPartitionAdvanced() override;

 private:
  Executor& home_;
  const std::function<void()> wake_;
};

// What a reader at a position outside the log misses; none within.
std::optional<Loss> LossOutside(raft::Offset position, const PartitionBounds& bounds);
ErrorFrame OutOfRangeError(const PartitionName& name, int64_t offset, const PartitionBounds& bounds);

// What a reader at `from` misses by damage up to `end`.
Loss LossFrom(raft::Offset from, raft::Offset end);
// The error of readers that do not take gaps; logged. `loss`: none if it is not known what is damaged besides `from`.
ErrorFrame DamagedError(const PartitionName& name, raft::Offset from, const std::optional<Loss>& loss,
                        const std::string& cause);

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

}  // namespace millrace::server
