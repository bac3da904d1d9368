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
#include "server/read_outcome.h"

namespace millrace::server {

struct ReadSpec {
  raft::Offset from;
  size_t bytes_max = 0;
  Routing routing = Routing::kAny;  // whether another broker is asked that leads
  bool confirmed = false;           // this replica was found to lead still: it may say that the log ends before `from`
};

// Reads entries from the one that holds `from`, as far as that needs no disk and nobody else; false otherwise, with only
// `bounds` set. At the high watermark there are none; `waiter`, if given, is then added to the partition. On the partition's
// executor.
bool ReadNow(Partition& partition, const ReadSpec& spec, const std::shared_ptr<Partition::Waiter>& waiter,
             ReadOutcome* outcome);

// The same from anywhere, and from the disk or the leader if need be. `done` is called on `home`.
void ReadPartition(Broker& broker, std::shared_ptr<Partition> partition, const ReadSpec& spec,
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

// Turns a position into an offset; an offset given as such is returned unchecked. `done` is called on `home`.
void ResolvePosition(Broker& broker, std::shared_ptr<Partition> partition, PositionSpec spec, Routing routing,
                     Executor& home, std::function<void(PositionOutcome)> done);

// Where the leader of a partition is that this broker does not lead and may ask; empty: it is here, or is not known, or is not to
// be asked. `not_here`: what Partition::Readable said.
std::string AddressOfLeader(const Broker& broker, Routing routing, const ErrorFrame& not_here);

}  // namespace millrace::server
