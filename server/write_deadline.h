// A peer that takes nothing of a message for a minute is given up: what is written for it would hold its memory for ever.
//
//     WriteDeadline deadline(executor, clock, stream_);
//     deadline.Begin();  stream->Write(...);   // ... OnWritten:
//     deadline.End();
//
// One timer at most, set once a minute and not for each write. Executor's thread only.
#pragma once

#include <chrono>
#include <optional>

#include "proto/wire/runtime.h"
#include "proto/wire/transport.h"

namespace millrace::server {

class WriteDeadline {
 public:
  static constexpr std::chrono::seconds kLimit{60};

  // Aborts `stream`, unless it is nullptr by then. That may destroy this object's owner.
  WriteDeadline(Executor& executor, const Clock& clock, Stream* const& stream);
  ~WriteDeadline();

  void Begin();
  void End() { begun_.reset(); }

 private:
  void Watch(std::chrono::nanoseconds delay);
  void OnTimer();

  Executor& executor_;
  const Clock& clock_;
  Stream* const& stream_;                          // the owner's
  std::optional<std::chrono::nanoseconds> begun_;  // of the write under way
  Executor::TimerId timer_ = 0;                    // 0: none
};

}  // namespace millrace::server
