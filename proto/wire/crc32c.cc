#include "proto/wire/crc32c.h"

#include <algorithm>

#include <isa-l/crc.h>

namespace millrace {

uint32_t Crc32c(uint32_t crc, std::string_view data) {
  // ISA-L takes lengths as int, and the checksum before its final inversion. It does not write to the buffer.
  constexpr size_t kPieceBytes = size_t{1} << 30;
  auto* bytes = reinterpret_cast<unsigned char*>(const_cast<char*>(data.data()));
  uint32_t state = ~crc;
  for (size_t done = 0; done < data.size(); done += kPieceBytes) {
    state = crc32_iscsi(bytes + done, static_cast<int>(std::min(data.size() - done, kPieceBytes)), state);
  }
  return ~state;
}

uint32_t Crc32c(uint32_t crc, const absl::Cord& data) {
  for (absl::string_view chunk : data.Chunks()) crc = Crc32c(crc, std::string_view(chunk.data(), chunk.size()));
  return crc;
}

}  // namespace millrace
