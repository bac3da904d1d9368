// What an internal topic's partition makes of its committed batches, on every replica, besides its producers: a state of its own,
// which moves with the leadership because each replica has it. See GroupTable.
//
// It is kept as the producer table is: changed parts are saved beside the log from time to time and before the log loses what
// they were made of, so that a start replays little and retention may take the rest; a replica that lacks what is gone is sent
// all parts as the snapshot.
//
// Lives on the partition's executor.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "proto/wire/record_batch.h"
#include "raft/types.h"

namespace millrace::server {

class AppliedState {
 public:
  // (key, value); an empty value: gone.
  using Parts = std::vector<std::pair<std::string, std::string>>;

  virtual ~AppliedState() = default;

  // A committed batch, each once, in the order of the log.
  virtual void Apply(const BatchView& batch) = 0;

  // This replica serves from now on, under this epoch: what was ever acked is applied. Or it serves no more.
  virtual void OnServing(raft::Term epoch) = 0;
  virtual void OnServingEnd() = 0;

  virtual bool IsKey(std::string_view key) const = 0;
  // Those that changed since the last call.
  virtual Parts TakeChanges() = 0;
  virtual Parts All() const = 0;
  // kDataLoss: no such part.
  virtual absl::Status Load(std::string_view key, std::string_view value) = 0;
  // As before the first batch.
  virtual void Clear() = 0;
};

}  // namespace millrace::server
