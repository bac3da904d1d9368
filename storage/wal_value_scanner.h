// Finds the large values in the bytes of a RocksDB write-ahead log while they are written or read, in pieces of any size, and
// without copying them.
//
//     WalValueScanner scanner(4096, [&](std::string_view key, const WalValue& value) { places[key] = value; });
//     scanner.Scan(bytes);        // the next bytes of the file, from its beginning
//
// Nothing rests on reading the format (wal_format.h) right: what is found carries a checksum of the very bytes at its place, and
// whoever uses it compares. Of a fragment that is nothing but value and comes in one piece, it is the checksum that RocksDB has
// just computed for the fragment's header. At anything unexpected the scanner stops finding values: for the rest of the batch (a
// tag it does not know), or of the file (fragments out of place).
//
// Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "storage/wal_format.h"

namespace millrace::storage {

struct WalValue {
  uint64_t offset = 0;  // in the file, of the first byte
  uint32_t bytes = 0;   // of the value: headers between its fragments do not count
  uint32_t crc = 0;     // CRC-32C of the key followed by the value
};

class WalValueScanner {
 public:
  using Found = std::function<void(std::string_view key, const WalValue& value)>;

  // Reports values of at least `bytes_min`, each when its last byte has been scanned.
  WalValueScanner(uint32_t bytes_min, Found found) : bytes_min_(bytes_min), found_(std::move(found)) {}

  void Scan(std::string_view bytes);
  // Bytes were left out: nothing more will be found.
  void Stop() { stopped_ = true; }

 private:
  enum class Part { kBatchHeader, kTag, kFamily, kKeyLength, kKey, kValueLength, kValue, kUnknown };

  size_t ScanHeader(std::string_view bytes);
  void BeginFragment();
  void EndFragment();

  void ScanBatch(std::string_view bytes);
  size_t ScanPart(std::string_view bytes);
  size_t ScanLength(std::string_view bytes);
  void EndLength();
  void BeginRecord(uint8_t tag);
  void BeginValue();
  void EndValue();

  const uint32_t bytes_min_;
  const Found found_;
  bool stopped_ = false;

  // The log.
  uint64_t position_ = 0;
  char header_[kWalHeaderBytes];
  size_t header_bytes_ = 0;
  size_t fragment_left_ = 0;
  uint8_t fragment_type_ = 0;
  bool in_batch_ = false;

  // The batch.
  Part part_ = Part::kBatchHeader;
  bool has_value_ = false;
  bool is_put_ = false;
  uint32_t length_ = 0;
  int length_shift_ = 0;
  size_t left_ = 0;  // of the header, key or value that is being scanned
  std::string key_;
  uint64_t batch_position_ = 0;  // in the file, of the bytes being scanned
  WalValue value_;
  bool keep_value_ = false;
};

}  // namespace millrace::storage
