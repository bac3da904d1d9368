#include "proto/wire/partitioner.h"

#include <bit>
#include <cstring>

#include "proto/wire/check.h"

namespace millrace {

uint32_t Murmur2(std::string_view key) {
  static_assert(std::endian::native == std::endian::little);
  constexpr uint32_t kSeed = 0x9747b28c, kMultiplier = 0x5bd1e995;
  constexpr int kShift = 24;

  uint32_t hash = kSeed ^ static_cast<uint32_t>(key.size());
  while (key.size() >= 4) {
    uint32_t word;
    std::memcpy(&word, key.data(), 4);
    word *= kMultiplier;
    word ^= word >> kShift;
    word *= kMultiplier;
    hash = hash * kMultiplier ^ word;
    key.remove_prefix(4);
  }
  if (!key.empty()) {
    for (size_t i = 0; i < key.size(); ++i) hash ^= static_cast<uint32_t>(static_cast<uint8_t>(key[i])) << 8 * i;
    hash *= kMultiplier;
  }
  hash ^= hash >> 13;
  hash *= kMultiplier;
  hash ^= hash >> 15;
  return hash;
}

int32_t PartitionForKey(std::string_view key, int32_t partitions) {
  MILLRACE_CHECK_GE(partitions, 1);
  return static_cast<int32_t>(Murmur2(key) & 0x7fffffff) % partitions;
}

}  // namespace millrace
