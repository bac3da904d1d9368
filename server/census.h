// Looks at the broker once a second: counts for the metrics, and one line in the log when leaderships have moved, however many.
//
// Lives on the first executor. Ownership: what is given by reference outlives it.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "server/shard.h"

namespace millrace::server {

class Census {
 public:
  static constexpr std::chrono::seconds kPeriod{1};

  Census(Executor& executor, const std::vector<std::unique_ptr<Shard>>& shards, const ClusterView& view);
  ~Census();
  Census(const Census&) = delete;
  Census& operator=(const Census&) = delete;

 private:
  void Look();
  void LogMoves();

  Executor& executor_;
  const std::vector<std::unique_ptr<Shard>>& shards_;
  const ClusterView& view_;
  Executor::TimerId timer_ = 0;
  uint64_t won_ = 0;  // until the last look
  uint64_t lost_ = 0;
};

}  // namespace millrace::server
