#include "tests/support/sim_executor.h"

namespace millrace {

Executor::TimerId SimExecutor::After(std::chrono::nanoseconds delay, Task task) {
  const std::chrono::nanoseconds at = clock_.now_ + delay;
  timers_.emplace(TimerKey{at, ++last_timer_}, std::move(task));
  times_.emplace(last_timer_, at);
  return last_timer_;
}

void SimExecutor::Cancel(TimerId timer) {
  if (const auto time = times_.extract(timer); !time.empty()) timers_.erase(TimerKey{time.mapped(), timer});
}

void SimExecutor::RunUntilIdle() {
  for (;;) {
    if (!posted_.empty()) {
      Task task = std::move(posted_.front());
      posted_.pop_front();
      task();
    } else if (!deferred_.empty()) {
      Task task = std::move(deferred_.front());
      deferred_.pop_front();
      task();
    } else {
      return;
    }
  }
}

void SimExecutor::Advance(std::chrono::nanoseconds by) {
  RunUntilIdle();
  const std::chrono::nanoseconds end = clock_.now_ + by;
  while (!timers_.empty() && timers_.begin()->first.first <= end) {
    clock_.now_ = timers_.begin()->first.first;
    Task task = std::move(timers_.begin()->second);
    times_.erase(timers_.begin()->first.second);
    timers_.erase(timers_.begin());
    task();
    RunUntilIdle();
  }
  clock_.now_ = end;
}

uint64_t SimRandom::Next() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace millrace
