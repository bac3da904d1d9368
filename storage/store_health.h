// Whether a store may still be used: after the first failed write, sync or background job, never again.
//
// What reached the disk is then unknown, and a second fsync may report success for pages that the first one dropped: only a
// start from what the disk holds tells.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>

#include "absl/status/status.h"

namespace millrace::storage {

class StoreHealth {
 public:
  using FatalHandler = std::function<void(absl::Status)>;

  // `on_fatal` (may be null) is called once, by the thread that failed first.
  explicit StoreHealth(FatalHandler on_fatal) : on_fatal_(std::move(on_fatal)) {}

  bool ok() const { return !failed_.load(std::memory_order_acquire); }

  // OK, or the first failure.
  absl::Status status() const {
    if (ok()) return absl::OkStatus();
    std::lock_guard lock(mutex_);
    return first_failure_;
  }

  // Returns the first failure, which may be an earlier one.
  absl::Status Fail(absl::Status failure) {
    {
      std::lock_guard lock(mutex_);
      if (!first_failure_.ok()) return first_failure_;
      first_failure_ = failure;
      failed_.store(true, std::memory_order_release);
    }
    if (on_fatal_ != nullptr) on_fatal_(failure);
    return failure;
  }

 private:
  const FatalHandler on_fatal_;
  std::atomic<bool> failed_{false};
  mutable std::mutex mutex_;
  absl::Status first_failure_;  // guarded by mutex_; not OK once failed_
};

}  // namespace millrace::storage
