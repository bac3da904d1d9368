#include "proto/wire/check.h"

#include <cstdio>
#include <cstdlib>

namespace millrace::internal {

CheckFailure::CheckFailure(const char* file, int line, const std::string& condition) {
  stream_ << file << ":" << line << ": check failed: " << condition << " ";
}

CheckFailure::~CheckFailure() {
  // One write, so that lines of other threads do not come between.
  std::string message = stream_.str() + "\n";
  std::fwrite(message.data(), 1, message.size(), stderr);
  std::fflush(stderr);
  std::abort();
}

}  // namespace millrace::internal
