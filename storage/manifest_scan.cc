#include "storage/manifest_scan.h"

#include <algorithm>
#include <cstddef>

#include "proto/wire/crc32c.h"
#include "storage/little_endian.h"
#include "storage/wal_format.h"

namespace millrace::storage {
namespace {

bool IsZeros(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char byte) { return byte == 0; });
}

uint32_t StoredCrc(std::string_view fragment) {
  return UnmaskedCrc(LittleEndianReader(fragment.substr(0, 4)).Get<uint32_t>());
}

// Whether the fragment that begins here is complete, whatever length it says: then it is not torn.
bool IsWhole(std::string_view fragment) {
  uint32_t crc = Crc32c(0, fragment.substr(6, 1));
  for (size_t size = 0;; ++size) {
    if (crc == StoredCrc(fragment)) return true;
    if (kWalHeaderBytes + size == fragment.size()) return false;
    crc = Crc32c(crc, fragment.substr(kWalHeaderBytes + size, 1));
  }
}

}  // namespace

std::optional<uint64_t> FindManifestDamage(std::string_view manifest) {
  size_t at = 0;
  while (at < manifest.size()) {
    const std::string_view block = manifest.substr(at, kWalBlockBytes - at % kWalBlockBytes);
    const bool is_last_block = at + block.size() == manifest.size();
    if (block.size() < kWalHeaderBytes) {  // a block's end without room for a fragment, or a torn header
      if (!is_last_block && !IsZeros(block)) return at;
      at += block.size();
      continue;
    }
    const size_t bytes = kWalHeaderBytes + WalFragmentBytes(block.data());
    const auto type = static_cast<uint8_t>(block[6]);
    if (bytes <= block.size() && type >= kFull && type <= kLast &&
        StoredCrc(block) == Crc32c(0, block.substr(6, bytes - 6))) {
      at += bytes;
      continue;
    }
    const bool is_torn = is_last_block && (IsZeros(block) || (bytes > block.size() && !IsWhole(block)));
    return is_torn ? std::nullopt : std::optional<uint64_t>(at);
  }
  return std::nullopt;
}

}  // namespace millrace::storage
