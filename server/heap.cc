#include "server/heap.h"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>

#include "server/process_limits.h"

namespace millrace::server {
namespace {

// Large blocks come from the system and go back to it, and the rest is trimmed: slower, but holes stay small.
void TuneSmallHeap() {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 256 << 10);
  mallopt(M_TRIM_THRESHOLD, 4 << 20);
}

}  // namespace

void TuneHeap() {
  constexpr int64_t kSmall = int64_t{1} << 30;
  if (UsableMemoryBytes() < kSmall) return TuneSmallHeap();
  constexpr int64_t kReserveMax = int64_t{1} << 30;  // addresses, not memory; more than a broker's heap grows to
  constexpr int kLaterGrowth = 16 << 20;
  constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_ARENA_MAX, std::max(1, UsableCores() / 2));

  // Addresses added to the heap later are a mapping of their own to the kernel, which would not inherit the advice.
  mallopt(M_TOP_PAD, static_cast<int>(std::min(kReserveMax, UsableMemoryBytes() / 4)));
  const auto before = reinterpret_cast<uintptr_t>(sbrk(0));
  void* volatile grow = std::malloc(1 << 20);  // volatile: or else the compiler leaves both calls out
  std::free(grow);
  const auto after = reinterpret_cast<uintptr_t>(sbrk(0));
  const uintptr_t first = (before + kHugePage - 1) / kHugePage * kHugePage;
  // Without huge pages in this kernel all is as it was.
  if (after > first) madvise(reinterpret_cast<void*>(first), after - first, MADV_HUGEPAGE);
  mallopt(M_TOP_PAD, kLaterGrowth);
}

void ReturnFreeMemory() { malloc_trim(0); }

}  // namespace millrace::server
