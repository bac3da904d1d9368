// Chance, from a seed: what the simulator draws its faults, delays and workloads from.
//
//     Dice dice(seed);
//     if (dice.Chance(swarm.drop_per_million)) return;
//     int64_t delay = dice.LongTail(200);
//
// Integers only: a run repeats on every machine and build. Draw one number per statement: the order in which a compiler evaluates
// the arguments of a call is its own.
#pragma once

#include <cstddef>
#include <cstdint>

#include "raft/random.h"

namespace millrace::raft::sim {

class Dice : public SeededRandom {
 public:
  explicit Dice(uint64_t seed) : SeededRandom(seed) {}

  bool Chance(int per_million) { return per_million > 0 && UpTo(1'000'000) < per_million; }
  bool OneIn(int n) { return UpTo(n) == 0; }
  // Both inclusive.
  int64_t Between(int64_t first, int64_t last) {
    return first + static_cast<int64_t>(Next() % static_cast<uint64_t>(last - first + 1));
  }
  // Mostly near `typical`, sometimes several times as much, at most 24 times.
  int64_t LongTail(int64_t typical) {
    int64_t value = typical / 2 + Between(0, typical);
    for (int i = 0; i < 4 && OneIn(4); ++i) value *= 2;
    return value;
  }
  template <typename Container>
  const auto& Pick(const Container& from) {
    return from[static_cast<size_t>(UpTo(static_cast<int>(from.size())))];
  }
};

}  // namespace millrace::raft::sim
