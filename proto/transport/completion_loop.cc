#include "proto/transport/completion_loop.h"

namespace millrace {
namespace {

// Events handled before posted tasks, timers and deferred work get their turn, however much is still waiting.
constexpr int kEventsPerRoundMax = 256;
constexpr int kDeferredPassesMax = 8;

}  // namespace

std::chrono::nanoseconds SystemClock::Monotonic() const { return std::chrono::steady_clock::now().time_since_epoch(); }

UnixMillis SystemClock::Wall() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

CompletionLoop::CompletionLoop(std::unique_ptr<grpc::CompletionQueue> queue)
    : queue_(std::move(queue)), alarm_(std::make_unique<grpc::Alarm>()) {
  wake_event_.loop = this;
}

CompletionLoop::~CompletionLoop() = default;

void CompletionLoop::Run() {
  thread_.store(std::this_thread::get_id());
  for (;;) {
    if (stopping_.load()) Drain();
    if (!HandleEvents()) break;
    bool worked = RunPosted();
    RunTimers();
    worked |= RunDeferred();
    if (worked) idle_ = false;
  }
  RunPosted();
  RunDeferred();
  thread_.store(std::thread::id());
}

// An alarm already set still comes through a queue that shuts down; no new one is set from here on.
void CompletionLoop::Drain() {
  {
    std::lock_guard lock(mutex_);
    if (draining_) return;
    draining_ = true;
  }
  drain_begun_ = true;
  queue_->Shutdown();
}

void CompletionLoop::Stop() {
  stopping_.store(true);
  Post([] {});
}

// Takes what has arrived; waits only if the last round found nothing to do. False once the queue is shut down and empty.
bool CompletionLoop::HandleEvents() {
  gpr_timespec deadline = idle_ ? NextDeadline() : gpr_time_0(GPR_CLOCK_MONOTONIC);
  idle_ = true;
  for (int i = 0; i < kEventsPerRoundMax; ++i) {
    void* tag = nullptr;
    bool ok = false;
    switch (queue_->AsyncNext(&tag, &ok, deadline)) {
      case grpc::CompletionQueue::SHUTDOWN:
        return false;
      case grpc::CompletionQueue::TIMEOUT:
        return true;
      case grpc::CompletionQueue::GOT_EVENT:
        static_cast<CompletionEvent*>(tag)->Complete(ok);
        idle_ = false;
        deadline = gpr_time_0(GPR_CLOCK_MONOTONIC);
    }
  }
  return true;
}

bool CompletionLoop::RunPosted() {
  std::vector<Task> tasks;
  {
    std::lock_guard lock(mutex_);
    tasks.swap(posted_);
  }
  for (Task& task : tasks) task();
  return !tasks.empty();
}

void CompletionLoop::RunTimers() {
  if (timers_.empty()) return;
  const std::chrono::nanoseconds now = clock_.Monotonic();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    Task task = std::move(timers_.begin()->second);
    timer_keys_.erase(timers_.begin()->first.second);
    timers_.erase(timers_.begin());
    task();
    idle_ = false;
  }
}

// What deferred tasks defer runs at once as well (a write that completes wakes readers), but not for ever.
bool CompletionLoop::RunDeferred() {
  bool worked = false;
  for (int pass = 0; pass < kDeferredPassesMax && !deferred_.empty(); ++pass) {
    std::vector<Task> tasks;
    tasks.swap(deferred_);
    for (Task& task : tasks) task();
    worked = true;
  }
  return worked;
}

gpr_timespec CompletionLoop::NextDeadline() const {
  if (timers_.empty()) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
  const auto delay = timers_.begin()->first.first - clock_.Monotonic();
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_nanos(delay.count() > 0 ? delay.count() : 0, GPR_TIMESPAN));
}

void CompletionLoop::Post(Task task) {
  std::lock_guard lock(mutex_);
  posted_.push_back(std::move(task));
  if (!OnThread()) Wake();
}

// With mutex_ held.
void CompletionLoop::Wake() {
  if (wake_pending_ || draining_) return;
  wake_pending_ = true;
  alarm_->Set(queue_.get(), gpr_time_0(GPR_CLOCK_MONOTONIC), static_cast<CompletionEvent*>(&wake_event_));
}

void CompletionLoop::WakeEvent::Complete(bool) {
  std::lock_guard lock(loop->mutex_);
  loop->wake_pending_ = false;
}

void CompletionLoop::Defer(Task task) { deferred_.push_back(std::move(task)); }

Executor::TimerId CompletionLoop::After(std::chrono::nanoseconds delay, Task task) {
  const TimerKey key{clock_.Monotonic() + delay, ++last_timer_};
  timers_.emplace(key, std::move(task));
  timer_keys_.emplace(key.second, key);
  return key.second;
}

void CompletionLoop::Cancel(TimerId timer) {
  auto it = timer_keys_.find(timer);
  if (it == timer_keys_.end()) return;
  timers_.erase(it->second);
  timer_keys_.erase(it);
}

bool CompletionLoop::OnThread() const { return thread_.load(std::memory_order_relaxed) == std::this_thread::get_id(); }

}  // namespace millrace
