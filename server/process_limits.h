// What this process may use of the machine, and what it uses.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace millrace::server {

// Bytes this process may use: the machine's memory, or the tightest cgroup limit (v2 or v1) on the way to the root if that
// is less. `root` is where proc and sys are found, another place only in tests.
int64_t UsableMemoryBytes(const std::string& root = "/");

// Cores this process may use: its CPU affinity, or the tightest cgroup quota rounded up if that is less; at least 1.
int UsableCores(const std::string& root = "/");

// The process's resident set, in bytes.
int64_t ResidentBytes();

// Raises the soft limit on open files to the hard one; returns the limit in effect.
absl::StatusOr<int64_t> RaiseFileLimit();

// From now on the calling thread goes before those of other processes (nice -10), where this process may do that (root,
// CAP_SYS_NICE, RLIMIT_NICE) and was not given a niceness by whoever started it. Otherwise nothing changes. Threads that it
// starts take after it.
void PreferThisThread();

}  // namespace millrace::server
