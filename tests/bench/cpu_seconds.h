// CPU that the whole process has used, the kernel's work for it and its background threads included.
#pragma once

#include <sys/resource.h>

namespace millrace {

struct CpuSeconds {
  double user;
  double system;

  static CpuSeconds Now() {
    const auto seconds = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return {seconds(usage.ru_utime), seconds(usage.ru_stime)};
  }
};

}  // namespace millrace
