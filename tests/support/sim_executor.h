// One thread, one queue, and a clock that moves only when told: what runs, runs in the order it was asked for.
//
//     SimExecutor executor;
//     Broker broker(..., executor.clock(), ..., {&executor}, ...);
//     executor.RunUntilIdle();                   // everything that needs no time to pass
//     executor.Advance(std::chrono::seconds(5)); // timers on the way fire in order
#pragma once

#include <deque>
#include <map>
#include <unordered_map>
#include <utility>

#include "proto/wire/runtime.h"

namespace millrace {

class SimClock : public Clock {
 public:
  std::chrono::nanoseconds Monotonic() const override { return now_; }
  UnixMillis Wall() const override { return wall_offset_ms_ + now_ / std::chrono::milliseconds(1); }

  // The wall clock jumps; monotonic time does not.
  void JumpWall(int64_t by_ms) { wall_offset_ms_ += by_ms; }

 private:
  friend class SimExecutor;
  std::chrono::nanoseconds now_{std::chrono::seconds(1)};
  UnixMillis wall_offset_ms_ = 1'700'000'000'000;
};

class SimExecutor : public Executor {
 public:
  SimClock& clock() { return clock_; }

  void Post(Task task) override { posted_.push_back(std::move(task)); }
  void Defer(Task task) override { deferred_.push_back(std::move(task)); }
  TimerId After(std::chrono::nanoseconds delay, Task task) override;
  void Cancel(TimerId timer) override;
  bool OnThread() const override { return true; }

  void RunUntilIdle();
  void Advance(std::chrono::nanoseconds by);

 private:
  using TimerKey = std::pair<std::chrono::nanoseconds, TimerId>;

  SimClock clock_;
  std::deque<Task> posted_;
  std::deque<Task> deferred_;
  std::map<TimerKey, Task> timers_;
  std::unordered_map<TimerId, std::chrono::nanoseconds> times_;  // of timers_
  TimerId last_timer_ = 0;
};

// A generator that repeats from its seed (splitmix64, Steele et al. 2014).
class SimRandom : public Random {
 public:
  explicit SimRandom(uint64_t seed) : state_(seed) {}
  uint64_t Next() override;

 private:
  uint64_t state_;
};

}  // namespace millrace
