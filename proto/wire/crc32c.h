// CRC-32C (Castagnoli, polynomial 0x1EDC6F41, reflected; RFC 3720 appendix B.4), by the processor's instructions through ISA-L.
//
//     uint32_t crc = Crc32c(0, "123456789");  // 0xE3069283
//     crc = Crc32c(crc, "more");               // of "123456789more"
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/strings/cord.h"

namespace millrace {

// The checksum of what `crc` covers followed by `data`. Begin with 0.
uint32_t Crc32c(uint32_t crc, std::string_view data);
uint32_t Crc32c(uint32_t crc, const absl::Cord& data);

// Joins checksums of neighbours without looking at their bytes, where the second has always the same length.
//
//     static const Crc32cShift shift(4096);
//     uint32_t crc = shift(crc_of_first) ^ crc_of_second;  // the second has 4096 bytes
//
// Zeros after the first change its checksum by a linear map (ISO 3309; zlib's crc32_combine): a table of it is 4 KiB, made from
// 32 checksums of that many zeros.
class Crc32cShift {
 public:
  explicit Crc32cShift(size_t bytes);
  uint32_t operator()(uint32_t crc) const {
    return table_[0][crc & 0xff] ^ table_[1][crc >> 8 & 0xff] ^ table_[2][crc >> 16 & 0xff] ^ table_[3][crc >> 24];
  }

 private:
  std::array<std::array<uint32_t, 256>, 4> table_{};
};

}  // namespace millrace
