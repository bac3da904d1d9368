// Holds reads from the disk back while records come in, so that replaying consumers do not cost producers their latency: the same
// loop sends what is read and acks what is written.
//
//     pacer.Admit(1 << 20, [this](ColdReadPacer::Done done) {     // now, or a little later, in order
//       pool.Submit([=] { ... done(bytes); });                    // any thread
//     });
//
// While nothing is written there is no limit. While something is, one read goes on at a time, and bytes per second are limited: to
// fewer when the loop is late to what it is told, or a sync took long, otherwise, if that is what readers wait for, to slowly more
// (additive increase, multiplicative decrease: Chiu and Jain, 1989); but always to more than comes in, or who is behind could never
// catch up. Small reads wait for nobody: somebody looks for a place to begin. README.md has what it costs and gains.
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
  static constexpr int kReadingMax = 1;                  // reads at a time
  static constexpr int64_t kSmallBytes = 64 << 10;
  static constexpr double kOfWritten = 1.5;  // at least so many bytes per second for each that is written

  struct Written {
    std::chrono::nanoseconds last;  // when something was, on the clock's monotonic time
    int64_t bytes;                  // in all
  };
  // `written` is asked. Executor and clock outlive it.
  ColdReadPacer(Executor& executor, const Clock& clock, std::function<Written()> written)
      : executor_(executor), clock_(clock), written_(std::move(written)) {}
  ~ColdReadPacer() { *self_ = nullptr; }
  ColdReadPacer(const ColdReadPacer&) = delete;
  ColdReadPacer& operator=(const ColdReadPacer&) = delete;

  // To be told how much was read.
  using Done = std::function<void(int64_t bytes)>;

  // `bytes`: what it will read at most.
  void Admit(int64_t bytes, std::function<void(Done)> read) {
    if (bytes <= kSmallBytes) return read([](int64_t) {});
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
    if (late_) {
      rate_ -= rate_ / 8;
    } else if (wanting_) {
      rate_ += kBytesPerSecondMin / 64;
    }
    late_ = wanting_ = false;
    MeasureWrites(now);
    rate_ = std::clamp(rate_, std::max(kBytesPerSecondMin, least_), kBytesPerSecondMax);
  }

  void MeasureWrites(std::chrono::nanoseconds now) {
    if (now - measured_ < kMeasure) return;
    const int64_t bytes = written_().bytes;
    const double seconds = std::chrono::duration<double>(now - measured_).count();
    least_ = std::min(static_cast<int64_t>(kOfWritten * static_cast<double>(bytes - written_before_) / seconds),
                      kBytesPerSecondMax);
    measured_ = now;
    written_before_ = bytes;
  }

  struct Waiting {
    int64_t bytes;
    std::function<void(Done)> read;
  };

  void Run() {
    Refill();
    while (!waiting_.empty() && (quiet_ || (credit_ > 0 && reading_ < kReadingMax))) {
      Waiting next = std::move(waiting_.front());
      waiting_.pop_front();
      const int64_t charged = quiet_ ? 0 : next.bytes;
      credit_ -= charged;
      ++reading_;
      next.read(TellOf(charged));
    }
    if (waiting_.empty() || credit_ > 0) return;  // the read that is under way lets the next one go
    wanting_ = true;
    if (timer_ != 0) return;
    const std::chrono::nanoseconds until_credit((1 - credit_) * 1'000'000'000 / rate_);
    timer_ = executor_.After(std::max<std::chrono::nanoseconds>(until_credit, kWaitMin), [self = self_] {
      if (*self == nullptr) return;
      (*self)->timer_ = 0;
      (*self)->Run();
    });
  }

  Done TellOf(int64_t charged) {
    return [self = self_, &executor = executor_, &clock = clock_, charged](int64_t bytes) {
      executor.Post([self, &clock, charged, bytes, told = clock.Monotonic()] {
        if (*self != nullptr) (*self)->OnRead(charged, bytes, clock.Monotonic() - told);
      });
    };
  }

  void OnRead(int64_t charged, int64_t bytes, std::chrono::nanoseconds lag) {
    if (charged > 0) credit_ += charged - bytes;
    --reading_;
    if (lag > kLagMax) late_ = true;
    Adapt();
    if (!waiting_.empty()) Run();
  }

  void Refill() {
    const std::chrono::nanoseconds now = clock_.Monotonic();
    quiet_ = now - written_().last > kQuietAfter;
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
  static constexpr std::chrono::milliseconds kMeasure{250};

  Executor& executor_;
  const Clock& clock_;
  const std::function<Written()> written_;
  std::deque<Waiting> waiting_;
  int64_t credit_ = kBurstBytes;  // below 0: more was read than that
  int64_t rate_ = 4 * kBytesPerSecondMin;
  int64_t least_ = 0;     // for what is written
  bool late_ = false;     // since changed_
  bool wanting_ = false;  // for credit, since changed_
  bool quiet_ = true;     // nothing is being written
  std::chrono::nanoseconds refilled_{};
  std::chrono::nanoseconds changed_{};
  std::chrono::nanoseconds measured_{};
  int64_t written_before_ = 0;  // until measured_
  Executor::TimerId timer_ = 0;
  int reading_ = 0;
  // Reads under way find out through this whether the pacer still exists.
  std::shared_ptr<ColdReadPacer*> self_ = std::make_shared<ColdReadPacer*>(this);
};

}  // namespace millrace::server
