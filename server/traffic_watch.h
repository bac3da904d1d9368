// Tells how much comes in a second while there is traffic, and once whenever there has been none for a minute.
//
//     TrafficWatch watch(loop, [&] { return TrafficOf(broker); }, [](uint64_t bytes_in_most) {...}, ReturnFreeMemory);
//
// It looks once a second. on_traffic comes after a second in which there was some, with what came in during the busiest since there
// was none for a minute; when_idle once, and again only after there was
// traffic in between. Both are called on the executor, where the watch is made and destroyed.
#pragma once

#include <algorithm>
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

  // Since the broker started.
  struct Traffic {
    uint64_t bytes_in = 0;
    uint64_t bytes_out = 0;
    bool operator==(const Traffic&) const = default;
  };

  TrafficWatch(Executor& executor, std::function<Traffic()> traffic, std::function<void(uint64_t)> on_traffic,
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
    const Traffic now = traffic_();
    const Traffic before = std::exchange(last_, now);
    if (now != before) {
      still_looks_ = 0;
      busy_ = true;
      bytes_in_most_ = std::max(bytes_in_most_, now.bytes_in - before.bytes_in);
      on_traffic_(bytes_in_most_);
    } else if (busy_ && ++still_looks_ == kStillLooks) {
      busy_ = false;
      bytes_in_most_ = 0;
      when_idle_();
    }
  }

  Executor& executor_;
  const std::function<Traffic()> traffic_;
  const std::function<void(uint64_t)> on_traffic_;
  const std::function<void()> when_idle_;
  Executor::TimerId timer_ = 0;
  Traffic last_;
  bool busy_ = false;  // there was traffic since it was last idle
  uint64_t bytes_in_most_ = 0;
  int still_looks_ = 0;
};

}  // namespace millrace::server
