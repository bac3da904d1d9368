// Does something once whenever nothing has happened for a while.
//
//     IdleWatch watch(loop, [&] { return metrics.bytes(); }, ReturnFreeMemory);   // on the executor, and destroyed there
//
// It looks twice a minute: `traffic` must have stood still at two looks in a row. Done again only after there was traffic in
// between.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>

#include "proto/wire/runtime.h"

namespace millrace::server {

class IdleWatch {
 public:
  static constexpr std::chrono::seconds kPeriod{30};

  IdleWatch(Executor& executor, std::function<uint64_t()> traffic, std::function<void()> when_idle)
      : executor_(executor), traffic_(std::move(traffic)), when_idle_(std::move(when_idle)) {
    Schedule();
  }
  ~IdleWatch() { executor_.Cancel(timer_); }
  IdleWatch(const IdleWatch&) = delete;
  IdleWatch& operator=(const IdleWatch&) = delete;

 private:
  static constexpr int kStillLooks = 2;

  void Schedule() {
    timer_ = executor_.After(kPeriod, [this] {
      Look();
      Schedule();
    });
  }

  void Look() {
    const uint64_t now = traffic_();
    if (now != std::exchange(last_, now)) {
      still_looks_ = 0;
    } else if (still_looks_ < kStillLooks && ++still_looks_ == kStillLooks && last_ != 0) {
      when_idle_();
    }
  }

  Executor& executor_;
  const std::function<uint64_t()> traffic_;
  const std::function<void()> when_idle_;
  Executor::TimerId timer_ = 0;
  uint64_t last_ = 0;  // 0: there never was traffic
  int still_looks_ = 0;
};

}  // namespace millrace::server
