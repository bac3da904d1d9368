#include "tests/integration/memory_group.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <utility>

namespace millrace {
namespace {

bool Write(const std::filesystem::path& file, const std::string& text) {
  std::ofstream out(file);
  out << text << std::flush;
  return out.good();
}

}  // namespace

MemoryGroup::MemoryGroup(int64_t bytes_max) {
  const std::filesystem::path mount = "/sys/fs/cgroup";
  const std::string name = "millrace-test-" + std::to_string(getpid());
  for (const auto& [parent, limit] :
       {std::pair(mount / "memory", "memory.limit_in_bytes"), std::pair(mount, "memory.max")}) {
    const std::filesystem::path folder = parent / name;
    if (mkdir(folder.c_str(), 0700) != 0) continue;
    if (std::filesystem::exists(folder / limit) && Write(folder / limit, std::to_string(bytes_max))) {
      folder_ = folder;
      return;
    }
    rmdir(folder.c_str());
  }
}

MemoryGroup::~MemoryGroup() {
  if (made()) rmdir(folder_.c_str());
}

}  // namespace millrace
