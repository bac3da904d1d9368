// The time in a broker's logs: what entries are stamped with, and what retention.ms is judged by. A wall clock that jumps makes
// no record look older than it is.
//
//     LogClock clock(wall_clock);
//     entry.append_time = clock.AppendTime();
//     if (std::optional<UnixMillis> now = clock.Look()) ... what was appended before *now - retention.ms may go ...
//
// The rule:
// - The broker's own time begins as the wall clock's and goes on by the monotonic clock. It follows the wall clock by at most a
//   thousandth of the time that passed: as far as clocks are slewed, and no step counts.
// - Append times are the later of the two. So one that was given after another is later by at least what lay between them.
// - Retention goes by the earlier of the two. More than a minute apart, the time is in doubt, and there is none: nothing goes by
//   retention.ms. That ends when they agree again, or when an operator who finds the wall clock right starts the broker again: a
//   start takes it as it is.
// - In the first half minute there is none either: a machine that comes up with a wrong clock has it set within seconds. A jump
//   in that time is taken over, and the half minute begins anew. What was stamped before it keeps its time.
//
// An append time that was ahead only makes its records stay longer. Lives on one thread.
#pragma once

#include <chrono>
#include <optional>

#include "proto/wire/runtime.h"

namespace millrace::server {

class LogClock {
 public:
  static constexpr std::chrono::seconds kSettleTime{30};
  static constexpr std::chrono::seconds kApartMax{60};

  explicit LogClock(const Clock& clock);

  UnixMillis AppendTime() const;

  // Compares the clocks: to be called every few seconds. The time for retention; unset: it is in doubt.
  std::optional<UnixMillis> Look();

  // How far the wall clock was ahead (or behind, negative) at the last Look(), if that put the time in doubt; else 0.
  std::chrono::milliseconds jumped() const { return jumped_; }

 private:
  std::chrono::nanoseconds OwnTime(std::chrono::nanoseconds monotonic) const { return time_ + (monotonic - looked_); }

  const Clock& clock_;
  std::chrono::nanoseconds looked_;        // monotonic
  std::chrono::nanoseconds time_;          // the broker's own at looked_, since 1970
  std::chrono::nanoseconds settled_from_;  // monotonic
  std::chrono::milliseconds jumped_{0};
};

}  // namespace millrace::server
