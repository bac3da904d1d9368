// One of many processes in the thread of a SimExecutor: what it was going to do ends with it, waits while it stands still, and goes by
// a wall clock of its own.
//
//     SimProcess process(executor, "broker-1");
//     Broker broker(..., process.clock(), ..., {process, ...}, ...);
//     process.Freeze(); … process.Thaw();         // what was to run in between runs then: tasks first, timers after them
//     process.Kill();                             // forgets all of it; the next process of that name begins empty
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "tests/support/sim_executor.h"

namespace millrace {

class SimProcess : public Executor {
 public:
  SimProcess(SimExecutor& executor, std::string name)
      : executor_(executor),
        name_(std::move(name)),
        clock_(executor.clock()),
        self_(std::make_shared<SimProcess*>(this)) {}
  SimProcess(const SimProcess&) = delete;
  ~SimProcess() override {
    Kill();
    *self_ = nullptr;
  }

  const std::string& name() const { return name_; }
  Clock& clock() { return clock_; }
  // How far its wall clock is ahead of the executor's.
  void SetWall(int64_t ahead_ms) { clock_.offset_ms_ = ahead_ms; }

  void Post(Task task) override;
  void Defer(Task task) override;
  TimerId After(std::chrono::nanoseconds delay, Task task) override;
  void Cancel(TimerId timer) override;
  bool OnThread() const override { return true; }

  // Something comes from outside: handled at once, or when it can be.
  void Enter(Task task);

  bool frozen() const { return frozen_; }
  void Freeze() { frozen_ = true; }
  void Thaw();
  void Kill();

 private:
  class OwnClock : public Clock {
   public:
    explicit OwnClock(const Clock& base) : base_(base) {}
    std::chrono::nanoseconds Monotonic() const override { return base_.Monotonic(); }
    UnixMillis Wall() const override { return base_.Wall() + offset_ms_; }

   private:
    friend class SimProcess;
    const Clock& base_;
    int64_t offset_ms_ = 0;
  };
  using Queue = std::deque<Task>;

  void RunNext(Queue SimProcess::*queue, uint64_t life);
  void RunTimer(TimerId timer, uint64_t life);
  Executor::Task TimerTurn(TimerId timer);
  Executor::Task Turn(Queue SimProcess::*queue);

  SimExecutor& executor_;
  const std::string name_;
  OwnClock clock_;
  bool frozen_ = false;
  uint64_t life_ = 0;  // turns of an earlier one run nothing
  Queue posted_;
  Queue deferred_;
  std::map<TimerId, std::pair<TimerId, Task>> timers_;  // by age; each with the executor's, 0 once that has fired
  TimerId last_timer_ = 0;
  const std::shared_ptr<SimProcess*> self_;  // turns find out through it whether the process still exists
};

}  // namespace millrace
