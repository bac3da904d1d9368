// Tells how much has come in since there is traffic, and once whenever there has been none for a minute.
//
//     TrafficWatch watch(loop, [&] { return TrafficOf(broker); }, [](uint64_t bytes_in) {...}, ReturnFreeMemory);
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
    if (now != std::exchange(last_, now)) {
      still_looks_ = 0;
      on_traffic_(now.bytes_in - when_last_idle_.bytes_in);
    } else if (last_ != when_last_idle_ && ++still_looks_ == kStillLooks) {
      when_last_idle_ = now;
      when_idle_();
    }
  }

  Executor& executor_;
  const std::function<Traffic()> traffic_;
  const std::function<void(uint64_t)> on_traffic_;
  const std::function<void()> when_idle_;
  Executor::TimerId timer_ = 0;
  Traffic last_;
  Traffic when_last_idle_;
  int still_looks_ = 0;
};

}  // namespace millrace::server
