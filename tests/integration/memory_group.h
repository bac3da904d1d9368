// A cgroup with a memory limit, where this machine lets a test make one: what a container would be.
//
//     MemoryGroup group(256 << 20);
//     BrokerProcess broker({.cgroup = group.procs_file()});    // empty: no group could be made
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace millrace {

class MemoryGroup {
 public:
  explicit MemoryGroup(int64_t bytes_max);
  // No process may be left in it.
  ~MemoryGroup();
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;

  bool made() const { return !folder_.empty(); }
  // A process that writes 0 to this file is in the group.
  std::string procs_file() const { return made() ? (folder_ / "cgroup.procs").string() : ""; }

 private:
  std::filesystem::path folder_;
};

}  // namespace millrace
