// Starts of the partitions of one executor, a few at a time, however many a topic or a broker has: whatever else there is to do goes
// between them. The next turn comes when what the last one wrote is durable: a loop that is late, with elections and with what peers
// send of theirs, starts fewer.
//
//     queue.Add(std::move(starts));                       // in order
//     queue.WhenDone([](size_t failed) { … });            // all added until now have had their turn
//
// Executor's thread only.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "proto/wire/runtime.h"

namespace millrace::server {

class StartQueue {
 public:
  static constexpr std::chrono::milliseconds kTurn{2};
  static constexpr int kStartsPerTurn = 64;

  // Calls back once what was staged is durable.
  using WhenDurable = std::function<void(std::function<void()>)>;
  StartQueue(Executor& executor, const Clock& clock, WhenDurable when_durable)
      : executor_(executor), clock_(clock), when_durable_(std::move(when_durable)) {}
  ~StartQueue() { *self_ = nullptr; }
  StartQueue(const StartQueue&) = delete;
  StartQueue& operator=(const StartQueue&) = delete;

  // false: it failed, and nobody tries again by himself.
  using Start = std::function<bool()>;

  void Add(std::vector<Start> starts) {
    for (Start& start : starts) waiting_.push_back(std::move(start));
    Begin();
  }

  // `failed`: of all so far.
  void WhenDone(std::function<void(size_t failed)> then) {
    waiting_.push_back([this, then = std::move(then)] {
      then(failed_);
      return true;
    });
    Begin();
  }

 private:
  void Begin() {
    if (!waiting_.empty() && !std::exchange(scheduled_, true)) executor_.Post(NextTurn());
  }

  std::function<void()> NextTurn() {
    return [self = self_] {
      if (*self != nullptr) (*self)->Turn();
    };
  }

  void Turn() {
    const std::chrono::nanoseconds end = clock_.Monotonic() + kTurn;
    for (int n = 0; n < kStartsPerTurn && !waiting_.empty() && clock_.Monotonic() < end; ++n) {
      const Start start = std::move(waiting_.front());
      waiting_.pop_front();
      if (!start()) ++failed_;
    }
    scheduled_ = !waiting_.empty();
    if (scheduled_) when_durable_(NextTurn());
  }

  Executor& executor_;
  const Clock& clock_;
  const WhenDurable when_durable_;
  std::deque<Start> waiting_;
  size_t failed_ = 0;
  bool scheduled_ = false;
  // Turns find out through this whether the queue still exists.
  std::shared_ptr<StartQueue*> self_ = std::make_shared<StartQueue*>(this);
};

}  // namespace millrace::server
