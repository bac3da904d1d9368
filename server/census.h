// Looks at the broker once a second: counts for the metrics, and one line in the log when leaderships have moved, however many, when
// partitions or the cluster have been without a leader for longer than it takes to elect one, and when that is over.
//
// Lives on the first executor. Ownership: what is given by reference outlives it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "server/shard.h"
#include "server/work_pool.h"

namespace millrace::server {

class Census {
 public:
  static constexpr std::chrono::seconds kPeriod{1};

  Census(Executor& executor, const std::vector<std::unique_ptr<Shard>>& shards, const ClusterView& view,
         WorkPool& pool);
  ~Census();
  Census(const Census&) = delete;
  Census& operator=(const Census&) = delete;

 private:
  void Look();
  void LogMoves();
  void LookForLeaders();
  void OnLeaderless(int32_t partitions);

  // Something that is worth a line once two looks have seen it.
  struct Trouble {
    int looks = 0;

    bool lasts() const { return looks >= kLooks; }
    // True: it lasts from now on, or is over.
    bool Changes(bool now);

    static constexpr int kLooks = 2;
  };

  Executor& executor_;
  const std::vector<std::unique_ptr<Shard>>& shards_;
  const ClusterView& view_;
  WorkPool& pool_;
  Executor::TimerId timer_ = 0;
  uint64_t won_ = 0;  // until the last look
  uint64_t lost_ = 0;
  Trouble no_controller_;
  Trouble leaderless_;
  std::shared_ptr<Census*> self_;
};

}  // namespace millrace::server
