#include "tests/support/sim_process.h"

namespace millrace {

// The executor keeps the order among processes; what runs at a turn is kept here.
Executor::Task SimProcess::Turn(Queue SimProcess::*queue) {
  return [self = self_, queue, life = life_] {
    if (*self != nullptr) (*self)->RunNext(queue, life);
  };
}

Executor::Task SimProcess::TimerTurn(TimerId timer) {
  return [self = self_, timer, life = life_] {
    if (*self != nullptr) (*self)->RunTimer(timer, life);
  };
}

void SimProcess::RunNext(Queue SimProcess::*queue, uint64_t life) {
  if (life != life_ || frozen_ || (this->*queue).empty()) return;
  const Task task = std::move((this->*queue).front());
  (this->*queue).pop_front();
  task();
}

void SimProcess::Post(Task task) {
  posted_.push_back(std::move(task));
  executor_.Post(Turn(&SimProcess::posted_));
}

void SimProcess::Defer(Task task) {
  deferred_.push_back(std::move(task));
  executor_.Defer(Turn(&SimProcess::deferred_));
}

Executor::TimerId SimProcess::After(std::chrono::nanoseconds delay, Task task) {
  const TimerId timer = ++last_timer_;
  const TimerId turn = executor_.After(delay, TimerTurn(timer));
  timers_.emplace(timer, std::pair(turn, std::move(task)));
  return timer;
}

void SimProcess::RunTimer(TimerId timer, uint64_t life) {
  if (life != life_) return;
  const auto found = timers_.find(timer);
  if (found == timers_.end()) return;
  found->second.first = 0;
  if (frozen_) return;
  const Task task = std::move(found->second.second);
  timers_.erase(found);
  task();
}

void SimProcess::Cancel(TimerId timer) {
  if (const auto found = timers_.extract(timer); !found.empty()) executor_.Cancel(found.mapped().first);
}

void SimProcess::Enter(Task task) {
  if (!frozen_) return task();
  posted_.push_back(std::move(task));
}

void SimProcess::Thaw() {
  if (!std::exchange(frozen_, false)) return;
  for (size_t i = 0; i < posted_.size(); ++i) executor_.Post(Turn(&SimProcess::posted_));
  for (size_t i = 0; i < deferred_.size(); ++i) executor_.Defer(Turn(&SimProcess::deferred_));
  for (const auto& [timer, waiting] : timers_) {
    if (waiting.first == 0) executor_.Defer(TimerTurn(timer));
  }
}

void SimProcess::Kill() {
  ++life_;
  frozen_ = false;
  for (const auto& [timer, waiting] : timers_) executor_.Cancel(waiting.first);
  // What they hold may come back here as it goes.
  Queue posted = std::exchange(posted_, {});
  Queue deferred = std::exchange(deferred_, {});
  auto timers = std::exchange(timers_, {});
}

}  // namespace millrace
