// How the heap is set up for the store's load.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

namespace millrace::server {

// Sets the heap up for the store's load: memtables, batches and network slices that come and go in sizes of up to some
// megabytes. glibc's defaults map and unmap them each time, and every fresh page costs a fault. Here the heap is one range of
// addresses, reserved at once so that huge pages can be asked for, and never trimmed by itself; ReturnFreeMemory() does
// that when there is time. Call it first thing in main(), before any other thread exists.
//
// Measured when values went into blob files: RocksDB 7.8.3, values of 64 KiB, 32 MiB memtables, no sync, 3 GB after the first 2 GB:
//
//                                                 page faults/GB   private memory at the start / under load / trimmed
//     glibc as it comes                                   58,000                    1 /  56 /  - MB
//     jemalloc 5.3 as it comes                            53,000                    1 / 138 /  - MB
//     jemalloc, thp:always, narenas:1, decay 30 s          4,300                    6 /  99 / 91 MB
//     one arena, no trimming, no mmap                     10,000                    1 / 196 /  1 MB
//     the same on huge pages: what TuneHeap() does            21                    1 / 203 /  1 MB
//
// The broker itself, 1 KiB records over 16 partitions: 2-21 faults/GB, against 4,000-15,000 with glibc as it comes and
// 39,000-61,000 with jemalloc as it comes; 3 MB private when fresh (jemalloc 4, with thp:always 8-10).
// Where this process may use less than 1 GiB the heap is kept small instead: under the full load in a cgroup of 256 MiB the
// fast one took 190-271 MiB for 124 MiB in use and was killed now and then, the small one 155-206 MiB.
void TuneHeap();

// Gives the free pages inside the heap back to the system. Holds up every allocation meanwhile (0.5 ms for each 100 MB that
// goes back): for a broker that has had nothing to do for a while.
void ReturnFreeMemory();

// Has the heap's pages in memory before they are needed, by a thread of its own.
//
//     HeapFiller filler(cache_bytes + (64 << 20));
//     filler.Fill(32 * bytes_a_second);          // as often as wanted; does not wait
//     ReturnFreeMemory();
//     filler.Fill(0);                            // begins anew
//
// Once the page cache has taken all memory, the kernel needs 1-3 ms to find and clear a huge page, and whoever allocates waits for
// that: 28 times a second at 50 MB/s until the tail cache is full. The broker's p99 with flush=async in the seconds 3 to 13 (1 KiB
// records, medians of five in turn, Linux 6.18): 1.7 ms (0.8-13.6) without, 0.6 (0.4-0.7) with. Before 6.4 a thread that maps
// memory waits for the page that is being filled.
// Nothing is filled where TuneHeap() keeps the heap small, and where threads have heaps of their own (4 cores and more: only the
// first of these heaps is on huge pages).
//
// Thread safety: any thread.
class HeapFiller {
 public:
  // bytes_max: what the heap comes to under load.
  explicit HeapFiller(int64_t bytes_max);
  ~HeapFiller();
  HeapFiller(const HeapFiller&) = delete;
  HeapFiller& operator=(const HeapFiller&) = delete;

  // Soon the heap's first `bytes` are in memory. Less than the last time: they were returned, and it begins anew.
  void Fill(int64_t bytes);

 private:
  void Run();

  const int64_t bytes_max_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_; in whole huge pages.
  int64_t wanted_ = 0;
  int64_t filled_ = 0;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace millrace::server
