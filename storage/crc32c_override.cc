#include "storage/crc32c_override.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "proto/wire/crc32c.h"
#include "storage/wal_format.h"

namespace millrace::storage {
namespace {

std::atomic<bool> called{false};

constexpr size_t kWholeFragmentBytes = kWalBlockBytes - kWalHeaderBytes;

// As Crc32cShift, for any length.
uint32_t Shift(uint32_t crc, size_t bytes) {
  static constexpr char kZeros[4096] = {};
  uint32_t shifted = ~crc;
  while (bytes > 0) {
    const size_t size = std::min(bytes, sizeof kZeros);
    shifted = Crc32c(shifted, std::string_view(kZeros, size));
    bytes -= size;
  }
  return ~shifted;
}

}  // namespace

bool Crc32cCalled() { return called.load(std::memory_order_relaxed); }
void ResetCrc32cCalled() { called.store(false, std::memory_order_relaxed); }

}  // namespace millrace::storage

// Not declared in RocksDB's public headers; the signatures are of 7.8.3's util/crc32c.h.
namespace rocksdb::crc32c {

__attribute__((visibility("default"))) uint32_t Extend(uint32_t init_crc, const char* data, size_t n);
__attribute__((visibility("default"))) uint32_t Crc32cCombine(uint32_t crc1, uint32_t crc2, size_t crc2len);

uint32_t Extend(uint32_t init_crc, const char* data, size_t n) {
  using millrace::storage::called;
  // Read before written: a line that every thread writes to would travel between them.
  if (!called.load(std::memory_order_relaxed)) called.store(true, std::memory_order_relaxed);
  return millrace::Crc32c(init_crc, std::string_view(data, n));
}

uint32_t Crc32cCombine(uint32_t crc1, uint32_t crc2, size_t crc2len) {
  using namespace millrace::storage;
  static const millrace::Crc32cShift shift(kWholeFragmentBytes);
  return (crc2len == kWholeFragmentBytes ? shift(crc1) : Shift(crc1, crc2len)) ^ crc2;
}

}  // namespace rocksdb::crc32c
