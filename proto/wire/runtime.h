// Time, randomness and deferred work as the broker's and the client's logic see them.
//
// Nothing above the transports calls the system's clock, sleeps, or draws random numbers by itself: it is given these three
// through its constructor, so that a test can run a broker and its clients in one thread, from one seed, on a clock that
// only moves when the test says so.
//
//     executor.After(std::chrono::milliseconds(50), [this] { Reconnect(); });
//
// An Executor runs everything given to it one at a time on one thread; objects that live on an executor need no locks.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>

namespace millrace {

// Milliseconds since 1970-01-01T00:00:00Z.
using UnixMillis = int64_t;

class Clock {
 public:
  virtual ~Clock() = default;
  // Never goes back; for time-outs and latencies.
  virtual std::chrono::nanoseconds Monotonic() const = 0;
  // The wall clock; may jump.
  virtual UnixMillis Wall() const = 0;
};

class Executor {
 public:
  using Task = std::function<void()>;
  using TimerId = uint64_t;

  virtual ~Executor() = default;

  // Runs `task` soon. Any thread may call it.
  virtual void Post(Task task) = 0;

  // Runs `task` once everything that has already arrived (messages, completions, posted tasks) was handled, before waiting
  // for more: what came in during the previous I/O is dealt with together. On the executor's thread only.
  virtual void Defer(Task task) = 0;

  // Runs `task` after `delay`. On the executor's thread only. Never returns 0.
  virtual TimerId After(std::chrono::nanoseconds delay, Task task) = 0;

  // Takes a timer back; one that already ran is ignored. On the executor's thread only.
  virtual void Cancel(TimerId timer) = 0;

  // True on the executor's own thread.
  virtual bool OnThread() const = 0;
};

// Runs `task` on `executor`: at once on its own thread, else soon. Any thread.
inline void RunOn(Executor& executor, Executor::Task task) {
  if (executor.OnThread()) {
    task();
  } else {
    executor.Post(std::move(task));
  }
}

class Random {
 public:
  virtual ~Random() = default;
  virtual uint64_t Next() = 0;
};

}  // namespace millrace
