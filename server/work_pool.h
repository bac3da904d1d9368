// Where work that may block (cold reads) is done, apart from the threads that do network I/O.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace millrace::server {

class WorkPool {
 public:
  virtual ~WorkPool() = default;
  // Runs `work` on some thread, soon. Any thread may call it.
  virtual void Submit(std::function<void()> work) = 0;
};

// A fixed number of threads and one queue. The destructor finishes what was submitted.
class ThreadPool : public WorkPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool() override;

  void Submit(std::function<void()> work) override;

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;  // guarded by mutex_
  bool stopping_ = false;                    // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace millrace::server
