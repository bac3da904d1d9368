#include "server/heap.h"

#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <utility>

#include "server/process_limits.h"

namespace millrace::server {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;

// Where the heap's huge pages begin; 0: it has none, or there are several heaps. Written before there are other threads.
uintptr_t first_huge_page = 0;

// Large blocks come from the system and go back to it, and the rest is trimmed: slower, but holes stay small.
void TuneSmallHeap() {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 256 << 10);
  mallopt(M_TRIM_THRESHOLD, 4 << 20);
}

// What the kernel refuses (it is too old, or this is beyond the heap's end) is filled when it is used.
void Populate(int64_t offset) {
  const uintptr_t page = first_huge_page + static_cast<uintptr_t>(offset);
  if (first_huge_page == 0 || page + kHugePage > reinterpret_cast<uintptr_t>(sbrk(0))) return;
  madvise(reinterpret_cast<void*>(page), kHugePage, MADV_POPULATE_WRITE);
}

// Addresses, not memory, that are added to the heap later are a mapping of their own to the kernel, which would not inherit
// the advice: so all that a broker's heap grows to are taken at once. Where the huge pages begin, 0 if there are none: then all is
// as it was.
uintptr_t Reserve(uintptr_t first) {
  constexpr int64_t kReserveMax = int64_t{1} << 30;
  const auto bytes = static_cast<size_t>(std::min(kReserveMax, UsableMemoryBytes() / 4));
  void* volatile all = std::malloc(bytes);  // volatile: or else the compiler leaves both calls out
  std::free(all);
  const auto end = reinterpret_cast<uintptr_t>(sbrk(0));
  return end > first && madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE) == 0 ? first : 0;
}

}  // namespace

void TuneHeap() {
  constexpr int64_t kSmall = int64_t{1} << 30;
  if (UsableMemoryBytes() < kSmall) return TuneSmallHeap();
  constexpr int kLaterGrowth = 16 << 20;
  const int heaps = std::max(1, UsableCores() / 2);
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_ARENA_MAX, heaps);
  mallopt(M_TOP_PAD, kLaterGrowth);
  const auto begin = reinterpret_cast<uintptr_t>(sbrk(0));
  const uintptr_t first = Reserve((begin + kHugePage - 1) / kHugePage * kHugePage);
  if (heaps == 1 && first_huge_page == 0) first_huge_page = first;
}

void ReturnFreeMemory() {
  malloc_trim(0);
  // The free end of the heap is gone, addresses and all.
  if (first_huge_page != 0) Reserve(first_huge_page);
}

HeapFiller::HeapFiller(int64_t bytes_max) : bytes_max_(bytes_max), thread_([this] { Run(); }) {}

HeapFiller::~HeapFiller() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void HeapFiller::Fill(int64_t bytes) {
  {
    std::lock_guard lock(mutex_);
    const int64_t wanted = std::min(bytes, bytes_max_) / kHugePage * kHugePage;
    if (wanted < wanted_) filled_ = 0;
    wanted_ = wanted;
  }
  changed_.notify_one();
}

void HeapFiller::Run() {
  constexpr int kNice = 10;  // whoever serves goes first
  if (getpriority(PRIO_PROCESS, 0) < kNice) setpriority(PRIO_PROCESS, 0, kNice);
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stop_ || filled_ < wanted_; });
    if (stop_) return;
    const int64_t offset = std::exchange(filled_, filled_ + kHugePage);
    lock.unlock();
    Populate(offset);
    lock.lock();
  }
}

}  // namespace millrace::server
