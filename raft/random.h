// Where a core's random numbers come from: election timeouts. Injected, so that a run repeats from its seed.
#pragma once

#include <cstdint>

namespace millrace::raft {

class Random {
 public:
  virtual ~Random() = default;
  virtual uint64_t Next() = 0;

  // In [0, bound). `bound` > 0 is small: the bias of the remainder does not matter for a timeout.
  int UpTo(int bound) { return static_cast<int>(Next() % static_cast<uint64_t>(bound)); }
};

// splitmix64: eight bytes of state, every seed is good (Steele, Lea, Flood 2014).
class SeededRandom : public Random {
 public:
  explicit SeededRandom(uint64_t seed) : state_(seed) {}

  uint64_t Next() override {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_;
};

}  // namespace millrace::raft
