// How the heap is set up for the store's load.
#pragma once

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

}  // namespace millrace::server
