#include "storage/sync_thread.h"

#include <pthread.h>

#include <utility>

namespace millrace::storage {

SyncThread::SyncThread(std::function<absl::Status()> sync, std::function<void()> begin)
    : sync_(std::move(sync)), begin_(std::move(begin)), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "sync");
}

SyncThread::~SyncThread() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  requested_.notify_one();
  thread_.join();
}

void SyncThread::Request(Done done) {
  {
    std::lock_guard lock(mutex_);
    requests_.push_back(std::move(done));
    if (requests_.size() > 1) return;  // whoever made the first one has woken the thread
  }
  requested_.notify_one();
}

void SyncThread::Run() {
  if (begin_ != nullptr) begin_();
  std::vector<Done> served;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      requested_.wait(lock, [this] { return stopping_ || !requests_.empty(); });
      if (requests_.empty()) return;
      served.swap(requests_);
    }
    const absl::Status status = sync_();
    for (Done& done : served) done(status);
    served.clear();
  }
}

}  // namespace millrace::storage
