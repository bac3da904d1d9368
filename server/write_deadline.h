// A peer that takes nothing of a message for a minute is given up: what is written for it would hold its memory for ever.
//
//     WriteDeadline deadline(executor, clock, [this] { GiveUp(); });
//     deadline.Begin();  stream->Write(...);   // ... OnWritten:
//     deadline.End();
//
// One timer at most, set once a minute and not for each write. Executor's thread only.
#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include "proto/wire/runtime.h"

namespace millrace::server {

class WriteDeadline {
 public:
  static constexpr std::chrono::seconds kLimit{60};

  // `on_missed` may destroy this object's owner.
  WriteDeadline(Executor& executor, const Clock& clock, std::function<void()> on_missed);
  ~WriteDeadline();

  void Begin();
  void End() { begun_.reset(); }

 private:
  void Watch(std::chrono::nanoseconds delay);
  void OnTimer();

  Executor& executor_;
  const Clock& clock_;
  const std::function<void()> on_missed_;
  std::optional<std::chrono::nanoseconds> begun_;  // of the write under way
  Executor::TimerId timer_ = 0;                    // 0: none
};

}  // namespace millrace::server
