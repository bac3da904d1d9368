#include "server/process_limits.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "proto/wire/setting_value.h"

namespace millrace::server {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
constexpr int kPreferredNice = -10;

std::vector<std::string> ReadWords(const fs::path& file) {
  std::ifstream in(file);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

// The number in the file's n-th word; none when there is no such file or it says "max" or -1.
std::optional<int64_t> ReadLimit(const fs::path& file, size_t n = 0) {
  const auto words = ReadWords(file);
  const auto number = n < words.size() ? ParseInteger(words[n]) : std::nullopt;
  return number && *number > 0 ? number : std::nullopt;
}

// This process's group in `controller`'s hierarchy and all groups above it, as folders. In a container only the last may
// exist: /proc tells the path as the host sees it, while the group itself is mounted as the root.
std::vector<fs::path> GroupFolders(const std::string& root, std::string_view controller) {
  const fs::path mount = fs::path(root) / "sys/fs/cgroup";
  std::vector<fs::path> folders;
  std::ifstream in(fs::path(root) / "proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const std::vector<std::string> controllers = absl::StrSplit(parts[1], ',');
    fs::path base;
    if (parts[1].empty()) {  // version 2
      base = fs::exists(mount / "unified") ? mount / "unified" : mount;
    } else if (std::ranges::find(controllers, controller) != controllers.end()) {
      base = mount / std::string(controller);
    } else {
      continue;
    }
    for (fs::path group = fs::path(parts[2]).relative_path();; group = group.parent_path()) {
      folders.push_back(base / group);
      if (group.empty()) break;
    }
  }
  return folders;
}

int64_t ResourceLimit(__rlimit_resource resource) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kNoLimit;
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, kNoLimit));
}

int64_t MachineMemory(const std::string& root) {
  const auto words = ReadWords(fs::path(root) / "proc/meminfo");
  const auto total = std::ranges::find(words, "MemTotal:");
  if (total == words.end() || total + 1 == words.end()) return kNoLimit;
  const auto kib = ParseInteger(total[1]);
  return kib ? *kib * 1024 : kNoLimit;
}

}  // namespace

int64_t UsableMemoryBytes(const std::string& root) {
  int64_t limit = std::min({MachineMemory(root), ResourceLimit(RLIMIT_AS), ResourceLimit(RLIMIT_DATA)});
  for (const fs::path& group : GroupFolders(root, "memory")) {
    for (const char* file : {"memory.max", "memory.high", "memory.limit_in_bytes"}) {
      limit = std::min(limit, ReadLimit(group / file).value_or(kNoLimit));
    }
  }
  return limit;
}

int UsableCores(const std::string& root) {
  cpu_set_t set;
  CPU_ZERO(&set);
  int64_t cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);
  const auto apply = [&cores](std::optional<int64_t> quota, std::optional<int64_t> period) {
    if (quota && period) cores = std::min(cores, (*quota + *period - 1) / *period);
  };
  for (const fs::path& group : GroupFolders(root, "cpu")) {
    apply(ReadLimit(group / "cpu.max", 0), ReadLimit(group / "cpu.max", 1));
    apply(ReadLimit(group / "cpu.cfs_quota_us"), ReadLimit(group / "cpu.cfs_period_us"));
  }
  return static_cast<int>(std::max<int64_t>(cores, 1));
}

int64_t ResidentBytes() {
  constexpr size_t kResidentPages = 1;
  return ReadLimit("/proc/self/statm", kResidentPages).value_or(0) * sysconf(_SC_PAGESIZE);
}

absl::StatusOr<int64_t> RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return absl::ErrnoToStatus(errno, "reading the limit on open files");
  if (limit.rlim_cur != limit.rlim_max) {
    const rlim_t soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
      return absl::ErrnoToStatus(errno,
                                 absl::StrCat("raising the limit on open files from ", soft, " to ", limit.rlim_max));
    }
  }
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, kNoLimit));
}

void PreferThisThread() {
  constexpr id_t kThisThread = 0;
  if (getpriority(PRIO_PROCESS, kThisThread) == 0) setpriority(PRIO_PROCESS, kThisThread, kPreferredNice);
}

}  // namespace millrace::server
