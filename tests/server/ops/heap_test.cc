#include "server/heap.h"

#include <gtest/gtest.h>

#include <algorithm>
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

TEST(Heap, IsFilledAheadAndReturned) {
  TuneHeap();
  ReturnFreeMemory();
  const int64_t fresh = ResidentBytes();
  {
    HeapFiller filler(64 * kMiB);
    filler.Fill(1'000 * kMiB);
    while (ResidentBytes() < fresh + 60 * kMiB) std::this_thread::yield();
    filler.Fill(0);
    filler.Fill(1'000 * kMiB);
  }
  EXPECT_LT(ResidentBytes(), fresh + 70 * kMiB) << "more than its share";
  ReturnFreeMemory();
  EXPECT_LT(ResidentBytes(), fresh + 20 * kMiB);
}

TEST(Heap, CostsLittleBeforeItIsUsed) {
  const int64_t before = ResidentBytes();
  TuneHeap();
  EXPECT_LT(ResidentBytes(), before + 4 * kMiB);
}
#endif

}  // namespace
}  // namespace millrace::server
