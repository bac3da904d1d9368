#include "server/heap.h"

#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>

#include "server/process_limits.h"

namespace millrace::server {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;

// Where the heap's huge pages begin; 0: it has none. Written before there are other threads.
uintptr_t first_huge_page = 0;

// Large blocks come from the system and go back to it, and the rest is trimmed: slower, but holes stay small.
void TuneSmallHeap() {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 256 << 10);
  mallopt(M_TRIM_THRESHOLD, 4 << 20);
}

// What the kernel refuses (no such call, no memory, beyond the heap's end) stays as it is: it is filled when it is used.
void Populate(int64_t offset) {
  const uintptr_t page = first_huge_page + static_cast<uintptr_t>(offset);
  if (first_huge_page == 0 || page + kHugePage > reinterpret_cast<uintptr_t>(sbrk(0))) return;
  madvise(reinterpret_cast<void*>(page), kHugePage, MADV_POPULATE_WRITE);
}

// Addresses, not memory, that are added to the heap later are a mapping of their own to the kernel, which would not inherit
// the advice: so all that a broker's heap grows to are taken at once.
void Reserve() {
  constexpr int64_t kReserveMax = int64_t{1} << 30;
  const auto bytes = static_cast<size_t>(std::min(kReserveMax, UsableMemoryBytes() / 4));
  const auto before = reinterpret_cast<uintptr_t>(sbrk(0));
  void* volatile all = std::malloc(bytes);  // volatile: or else the compiler leaves both calls out
  std::free(all);
  const auto after = reinterpret_cast<uintptr_t>(sbrk(0));
  const uintptr_t first = (before + kHugePage - 1) / kHugePage * kHugePage;
  // Without huge pages in this kernel all is as it was.
  if (after <= first || madvise(reinterpret_cast<void*>(first), after - first, MADV_HUGEPAGE) != 0) return;
  if (first_huge_page == 0) first_huge_page = first;
}

}  // namespace

void TuneHeap() {
  constexpr int64_t kSmall = int64_t{1} << 30;
  if (UsableMemoryBytes() < kSmall) return TuneSmallHeap();
  constexpr int kLaterGrowth = 16 << 20;
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_ARENA_MAX, std::max(1, UsableCores() / 2));
  mallopt(M_TOP_PAD, kLaterGrowth);
  Reserve();
}

void ReturnFreeMemory() {
  malloc_trim(0);
  if (first_huge_page != 0) Reserve();  // the free end of the heap is gone, addresses and all
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
    wanted_ = std::min(bytes, bytes_max_) / kHugePage * kHugePage;
  }
  changed_.notify_one();
}

void HeapFiller::Run() {
  constexpr int kNice = 10;  // whoever serves goes first
  setpriority(PRIO_PROCESS, 0, kNice);
  int64_t filled = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stop_ || wanted_ != filled; });
    if (stop_) return;
    if (wanted_ < filled) filled = 0;
    const int64_t wanted = wanted_;
    for (; filled < wanted && !stop_; filled += kHugePage) {
      lock.unlock();
      Populate(filled);
      lock.lock();
    }
    filled = wanted;
  }
}

}  // namespace millrace::server
