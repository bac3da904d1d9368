// An Executor and Clock over one gRPC completion queue and one thread: network completions, posted tasks and timers are all
// handled in turn by whoever called Run().
//
// Why one thread for everything: a hand-off between threads costs 10-100 us, and a second poller in the process divides gRPC's
// throughput by several times (its pollers share one epoll set).
//
//     CompletionLoop loop(std::make_unique<grpc::CompletionQueue>());
//     std::thread thread([&] { loop.Run(); });
//     loop.Post([] { ... });
//     loop.Stop(); thread.join();
//
// Tags given to gRPC operations on queue() must be CompletionEvent pointers.
// Thread safety: Post, Stop and the Clock from any thread; the rest on the loop's thread.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "proto/wire/runtime.h"

namespace millrace {

// What a completion-queue tag points to. Owned by whoever started the operation, until Complete is called.
class CompletionEvent {
 public:
  virtual void Complete(bool ok) = 0;

 protected:
  ~CompletionEvent() = default;
};

class SystemClock : public Clock {
 public:
  std::chrono::nanoseconds Monotonic() const override;
  UnixMillis Wall() const override;
};

class CompletionLoop : public Executor {
 public:
  explicit CompletionLoop(std::unique_ptr<grpc::CompletionQueue> queue);
  ~CompletionLoop() override;
  CompletionLoop(const CompletionLoop&) = delete;

  // Handles events until Stop() was called and the queue is drained. Operations still under way complete with ok = false.
  void Run();
  void Stop();

  grpc::CompletionQueue* queue() { return queue_.get(); }
  // The queue was shut down: gRPC aborts on operations begun from here on. On the loop's thread.
  bool draining() const { return drain_begun_; }

  void Post(Task task) override;
  void Defer(Task task) override;
  TimerId After(std::chrono::nanoseconds delay, Task task) override;
  void Cancel(TimerId timer) override;
  bool OnThread() const override;

 private:
  struct WakeEvent : CompletionEvent {
    void Complete(bool ok) override;
    CompletionLoop* loop = nullptr;
  };
  using TimerKey = std::pair<std::chrono::nanoseconds, TimerId>;

  bool HandleEvents();
  bool RunPosted();
  void RunTimers();
  bool RunDeferred();
  void Drain();
  gpr_timespec NextDeadline() const;
  void Wake();

  SystemClock clock_;
  std::unique_ptr<grpc::CompletionQueue> queue_;
  std::atomic<std::thread::id> thread_;

  // The loop's thread only.
  std::vector<Task> deferred_;
  std::map<TimerKey, Task> timers_;
  std::unordered_map<TimerId, TimerKey> timer_keys_;
  TimerId last_timer_ = 0;
  bool drain_begun_ = false;
  bool idle_ = false;  // nothing came in the last round: wait for the next deadline

  WakeEvent wake_event_;
  std::mutex mutex_;
  std::vector<Task> posted_;            // guarded by mutex_
  bool wake_pending_ = false;           // guarded by mutex_; an alarm is on its way
  bool draining_ = false;               // guarded by mutex_; the queue was shut down
  std::unique_ptr<grpc::Alarm> alarm_;  // guarded by mutex_
  std::atomic<bool> stopping_{false};
};

}  // namespace millrace
