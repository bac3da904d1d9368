// CRC-32C (Castagnoli, polynomial 0x1EDC6F41, reflected; RFC 3720 appendix B.4), by the processor's instructions through ISA-L.
//
//     uint32_t crc = Crc32c(0, "123456789");  // 0xE3069283
//     crc = Crc32c(crc, "more");               // of "123456789more"
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/strings/cord.h"

namespace millrace {

// The checksum of what `crc` covers followed by `data`. Begin with 0.
uint32_t Crc32c(uint32_t crc, std::string_view data);
uint32_t Crc32c(uint32_t crc, const absl::Cord& data);

}  // namespace millrace
