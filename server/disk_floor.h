// Whether the disk is too full for records: `disk.free.floor`. What makes room (trim, delete) and metadata go on below it.
//
//     DiskFloor floor(clock, [] { return DiskSpaceOf(dir); }, 1 << 30);
//     if (floor.reached()) refuse...
//
// Looks at the disk at most once a second, by whoever asks: what is appended within one may pass the floor.
// Thread safety: any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <utility>

#include "proto/wire/runtime.h"
#include "server/log.h"

namespace millrace::server {

struct DiskSpace {
  int64_t free_bytes = 0;
  int64_t total_bytes = 0;
};

class DiskFloor {
 public:
  // floor_bytes 0: never reached.
  DiskFloor(const Clock& clock, std::function<DiskSpace()> space, int64_t floor_bytes)
      : clock_(clock), space_(std::move(space)), floor_bytes_(floor_bytes) {}

  bool reached() {
    if (floor_bytes_ == 0) return false;
    const std::chrono::nanoseconds now = clock_.Monotonic();
    std::chrono::nanoseconds due = due_.load(std::memory_order_relaxed);
    if (now >= due && due_.compare_exchange_strong(due, now + kPeriod)) Look();
    return free_bytes_ < floor_bytes_;
  }
  int64_t free_bytes() const { return free_bytes_; }
  int64_t floor_bytes() const { return floor_bytes_; }

 private:
  void Look() {
    const int64_t before = free_bytes_.exchange(space_().free_bytes);
    const bool full = free_bytes_ < floor_bytes_;
    if (full == (before < floor_bytes_)) return;
    if (full) {
      MILLRACE_LOG(kWarning, "the disk is full up to disk.free.floor: records are refused; trim or delete topics",
                   {"free_bytes", free_bytes_.load()}, {"floor_bytes", floor_bytes_});
    } else {
      MILLRACE_LOG(kInfo, "the disk has room again: records are taken", {"free_bytes", free_bytes_.load()},
                   {"floor_bytes", floor_bytes_});
    }
  }

  static constexpr std::chrono::seconds kPeriod{1};

  const Clock& clock_;
  const std::function<DiskSpace()> space_;
  const int64_t floor_bytes_;
  std::atomic<std::chrono::nanoseconds> due_{std::chrono::nanoseconds::min()};
  std::atomic<int64_t> free_bytes_{std::numeric_limits<int64_t>::max()};
};

}  // namespace millrace::server
