#include "server/retention.h"

#include <utility>

#include "server/log.h"

namespace millrace::server {

Retention::Retention(Executor& executor, const Clock& clock, LogClock& log_clock, LoopMetrics& metrics,
                     std::function<Walk()> partitions)
    : executor_(executor), clock_(clock), log_clock_(log_clock), metrics_(metrics), partitions_(std::move(partitions)) {
  timer_ = executor_.After(kFirst, [this] { BeginPass(); });
}

Retention::~Retention() { executor_.Cancel(timer_); }

void Retention::BeginPass() {
  LookAtClock();
  removed_ = {};
  removed_of_ = 0;
  walk_ = partitions_();
  Turn();
}

void Retention::Turn() {
  const std::chrono::nanoseconds end = clock_.Monotonic() + kTurn;
  for (int moves = 0; moves < kMovesPerTurn && clock_.Monotonic() < end;) {
    const std::shared_ptr<Partition> partition = walk_();
    if (partition == nullptr) {
      walk_ = nullptr;
      if (removed_of_ > 0) {
        MILLRACE_LOG(kInfo, "retention removed records", {"partitions", removed_of_}, {"segments", removed_.segments},
                     {"records", removed_.records}, {"bytes", removed_.bytes});
      }
      timer_ = executor_.After(kPeriod, [this] { BeginPass(); });
      return;
    }
    if (Visit(*partition)) ++moves;
  }
  timer_ = executor_.After(std::chrono::nanoseconds(0), [this] { Turn(); });
}

bool Retention::Visit(Partition& partition) {
  const absl::StatusOr<Partition::Removed> removed = partition.Retain(now_);
  if (!removed.ok()) {
    MILLRACE_LOG_EVERY(std::chrono::minutes(1), kError, "retention cannot remove what is due",
                       {"topic", partition.name().topic}, {"partition", partition.name().partition},
                       {"status", removed.status().ToString()});
    return false;
  }
  metrics_.retention_segments.Add(static_cast<uint64_t>(removed->segments));
  metrics_.retention_records.Add(static_cast<uint64_t>(removed->records));
  metrics_.retention_bytes.Add(static_cast<uint64_t>(removed->bytes));
  if (removed->segments == 0) return false;
  ++removed_of_;
  removed_.segments += removed->segments;
  removed_.records += removed->records;
  removed_.bytes += removed->bytes;
  return true;
}

void Retention::LookAtClock() {
  const bool was_in_doubt = log_clock_.jumped().count() != 0;
  now_ = log_clock_.Look();
  const bool in_doubt = log_clock_.jumped().count() != 0;
  metrics_.clock_in_doubt.Set(in_doubt ? 1 : 0);
  if (in_doubt && !was_in_doubt) {
    MILLRACE_LOG(
        kWarning,
        "the clock jumped; nothing is removed by retention.ms until it is back. If it is right now, restart the "
        "broker: a start takes the clock as it is",
        {"ahead_ms", log_clock_.jumped().count()});
  } else if (was_in_doubt && !in_doubt) {
    MILLRACE_LOG(kInfo, "the clock is back; retention.ms removes again");
  }
}

}  // namespace millrace::server
