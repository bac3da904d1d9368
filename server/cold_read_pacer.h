// Holds reads from the disk back while records come in, so that replaying consumers do not cost producers their latency: the same
// loop sends what is read and acks what is written.
//
//     pacer.Admit(1 << 20, [this](ColdReadPacer::Done done) {     // now, or a little later, in order
//       pool.Submit([=] { ... done(bytes); });                    // any thread
//     });
//
// While nothing is written there is no limit. While something is, bytes per second are: fewer when the loop is late to what it is
// told, or a sync took long, otherwise slowly more (additive increase, multiplicative decrease: Chiu and Jain, 1989). README.md has
// what it costs and gains.
// Executor's thread only.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "proto/wire/runtime.h"

namespace millrace::server {

class ColdReadPacer {
 public:
  static constexpr int64_t kBytesPerSecondMin = 64'000'000;
  static constexpr int64_t kBytesPerSecondMax = 4'000'000'000;
  static constexpr std::chrono::microseconds kLagMax{1500};
  static constexpr std::chrono::milliseconds kSyncMax{5};
  static constexpr std::chrono::milliseconds kStep{10};  // at most one change of the rate in each
  static constexpr std::chrono::seconds kQuietAfter{1};  // since the last write

  // `last_write`: when something was last written, on the clock's monotonic time. Both outlive it.
  ColdReadPacer(Executor& executor, const Clock& clock, std::function<std::chrono::nanoseconds()> last_write)
      : executor_(executor), clock_(clock), last_write_(std::move(last_write)) {}
  ~ColdReadPacer() { *self_ = nullptr; }
  ColdReadPacer(const ColdReadPacer&) = delete;
  ColdReadPacer& operator=(const ColdReadPacer&) = delete;

  // To be told how much was read.
  using Done = std::function<void(int64_t bytes)>;

  // `bytes`: what it will read at most.
  void Admit(int64_t bytes, std::function<void(Done)> read) {
    waiting_.push_back({bytes, std::move(read)});
    Run();
  }
  // A sync of the log took so long.
  void OnSync(std::chrono::nanoseconds elapsed) {
    if (elapsed > kSyncMax) late_ = true;
    Adapt();
  }

  int64_t bytes_per_second() const { return rate_; }

 private:
  void Adapt() {
    const std::chrono::nanoseconds now = clock_.Monotonic();
    if (now - changed_ < kStep) return;
    changed_ = now;
    rate_ = late_ ? rate_ - rate_ / 8 : rate_ + kBytesPerSecondMin / 64;
    rate_ = std::clamp(rate_, kBytesPerSecondMin, kBytesPerSecondMax);
    late_ = false;
  }

  struct Waiting {
    int64_t bytes;
    std::function<void(Done)> read;
  };

  void Run() {
    Refill();
    while (!waiting_.empty() && (credit_ > 0 || quiet_)) {
      Waiting next = std::move(waiting_.front());
      waiting_.pop_front();
      credit_ -= next.bytes;
      next.read(TellOf(next.bytes));
    }
    if (waiting_.empty() || timer_ != 0) return;
    const std::chrono::nanoseconds until_credit((1 - credit_) * 1'000'000'000 / rate_);
    timer_ = executor_.After(std::max<std::chrono::nanoseconds>(until_credit, kWaitMin), [self = self_] {
      if (*self == nullptr) return;
      (*self)->timer_ = 0;
      (*self)->Run();
    });
  }

  Done TellOf(int64_t admitted) {
    return [self = self_, &executor = executor_, &clock = clock_, admitted](int64_t bytes) {
      executor.Post([self, &clock, admitted, bytes, told = clock.Monotonic()] {
        if (*self != nullptr) (*self)->OnRead(admitted, bytes, clock.Monotonic() - told);
      });
    };
  }

  void OnRead(int64_t admitted, int64_t bytes, std::chrono::nanoseconds lag) {
    credit_ += admitted - bytes;
    if (lag > kLagMax) late_ = true;
    Adapt();
    if (!waiting_.empty()) Run();
  }

  void Refill() {
    const std::chrono::nanoseconds now = clock_.Monotonic();
    quiet_ = now - last_write_() > kQuietAfter;
    if (quiet_) {
      credit_ = kBurstBytes;
    } else {
      const double seconds =
          std::chrono::duration<double>(std::min(now - refilled_, std::chrono::nanoseconds(kQuietAfter))).count();
      credit_ = std::min(kBurstBytes, credit_ + static_cast<int64_t>(seconds * static_cast<double>(rate_)));
    }
    refilled_ = now;
  }

  static constexpr int64_t kBurstBytes = 2 << 20;
  static constexpr std::chrono::milliseconds kWaitMin{1};

  Executor& executor_;
  const Clock& clock_;
  const std::function<std::chrono::nanoseconds()> last_write_;
  std::deque<Waiting> waiting_;
  int64_t credit_ = kBurstBytes;  // below 0: more was read than that
  int64_t rate_ = 4 * kBytesPerSecondMin;
  bool late_ = false;  // since changed_
  bool quiet_ = true;  // nothing is being written
  std::chrono::nanoseconds refilled_{};
  std::chrono::nanoseconds changed_{};
  Executor::TimerId timer_ = 0;
  // Reads under way find out through this whether the pacer still exists.
  std::shared_ptr<ColdReadPacer*> self_ = std::make_shared<ColdReadPacer*>(this);
};

}  // namespace millrace::server
