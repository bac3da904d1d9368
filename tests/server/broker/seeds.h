// Which seeds a simulation runs: MILLRACE_SEED is the first, MILLRACE_SEEDS how many.
//
//     for (uint64_t seed : Seeds(1000)) { SCOPED_TRACE(testing::Message() << "seed " << seed); ... }
#pragma once

#include <cstdint>
#include <cstdlib>
#include <ranges>

namespace millrace {

inline uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

inline auto Seeds(uint64_t count) {
  const uint64_t first = FromEnvironment("MILLRACE_SEED", 1);
  return std::views::iota(first, first + FromEnvironment("MILLRACE_SEEDS", count));
}

}  // namespace millrace
