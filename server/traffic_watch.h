// Tells how much has been moved since nothing was, and once whenever nothing has been moved for a minute.
//
//     TrafficWatch watch(loop, [&] { return metrics.bytes(); }, [](uint64_t since_idle) {...}, ReturnFreeMemory);
//
// It looks once a second. on_traffic comes after a second in which there was some; when_idle once, and again only after there was
// traffic in between. Both are called on the executor, where the watch is made and destroyed.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>

#include "proto/wire/runtime.h"

namespace millrace::server {

class TrafficWatch {
 public:
  static constexpr std::chrono::seconds kPeriod{1};
  static constexpr int kStillLooks = 60;

  // traffic: what was moved since the start, in bytes.
  TrafficWatch(Executor& executor, std::function<uint64_t()> traffic, std::function<void(uint64_t)> on_traffic,
               std::function<void()> when_idle)
      : executor_(executor),
        traffic_(std::move(traffic)),
        on_traffic_(std::move(on_traffic)),
        when_idle_(std::move(when_idle)) {
    Schedule();
  }
  ~TrafficWatch() { executor_.Cancel(timer_); }
  TrafficWatch(const TrafficWatch&) = delete;
  TrafficWatch& operator=(const TrafficWatch&) = delete;

 private:
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
      on_traffic_(now - when_last_idle_);
    } else if (last_ != when_last_idle_ && ++still_looks_ == kStillLooks) {
      when_last_idle_ = now;
      when_idle_();
    }
  }

  Executor& executor_;
  const std::function<uint64_t()> traffic_;
  const std::function<void(uint64_t)> on_traffic_;
  const std::function<void()> when_idle_;
  Executor::TimerId timer_ = 0;
  uint64_t last_ = 0;
  uint64_t when_last_idle_ = 0;
  int still_looks_ = 0;
};

}  // namespace millrace::server
