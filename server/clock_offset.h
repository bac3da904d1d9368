// How far another clock is ahead of this one, from messages that say when they were sent.
//
//     offset.Add(sent, clock.Wall(), clock.Monotonic());
//     offset.Value();                        // milliseconds; negative: it is behind
//
// What a message tells is short by its journey, so the most that any of the last seconds told is nearest. Not thread-safe.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>

#include "proto/wire/runtime.h"

namespace millrace::server {

class ClockOffset {
 public:
  static constexpr std::chrono::seconds kWindow{5};  // what is told lasts for one or two of them

  void Add(UnixMillis sent, UnixMillis now, std::chrono::nanoseconds moment) {
    if (moment - begun_ >= kWindow) {
      last_ = moment - begun_ < 2 * kWindow ? this_ : std::nullopt;
      this_.reset();
      begun_ = moment;
    }
    this_ = std::max(this_.value_or(std::numeric_limits<int64_t>::min()), sent - now);
  }

  // Nothing: nothing was told.
  std::optional<int64_t> Value() const { return std::max(this_, last_); }

 private:
  std::chrono::nanoseconds begun_{0};
  std::optional<int64_t> this_, last_;  // of the windows
};

}  // namespace millrace::server
