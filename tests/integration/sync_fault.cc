// Preloaded into a broker: once the file that SYNC_FAULT_FLAG names exists, the next sync of its write-ahead log fails, and the file
// is gone.
#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

bool IsLog(int fd) {
  std::array<char, 4096> path;
  const ssize_t size = readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path.data(), path.size());
  return size > 0 && std::string_view(path.data(), static_cast<size_t>(size)).ends_with(".log");
}

}  // namespace

extern "C" int fdatasync(int fd) {
  static const auto next = reinterpret_cast<int (*)(int)>(dlsym(RTLD_NEXT, "fdatasync"));
  static const char* const flag = std::getenv("SYNC_FAULT_FLAG");
  if (flag != nullptr && access(flag, F_OK) == 0 && IsLog(fd) && unlink(flag) == 0) {
    errno = EIO;
    return -1;
  }
  return next(fd);
}
