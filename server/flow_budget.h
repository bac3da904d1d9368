// A bound on bytes that are under way, shared by the calls of one executor. Past it, calls stop asking for more until some of it
// was given back, or go on in the smallest steps: memory stays bounded and the client feels it as back-pressure, nothing is
// refused.
//
// Closed, it is exhausted whatever was given back: what would only pile up is not asked for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <unordered_map>
#include <utility>

namespace millrace::server {

class FlowBudget {
 public:
  explicit FlowBudget(int64_t bytes_max) : bytes_max_(bytes_max) {}

  void Take(int64_t bytes) { bytes_ += bytes; }

  // Wakes those who wait once there is room.
  void Return(int64_t bytes) {
    bytes_ -= bytes;
    WakeIfRoom();
  }

  void Close() { closed_ = true; }
  void Open() {
    closed_ = false;
    WakeIfRoom();
  }

  bool exhausted() const { return closed_ || bytes_ >= bytes_max_; }
  int64_t bytes() const { return bytes_; }
  int64_t bytes_max() const { return bytes_max_; }

  // Calls `wake` once, when there is room again; who waits longest comes first. One wish per `who`.
  void Wait(const void* who, std::function<void()> wake) {
    const auto [number, is_new] = numbers_.try_emplace(who, last_number_ + 1);
    if (is_new) ++last_number_;
    waiting_[number->second] = std::move(wake);
  }
  void Forget(const void* who) {
    if (const auto number = numbers_.extract(who); !number.empty()) waiting_.erase(number.mapped());
  }

 private:
  void WakeIfRoom() {
    if (exhausted() || waiting_.empty()) return;
    std::map<uint64_t, std::function<void()>> waiting;
    waiting.swap(waiting_);
    numbers_.clear();
    for (auto& [number, wake] : waiting) wake();
  }

  const int64_t bytes_max_;
  int64_t bytes_ = 0;
  bool closed_ = false;
  std::map<uint64_t, std::function<void()>> waiting_;  // by age
  std::unordered_map<const void*, uint64_t> numbers_;  // of waiting_
  uint64_t last_number_ = 0;
};

}  // namespace millrace::server
