// CPU seconds per GB of the store alone, and of plain write(2) of the same bytes beside it: the price of the page cache, below
// which no store that goes through it can be.
//
//     store_cpu_bench --dir=DIR [--benchmark_repetitions=5 --benchmark_enable_random_interleaving=true ...]
//
// Rounds of 1 MiB, 16 partitions; the newest 2 GB are kept, by retention or by removing the oldest files, and that much is
// written before anything counts. The page cache is full, as in a server that has run for a day: memory that a virtual machine has
// not used yet, or has given back to its host, costs 0.5 s/GB more at the first touch, and counts as ours. Background threads
// count (rusage of the process), and so does handing pages to the disk; what the kernel's own threads do does not.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "server/heap.h"
#include "tests/bench/appender.h"
#include "tests/bench/cpu_seconds.h"

namespace millrace::storage {
namespace {

constexpr int kPartitions = 16;
constexpr size_t kRoundBytes = 1 << 20;
constexpr int64_t kKeptBytes = 2'000'000'000;
constexpr int kWarmupRounds = 2'500;
constexpr int kRounds = 8'000;

std::string* directory;  // set by main, before any benchmark runs

// By reading a file that has no blocks.
void FillPageCache() {
  const std::string path = absl::StrCat(*directory, "/page-cache");
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const off_t memory_bytes = static_cast<off_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  MILLRACE_CHECK(fd >= 0 && ftruncate(fd, memory_bytes / 10 * 9) == 0) << path;
  std::string piece(8 << 20, '\0');
  while (read(fd, piece.data(), piece.size()) > 0) {
  }
  close(fd);
}

// Times `write_round` and tells what a GB of it costs.
template <typename WriteRound>
void Measure(benchmark::State& state, WriteRound write_round) {
  FillPageCache();
  for (int i = 0; i < kWarmupRounds; ++i) write_round();
  const CpuSeconds before = CpuSeconds::Now();
  double bytes = 0;
  for (auto _ : state) bytes += static_cast<double>(write_round());
  const CpuSeconds after = CpuSeconds::Now();
  state.SetBytesProcessed(static_cast<int64_t>(bytes));
  state.counters["user_s_per_GB"] = (after.user - before.user) / (bytes / 1e9);
  state.counters["system_s_per_GB"] = (after.system - before.system) / (bytes / 1e9);
  state.counters["cpu_s_per_GB"] = (after.user - before.user + after.system - before.system) / (bytes / 1e9);
}

void BM_StoreAppend(benchmark::State& state) {
  const std::string where = absl::StrCat(*directory, "/store");
  std::filesystem::remove_all(where);
  RocksLogStore::Options options;
  options.directory = where;
  options.memory_bytes = 128 << 20;
  auto store = RocksLogStore::Open(options);
  MILLRACE_CHECK(store.ok()) << store.status().ToString();
  Appender appender(**store, kPartitions, static_cast<size_t>(state.range(0)) << 10, {.bytes_max = 6 << 20});
  Measure(state, [&] {
    while (appender.round().bytes() < kRoundBytes) appender.Stage();
    const size_t bytes = appender.round().bytes();
    appender.Retain([](size_t) { return kKeptBytes / kPartitions; });
    appender.Write();
    return bytes;
  });
  MILLRACE_CHECK((*store)->Close().ok());
  store->reset();
  std::filesystem::remove_all(where);
}
BENCHMARK(BM_StoreAppend)->Arg(16)->Arg(64)->Arg(256)->Iterations(kRounds)->UseRealTime();

void BM_PlainWrite(benchmark::State& state) {
  const std::string where = absl::StrCat(*directory, "/plain");
  std::filesystem::remove_all(where);
  std::filesystem::create_directory(where);
  const std::string round(kRoundBytes, 'x');
  constexpr size_t kFileRounds = 43;  // as large as a WAL file becomes
  std::deque<std::string> files;
  int fd = -1;
  size_t rounds = 0;
  Measure(state, [&] {
    if (rounds++ % kFileRounds == 0) {
      if (fd >= 0) MILLRACE_CHECK(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE) == 0 && close(fd) == 0);
      files.push_back(absl::StrCat(where, "/", rounds));
      fd = open(files.back().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
      if (files.size() > kKeptBytes / (kFileRounds * kRoundBytes)) {
        MILLRACE_CHECK(unlink(files.front().c_str()) == 0);
        files.pop_front();
      }
    }
    MILLRACE_CHECK(write(fd, round.data(), round.size()) == static_cast<ssize_t>(round.size()));
    return round.size();
  });
  close(fd);
  std::filesystem::remove_all(where);
}
BENCHMARK(BM_PlainWrite)->Iterations(kRounds)->UseRealTime();

}  // namespace
}  // namespace millrace::storage

int main(int argc, char** argv) {
  millrace::server::TuneHeap();
  constexpr std::string_view kDir = "--dir=";
  std::string where;
  if (argc > 1 && std::string_view(argv[1]).substr(0, kDir.size()) == kDir) where = argv[1] + kDir.size();
  if (where.empty()) {
    std::fprintf(stderr, "usage: store_cpu_bench --dir=DIR [--benchmark_...]\n");
    return 2;
  }
  millrace::storage::directory = &where;
  argv[1] = argv[0];
  int left = argc - 1;
  benchmark::Initialize(&left, argv + 1);
  if (benchmark::ReportUnrecognizedArguments(left, argv + 1)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  std::filesystem::remove(absl::StrCat(where, "/page-cache"));
  return 0;
}
