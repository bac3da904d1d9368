#include "server/write_deadline.h"

#include "server/errors.h"

namespace millrace::server {

WriteDeadline::WriteDeadline(Executor& executor, const Clock& clock, Stream* const& stream)
    : executor_(executor), clock_(clock), stream_(stream) {}

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
  if (stream_ != nullptr) stream_->Abort(FailedCall(NotTakenError()));
}

}  // namespace millrace::server
