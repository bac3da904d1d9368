#include "storage/wal_format.h"

namespace millrace::storage {

size_t WalFragmentBytes(const char* header) {
  return static_cast<uint8_t>(header[4]) | static_cast<size_t>(static_cast<uint8_t>(header[5])) << 8;
}

uint64_t WalRecordBegin(uint64_t file_bytes) {
  const uint64_t left = kWalBlockBytes - file_bytes % kWalBlockBytes;
  // What is left of the block is zeros, or a fragment without data.
  if (left <= kWalHeaderBytes) return file_bytes + left + kWalHeaderBytes;
  return file_bytes + kWalHeaderBytes;
}

uint64_t WalPosition(uint64_t offset, uint64_t bytes) {
  constexpr uint64_t kDataBytes = kWalBlockBytes - kWalHeaderBytes;
  const uint64_t block_left = kWalBlockBytes - offset % kWalBlockBytes;
  if (bytes < block_left) return offset + bytes;
  bytes -= block_left;
  return offset + block_left + bytes / kDataBytes * kWalBlockBytes + kWalHeaderBytes + bytes % kDataBytes;
}

uint32_t UnmaskedCrc(uint32_t stored) {
  const uint32_t rotated = stored - 0xa282ead8u;
  return (rotated >> 17) | (rotated << 15);
}

}  // namespace millrace::storage
