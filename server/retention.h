// Goes over the partitions of one executor, again and again, and removes what their topics' retention no longer covers.
//
//     Retention retention(executor, clock, log_clock, metrics, [&] { return PartitionsOf(executor); });
//
// The first pass begins kFirst after the start, so that also a broker that never runs for long removes what is due; then one
// begins kPeriod after the last one ended. It takes turns of kTurn or kMovesPerTurn log starts, whichever comes first,
// and lets everything else on the executor go between them: ten thousand partitions are one timer and many short turns.
// Made and destroyed on the executor.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "proto/wire/runtime.h"
#include "server/log_clock.h"
#include "server/metrics.h"
#include "server/partition.h"

namespace millrace::server {

class Retention {
 public:
  static constexpr std::chrono::milliseconds kFirst{500};
  static constexpr std::chrono::seconds kPeriod{2};
  static constexpr std::chrono::microseconds kTurn{500};
  static constexpr int kMovesPerTurn = 16;  // each is written at the end of its turn

  // Gives one partition after the other, then nullptr.
  using Walk = std::function<std::shared_ptr<Partition>()>;

  // `partitions`: a new walk over all there are; called once a pass. All of it outlives this object.
  Retention(Executor& executor, const Clock& clock, LogClock& log_clock, LoopMetrics& metrics,
            std::function<Walk()> partitions);
  ~Retention();
  Retention(const Retention&) = delete;
  Retention& operator=(const Retention&) = delete;

 private:
  void BeginPass();
  void Turn();
  // Whether its log start moved.
  bool Visit(Partition& partition);
  void LookAtClock();

  Executor& executor_;
  const Clock& clock_;
  LogClock& log_clock_;
  LoopMetrics& metrics_;
  const std::function<Walk()> partitions_;
  Executor::TimerId timer_ = 0;
  // Of the pass under way.
  Walk walk_;
  std::optional<UnixMillis> now_;
  // In this pass.
  Partition::Removed removed_;
  int removed_of_ = 0;
};

}  // namespace millrace::server
