// Pauses between retries: they double up to a maximum, and each is drawn from its upper half so that clients do not
// come back all at once.
#pragma once

#include <algorithm>
#include <chrono>

#include "proto/wire/runtime.h"

namespace millrace {

class Backoff {
 public:
  Backoff(Random& random, std::chrono::nanoseconds first, std::chrono::nanoseconds max)
      : random_(random), first_(first), max_(max), next_(first) {}

  std::chrono::nanoseconds Next() {
    const std::chrono::nanoseconds pause = next_;
    next_ = std::min(next_ * 2, max_);
    const auto half = static_cast<uint64_t>(pause.count() / 2);
    return pause - std::chrono::nanoseconds(half == 0 ? 0 : random_.Next() % half);
  }

  void Reset() { next_ = first_; }

 private:
  Random& random_;
  std::chrono::nanoseconds first_;
  std::chrono::nanoseconds max_;
  std::chrono::nanoseconds next_;
};

}  // namespace millrace
