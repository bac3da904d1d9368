// Whether the disk is too full for records: `disk.free.floor`. What makes room (trim, delete, retention) always goes on below it;
// other metadata does down to a reserve, which the store needs to write what it has in memory and to compact.
//
//     DiskFloor floor(clock, [] { return DiskSpaceOf(dir); }, 1 << 30);
//     if (floor.Refuses(batch.size())) ...                         // records
//     if (floor.reserve_reached()) ...                             // topics and partitions
//
// Looks at the disk once a second, by whoever asks, and earlier when what was taken since may have come down to the floor.
// Thread safety: any thread.
#pragma once

#include <algorithm>
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

  // Whether so many bytes of records, which are about to be stored otherwise, must not be.
  bool Refuses(int64_t bytes) {
    if (floor_bytes_ == 0) return false;
    const int64_t taken = taken_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    LookIfDue(free_bytes_ - taken < floor_bytes_);
    return free_bytes_ < floor_bytes_;
  }
  bool reached() {
    if (floor_bytes_ == 0) return false;
    LookIfDue(false);
    return free_bytes_ < floor_bytes_;
  }
  bool reserve_reached() {
    if (floor_bytes_ == 0) return false;
    LookIfDue(true);
    return free_bytes_ < std::min(kReserveBytes, floor_bytes_ / 2);
  }
  int64_t free_bytes() const { return free_bytes_; }
  int64_t floor_bytes() const { return floor_bytes_; }

 private:
  void LookIfDue(bool now_in_any_case) {
    const std::chrono::nanoseconds now = clock_.Monotonic();
    std::chrono::nanoseconds due = due_.load(std::memory_order_relaxed);
    if (!now_in_any_case && now < due) return;
    if (due_.compare_exchange_strong(due, now + kPeriod)) Look();
  }
  void Look() {
    taken_ = 0;
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
  static constexpr int64_t kReserveBytes = 128 << 20;

  const Clock& clock_;
  const std::function<DiskSpace()> space_;
  const int64_t floor_bytes_;
  std::atomic<std::chrono::nanoseconds> due_{std::chrono::nanoseconds::min()};
  std::atomic<int64_t> taken_{0};  // by records since the last look
  std::atomic<int64_t> free_bytes_{std::numeric_limits<int64_t>::max()};
};

}  // namespace millrace::server
