// Group commit: one thread that syncs for whoever asks, all who asked during one sync together in the next.
//
//     SyncThread syncs([&] { return SyncWal(); });
//     syncs.Request(done);      // done(status) of a sync that began after this call, on the thread
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"

namespace millrace::storage {

class SyncThread {
 public:
  using Done = std::function<void(absl::Status)>;

  // `sync` is called on the thread, and before it, once, `begin`, which may be null.
  explicit SyncThread(std::function<absl::Status()> sync, std::function<void()> begin = nullptr);
  // Serves what was requested, then ends the thread.
  ~SyncThread();

  // Any thread, not during or after destruction. `done` may make requests.
  void Request(Done done);

 private:
  void Run();

  const std::function<absl::Status()> sync_;
  const std::function<void()> begin_;
  std::mutex mutex_;
  std::condition_variable requested_;
  std::vector<Done> requests_;  // guarded by mutex_
  bool stopping_ = false;       // guarded by mutex_
  std::thread thread_;          // last: runs as soon as it is made
};

}  // namespace millrace::storage
