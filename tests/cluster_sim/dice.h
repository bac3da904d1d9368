// Chance, from a seed. Draw one number per statement: the order in which a compiler evaluates arguments is its own.
#pragma once

#include "tests/support/sim_executor.h"

namespace millrace::sim {

class Dice : public SimRandom {
 public:
  explicit Dice(uint64_t seed) : SimRandom(seed) {}

  int64_t UpTo(int64_t n) { return static_cast<int64_t>(Next() % static_cast<uint64_t>(n)); }
  bool OneIn(int64_t n) { return UpTo(n) == 0; }
  // Both inclusive.
  int64_t Between(int64_t first, int64_t last) { return first + UpTo(last - first + 1); }
  // Mostly near `typical`, sometimes many times as much.
  int64_t LongTail(int64_t typical) {
    int64_t value = typical / 2 + Between(0, typical);
    for (int i = 0; i < 4 && OneIn(4); ++i) value *= 2;
    return value;
  }
};

}  // namespace millrace::sim
