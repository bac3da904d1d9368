#include "storage/crc32c_override.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "proto/wire/crc32c.h"

namespace millrace::storage {
namespace {

std::atomic<bool> called{false};

}  // namespace

bool Crc32cCalled() { return called.load(std::memory_order_relaxed); }
void ResetCrc32cCalled() { called.store(false, std::memory_order_relaxed); }

}  // namespace millrace::storage

// Not declared in RocksDB's public headers; the signature is of 7.8.3's util/crc32c.h.
namespace rocksdb::crc32c {

__attribute__((visibility("default"))) uint32_t Extend(uint32_t init_crc, const char* data, size_t n);

uint32_t Extend(uint32_t init_crc, const char* data, size_t n) {
  using millrace::storage::called;
  // Read before written: a line that every thread writes to would travel between them.
  if (!called.load(std::memory_order_relaxed)) called.store(true, std::memory_order_relaxed);
  return millrace::Crc32c(init_crc, std::string_view(data, n));
}

}  // namespace rocksdb::crc32c
