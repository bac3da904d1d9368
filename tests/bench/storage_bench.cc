// What the store costs: appends, sequential reads, opening, and the time to durable under a steady load.
//
//     storage_bench write   --dir D --gb 4 --partitions 16 --entry-kib 64 --round-kib 1024 [--sync]
//                       [--keep-gb 2 --segment-mib 16 --forever 0.25 --mixed --slow 0.5 --sample-gb 1 --idle-seconds 40]
//                       [--mb-s 300 --by-time]
//                       // forever: so many of the partitions keep everything. mixed: of each four, one keeps a tenth, one ten
//                       // times as much, one everything. slow: so many get a tenth of what others get. by-time: what they
//                       // keep is not so many bytes each, but what came in since all together got as much. Samples of the
//                       // files' sizes on the way, and after nothing was written for a while.
//     storage_bench read    --dir D [--cold]             // everything that write left, by Read(), one partition after the other
//     storage_bench open    --dir D                      // every group
//     storage_bench latency --dir D --mb-s 50 --entry-kib 16 --seconds 20 [--keep-gb 2 --segment-mib 16]
//     storage_bench seek    --dir D [--count 2000 --seed 1]  // what write left: reads of one entry at random offsets, and offsets
//                       // for random times; all files are evicted from the page cache before every hundredth of them
//
// Each prints MB/s (or ms) and CPU seconds per GB of the whole process, background work included, and what was written to which
// files per byte of payload; write also what the block device counted, so nothing else should write to it.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "server/heap.h"
#include "storage/rocks_log_store.h"
#include "tests/bench/appender.h"
#include "tests/bench/cpu_seconds.h"

namespace millrace::storage {
namespace {

using raft::Entry;
using raft::GroupId;
using raft::LogState;
using raft::Offset;
using SteadyClock = std::chrono::steady_clock;

struct Flags {
  std::string mode;
  std::map<std::string, std::string> values;

  double Number(const std::string& name, double otherwise) const {
    auto found = values.find(name);
    return found == values.end() ? otherwise : std::atof(found->second.c_str());
  }
};

Flags ParseFlags(int argc, char** argv) {
  Flags flags;
  flags.mode = argc > 1 ? argv[1] : "";
  for (int i = 2; i < argc; ++i) {
    const std::string name = argv[i] + 2;
    const bool has_value = i + 1 < argc && std::strncmp(argv[i + 1], "--", 2) != 0;
    flags.values[name] = has_value ? argv[++i] : "1";
  }
  return flags;
}

double Seconds(SteadyClock::duration d) { return std::chrono::duration<double>(d).count(); }

void WaitUntil(SteadyClock::time_point time) {
  std::mutex mutex;
  std::condition_variable never;
  std::unique_lock lock(mutex);
  never.wait_until(lock, time, [] { return false; });
}

class Meter {
 public:
  void Report(const char* what, double bytes) const {
    const double seconds = Seconds(SteadyClock::now() - start_);
    const CpuSeconds cpu = CpuSeconds::Now();
    std::printf("%s: %.2f GB in %.2f s, %.0f MB/s, CPU s/GB %.2f user + %.2f system\n", what, bytes / 1e9, seconds,
                bytes / 1e6 / seconds, (cpu.user - cpu_.user) / (bytes / 1e9),
                (cpu.system - cpu_.system) / (bytes / 1e9));
  }

 private:
  const SteadyClock::time_point start_ = SteadyClock::now();
  const CpuSeconds cpu_ = CpuSeconds::Now();
};

// In seconds.
class Latencies {
 public:
  void Add(double seconds) { seconds_.push_back(seconds); }
  template <typename Work>
  void Time(Work work) {
    const auto start = SteadyClock::now();
    work();
    Add(Seconds(SteadyClock::now() - start));
  }
  void Print(const char* what) {
    std::sort(seconds_.begin(), seconds_.end());
    const auto quantile = [this](double q) {
      return seconds_[static_cast<size_t>(q * static_cast<double>(seconds_.size() - 1))] * 1e3;
    };
    std::printf("%s: p50 %.2f p90 %.2f p99 %.2f p99.9 %.2f max %.1f ms\n", what, quantile(0.5), quantile(0.9),
                quantile(0.99), quantile(0.999), quantile(1));
  }

 private:
  std::vector<double> seconds_;
};

std::string DirectoryOf(const Flags& flags) {
  auto directory = flags.values.find("dir");
  MILLRACE_CHECK(directory != flags.values.end()) << "--dir is missing";
  return directory->second;
}

// The disk that `directory` is on, when nothing is left to be written.
double DeviceBytesWritten(const std::string& directory) {
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY);
  MILLRACE_CHECK(fd >= 0 && syncfs(fd) == 0) << directory;
  struct stat of;
  MILLRACE_CHECK(fstat(fd, &of) == 0);
  close(fd);
  std::ifstream counters(absl::StrCat("/sys/dev/block/", major(of.st_dev), ":", minor(of.st_dev), "/stat"));
  double sectors = 0;
  std::string skipped;
  for (int i = 0; i < 6; ++i) counters >> skipped;  // Documentation/block/stat.rst
  counters >> sectors;
  return sectors * 512;
}

// From the page cache.
void Evict(const std::string& directory) {
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    const int fd = open(file.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
  }
}

std::unique_ptr<RocksLogStore> OpenStore(const Flags& flags) {
  RocksLogStore::Options options;
  options.directory = DirectoryOf(flags);
  options.memory_bytes = static_cast<size_t>(flags.Number("memory-mib", 128)) << 20;
  options.cache_bytes = static_cast<size_t>(flags.Number("cache-mib", 64)) << 20;
  options.flush_piece_bytes = static_cast<size_t>(flags.Number("piece-kib", 256)) << 10;
  auto store = RocksLogStore::Open(options);
  MILLRACE_CHECK(store.ok()) << store.status().ToString();
  return *std::move(store);
}

void PrintFiles(const char* when, const RocksLogStore& store) {
  const StoreStats stats = store.Stats();
  std::printf("files %s: wal %.0f MB, %lu kept wals %.0f MB, %lu moved %.0f MB, %lu ssts %.2f MB; dead %.0f MB\n", when,
              static_cast<double>(stats.wal_file_bytes) / 1e6, stats.kept_wal_files,
              static_cast<double>(stats.kept_wal_bytes) / 1e6, stats.moved_files,
              static_cast<double>(stats.moved_file_bytes) / 1e6, stats.sst_files,
              static_cast<double>(stats.sst_file_bytes) / 1e6, static_cast<double>(stats.dead_bytes) / 1e6);
}

void PrintWritten(const RocksLogStore& store) {
  const StoreStats stats = store.Stats();
  const auto bytes = static_cast<double>(stats.entry_bytes);
  std::printf("written per byte: wal %.3f moved %.3f sst %.4f; %lu file syncs\n",
              static_cast<double>(stats.wal_bytes_written) / bytes,
              static_cast<double>(stats.moved_bytes_written) / bytes,
              static_cast<double>(stats.sst_bytes_written) / bytes, stats.file_syncs);
  PrintFiles("at the end", store);
}

void SyncNow(RocksLogStore& store) {
  std::mutex mutex;
  std::condition_variable synced;
  bool done = false;
  store.Sync([&](absl::Status status) {
    MILLRACE_CHECK(status.ok()) << status.ToString();
    std::lock_guard lock(mutex);
    done = true;
    synced.notify_one();
  });
  std::unique_lock lock(mutex);
  synced.wait(lock, [&] { return done; });
}

void Write(const Flags& flags) {
  auto store = OpenStore(flags);
  const auto entry_bytes = static_cast<size_t>(flags.Number("entry-kib", 64) * 1024);
  const auto round_bytes = static_cast<size_t>(flags.Number("round-kib", 1024) * 1024);
  const double total = flags.Number("gb", 4) * 1e9;
  const bool sync = flags.Number("sync", 0) > 0;
  const auto partitions = static_cast<int>(flags.Number("partitions", 16));
  const double kept = flags.Number("keep-gb", 1e6) * 1e9;
  const auto segment_bytes = static_cast<int64_t>(flags.Number("segment-mib", 256) * (1 << 20));
  Appender appender(*store, partitions, entry_bytes, {.bytes_max = segment_bytes},
                    static_cast<size_t>(flags.Number("slow", 0) * partitions));
  const auto kept_forever = static_cast<size_t>(flags.Number("forever", 0) * partitions);
  const bool mixed = flags.Number("mixed", 0) > 0;
  const auto part_kept = [&](size_t partition) {
    constexpr double kMix[] = {0.1, 1, 10, 1e9};
    return partition < kept_forever ? 1e9 : mixed ? kMix[partition % 4] : 1;
  };
  const auto bytes_max = [&](size_t partition) {
    return static_cast<int64_t>(std::min(kept / partitions * part_kept(partition), 1e18));
  };
  const auto age_max = [&](size_t partition) {
    return static_cast<int64_t>(std::min(kept / static_cast<double>(entry_bytes) * part_kept(partition), 1e18));
  };
  const bool by_time = flags.Number("by-time", 0) > 0;
  const double sample = flags.Number("sample-gb", 1e6) * 1e9;
  const double rate = flags.Number("mb-s", 1e5) * 1e6;
  const double device_before = DeviceBytesWritten(DirectoryOf(flags));
  const auto begun = SteadyClock::now();
  Meter meter;
  double slowest = 0;
  double bytes = 0;
  double next_sample = sample;
  while (bytes < total) {
    while (appender.round().bytes() < round_bytes) appender.Stage();
    bytes += static_cast<double>(appender.round().bytes());
    by_time ? appender.RetainByTime(age_max) : appender.Retain(bytes_max);
    WaitUntil(begun + std::chrono::duration_cast<SteadyClock::duration>(std::chrono::duration<double>(bytes / rate)));
    const auto start = SteadyClock::now();
    appender.Write();
    slowest = std::max(slowest, Seconds(SteadyClock::now() - start));
    if (sync) SyncNow(*store);
    if (bytes >= next_sample) {
      std::printf("%.1f GB in, %.2f kept; ", bytes / 1e9, appender.kept_bytes() / 1e9);
      PrintFiles("", *store);
      next_sample += sample;
    }
  }
  meter.Report("write", bytes);
  std::printf("slowest write %.1f ms\n", slowest * 1e3);
  PrintWritten(*store);
  if (const double idle = flags.Number("idle-seconds", 0); idle > 0) {
    WaitUntil(SteadyClock::now() + std::chrono::seconds(static_cast<int>(idle)));
    PrintFiles("after idling", *store);
  }
  MILLRACE_CHECK(store->Close().ok());
  store.reset();
  std::printf("device bytes written per byte: %.3f\n",
              (DeviceBytesWritten(DirectoryOf(flags)) - device_before) / bytes);
  store = OpenStore(flags);
  PrintFiles("after a restart", *store);
}

void Read(const Flags& flags) {
  auto store = OpenStore(flags);
  const std::vector<GroupId> groups = store->List().value();
  const auto bytes_max = static_cast<size_t>(flags.Number("read-kib", 1024) * 1024);
  for (int pass = 0; pass < 3; ++pass) {
    if (flags.Number("cold", 0) > 0) Evict(DirectoryOf(flags));
    Meter meter;
    double bytes = 0;
    for (GroupId group : groups) {
      const LogState state = store->Open(group).value();
      for (Offset from = state.log_start; from < state.log_end;) {
        auto entries = store->Read(group, from, state.log_end, bytes_max);
        MILLRACE_CHECK(entries.ok() && !entries->empty()) << entries.status().ToString();
        for (const Entry& entry : *entries) bytes += static_cast<double>(entry.payload.size());
        from = entries->back().header.end_offset();
      }
    }
    meter.Report("read", bytes);
  }
}

void Open(const Flags& flags) {
  const auto start = SteadyClock::now();
  auto store = OpenStore(flags);
  const auto opened = SteadyClock::now();
  const auto groups = store->List().value();
  for (GroupId group : groups) MILLRACE_CHECK(store->Open(group).ok());
  std::printf("open: store %.1f ms, then %zu groups %.1f ms\n", Seconds(opened - start) * 1e3, groups.size(),
              Seconds(SteadyClock::now() - opened) * 1e3);
}

// Open loop: an entry is due every so often, whether the last one is durable or not.
void Latency(const Flags& flags) {
  auto store = OpenStore(flags);
  const auto entry_bytes = static_cast<size_t>(flags.Number("entry-kib", 16) * 1024);
  const double gap = static_cast<double>(entry_bytes) / (flags.Number("mb-s", 50) * 1e6);
  const auto total = static_cast<size_t>(flags.Number("seconds", 20) / gap);
  const auto partitions = static_cast<int>(flags.Number("partitions", 64));
  const auto segment_bytes = static_cast<int64_t>(flags.Number("segment-mib", 256) * (1 << 20));
  Appender appender(*store, partitions, entry_bytes, {.bytes_max = segment_bytes});
  const auto kept = static_cast<int64_t>(flags.Number("keep-gb", 1e6) * 1e9 / partitions);
  Latencies latencies;
  std::mutex mutex;
  std::condition_variable synced;
  bool syncing = false;
  size_t durable = 0;
  size_t written = 0;
  const auto start = SteadyClock::now();
  const auto now = [&] { return Seconds(SteadyClock::now() - start); };
  while (durable < total) {
    const auto due = std::min(total, static_cast<size_t>(now() / gap));
    if (written < due) {
      for (; written < due && appender.round().bytes() < (8 << 20); ++written) appender.Stage();
      appender.Retain([kept](size_t) { return kept; });
      appender.Write();
    }
    std::unique_lock lock(mutex);
    if (!syncing && durable < written) {
      syncing = true;
      store->Sync([&, covered = written](absl::Status status) {
        MILLRACE_CHECK(status.ok()) << status.ToString();
        std::lock_guard lock(mutex);
        const double at = now();
        for (; durable < covered; ++durable) latencies.Add(at - static_cast<double>(durable + 1) * gap);
        syncing = false;
        synced.notify_one();
      });
    }
    const double next_due = static_cast<double>(written + 1) * gap;
    synced.wait_for(lock, std::chrono::duration<double>(std::max(0.0, std::min(next_due - now(), 1.0))));
  }
  latencies.Print("durable");
  PrintWritten(*store);
  MILLRACE_CHECK(store->Close().ok());
}

// Single reads at random places, with nothing in the page cache: one entry from an offset, and an offset for a time.
void Seek(const Flags& flags) {
  auto store = OpenStore(flags);
  std::vector<LogState> logs;
  const std::vector<GroupId> groups = store->List().value();
  for (GroupId group : groups) logs.push_back(store->Open(group).value());
  const auto count = static_cast<int>(flags.Number("count", 2000));
  std::mt19937_64 random(static_cast<uint64_t>(flags.Number("seed", 1)));
  Latencies offsets, times;
  for (int i = 0; i < count; ++i) {
    if (i % 100 == 0) Evict(DirectoryOf(flags));
    const size_t at = random() % groups.size();
    const LogState& log = logs[at];
    const Offset from =
        log.log_start + static_cast<int64_t>(random() % static_cast<uint64_t>(log.log_end - log.log_start));
    offsets.Time([&] {
      const auto entries = store->Read(groups[at], from, log.log_end, 1);
      MILLRACE_CHECK(entries.ok() && entries->size() == 1) << entries.status().ToString();
      MILLRACE_CHECK(entries->front().header.end_offset() > from);
    });
    const size_t other = random() % groups.size();
    const auto time = static_cast<int64_t>(random() % static_cast<uint64_t>(logs[other].last_append_time + 1));
    times.Time([&] { MILLRACE_CHECK(store->OffsetForTime(groups[other], time).ok()); });
  }
  offsets.Print("read at an offset");
  times.Print("offset for a time");
}

}  // namespace
}  // namespace millrace::storage

int main(int argc, char** argv) {
  using namespace millrace::storage;
  millrace::server::TuneHeap();
  const Flags flags = ParseFlags(argc, argv);
  if (flags.mode == "write") {
    Write(flags);
  } else if (flags.mode == "read") {
    Read(flags);
  } else if (flags.mode == "open") {
    Open(flags);
  } else if (flags.mode == "latency") {
    Latency(flags);
  } else if (flags.mode == "seek") {
    Seek(flags);
  } else {
    std::fprintf(stderr, "usage: storage_bench write|read|open|latency|seek --dir DIR ...\n");
    return 2;
  }
  return 0;
}
