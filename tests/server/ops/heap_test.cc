#include "server/heap.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "server/process_limits.h"

namespace millrace::server {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

#ifndef __SANITIZE_ADDRESS__
// Touches `bytes` of heap in pieces of 1 MiB, the last of which stays, so that the heap could not shrink from its end alone.
std::unique_ptr<char[]> FillHeap(int64_t bytes) {
  std::vector<std::unique_ptr<char[]>> pieces;
  for (int64_t filled = 0; filled < bytes; filled += kMiB) {
    pieces.push_back(std::make_unique_for_overwrite<char[]>(kMiB));
    std::fill_n(pieces.back().get(), kMiB, 'x');
  }
  return std::move(pieces.back());
}

TEST(Heap, KeepsItsPagesUntilItIsToldToReturnThem) {
  TuneHeap();
  const int64_t fresh = ResidentBytes();
  const auto last = FillHeap(100 * kMiB);
  EXPECT_GT(ResidentBytes(), fresh + 90 * kMiB);
  ReturnFreeMemory();
  EXPECT_LT(ResidentBytes(), fresh + 20 * kMiB);
}

// Whether the filler does anything here (heap.h).
bool CanBeFilled() {
  void* const page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool fills = page != MAP_FAILED && madvise(page, 4096, MADV_POPULATE_WRITE) == 0;
  const bool has_huge_pages = std::filesystem::exists("/sys/kernel/mm/transparent_hugepage");
  return fills && has_huge_pages && UsableMemoryBytes() >= 1'024 * kMiB && UsableCores() < 4;
}

void AwaitResident(int64_t bytes) {
  while (ResidentBytes() < bytes) std::this_thread::yield();
}

TEST(Heap, IsFilledAheadAndAgainOnceItWasReturned) {
  if (!CanBeFilled()) GTEST_SKIP() << "on this machine nothing is filled";
  TuneHeap();
  ReturnFreeMemory();
  const int64_t fresh = ResidentBytes();
  HeapFiller filler(64 * kMiB);
  for (int round = 0; round < 2; ++round) {
    filler.Fill(40 * kMiB);
    AwaitResident(fresh + 30 * kMiB);
    filler.Fill(1'000 * kMiB);
    AwaitResident(fresh + 50 * kMiB);
    EXPECT_LT(ResidentBytes(), fresh + 70 * kMiB) << "more than its share";
    filler.Fill(0);
    ReturnFreeMemory();
    EXPECT_LT(ResidentBytes(), fresh + 20 * kMiB);
  }
}

TEST(Heap, CostsLittleBeforeItIsUsed) {
  const int64_t before = ResidentBytes();
  TuneHeap();
  EXPECT_LT(ResidentBytes(), before + 4 * kMiB);
}
#endif

}  // namespace
}  // namespace millrace::server
