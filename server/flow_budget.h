// A bound on bytes that are under way, shared by the calls of one executor. Past it, calls stop asking for more until some of it
// was given back, or go on in the smallest steps: memory stays bounded and the client feels it as back-pressure, nothing is
// refused.
//
// Closed, it is exhausted whatever was given back: what would only pile up is not asked for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
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

  // Calls `wake` once, when there is room again. One wish per `who`.
  void Wait(const void* who, std::function<void()> wake) { waiting_[who] = std::move(wake); }
  void Forget(const void* who) { waiting_.erase(who); }

 private:
  void WakeIfRoom() {
    if (exhausted() || waiting_.empty()) return;
    std::unordered_map<const void*, std::function<void()>> waiting;
    waiting.swap(waiting_);
    for (auto& [who, wake] : waiting) wake();
  }

  const int64_t bytes_max_;
  int64_t bytes_ = 0;
  bool closed_ = false;
  std::unordered_map<const void*, std::function<void()>> waiting_;
};

}  // namespace millrace::server
