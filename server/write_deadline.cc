#include "server/write_deadline.h"

#include <utility>

namespace millrace::server {

WriteDeadline::WriteDeadline(Executor& executor, const Clock& clock, std::function<void()> on_missed)
    : executor_(executor), clock_(clock), on_missed_(std::move(on_missed)) {}

WriteDeadline::~WriteDeadline() { executor_.Cancel(timer_); }

void WriteDeadline::Begin() {
  begun_ = clock_.Monotonic();
  if (timer_ == 0) Watch(kLimit);
}

void WriteDeadline::Watch(std::chrono::nanoseconds delay) {
  timer_ = executor_.After(delay, [this] { OnTimer(); });
}

void WriteDeadline::OnTimer() {
  timer_ = 0;
  if (!begun_) return;
  const std::chrono::nanoseconds left = *begun_ + kLimit - clock_.Monotonic();
  if (left > std::chrono::nanoseconds::zero()) return Watch(left);
  on_missed_();
}

}  // namespace millrace::server
