// Protobuf's integers and tags on plain memory.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace millrace::internal {

static_assert(std::endian::native == std::endian::little, "fixed-width integers are copied as they lie in memory");

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kStartGroup = 3, kEndGroup = 4, kFixed32 = 5 };

constexpr uint32_t Tag(uint32_t field, WireType type) { return field << 3 | type; }

inline constexpr size_t kVarintBytesMax = 10;
inline constexpr size_t kVarint32BytesMax = 5;  // of tags and lengths
inline constexpr size_t kTagBytes = 1;          // of all fields below 16: every field of the data messages

constexpr size_t VarintBytes(uint64_t value) {
  // ceil(bits / 7) without a division; 0 has one digit.
  return (static_cast<size_t>(std::bit_width(value | 1)) * 9 + 64) / 64;
}

constexpr uint64_t ZigZag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
constexpr int64_t UnZigZag(uint64_t value) { return static_cast<int64_t>((value >> 1) ^ (0 - (value & 1))); }

inline char* WriteVarint(char* p, uint64_t value) {
  while (value >= 0x80) {
    *p++ = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  *p++ = static_cast<char>(value);
  return p;
}

// Tag, length and bytes of a field below 16.
inline char* WriteBytes(char* p, uint32_t field, std::string_view bytes) {
  *p++ = static_cast<char>(Tag(field, kBytes));
  p = WriteVarint(p, bytes.size());
  if (!bytes.empty()) std::memcpy(p, bytes.data(), bytes.size());
  return p + bytes.size();
}
constexpr size_t BytesFieldBytes(size_t size) { return kTagBytes + VarintBytes(size) + size; }

// The place behind the varint at `p`, or nullptr when it does not end before `end` or holds more than 64 bits.
inline const char* ReadVarint(const char* p, const char* end, uint64_t& value) {
  if (p != end && static_cast<signed char>(*p) >= 0) [[likely]] {
    value = static_cast<uint8_t>(*p);
    return p + 1;
  }
  uint64_t result = 0;
  for (int shift = 0; shift < 70 && p != end; shift += 7) {
    const uint64_t byte = static_cast<uint8_t>(*p++);
    result |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      if (shift == 63 && byte > 1) return nullptr;
      value = result;
      return p;
    }
  }
  return nullptr;
}

// Skips a field whose tag was read; nullptr when it does not end before `end` or is a group.
inline const char* SkipField(const char* p, const char* end, uint64_t tag) {
  uint64_t length;
  switch (tag & 7) {
    case kVarint:
      return ReadVarint(p, end, length);
    case kFixed64:
      length = 8;
      break;
    case kFixed32:
      length = 4;
      break;
    case kBytes:
      p = ReadVarint(p, end, length);
      if (p == nullptr) return nullptr;
      break;
    default:
      return nullptr;
  }
  return length <= static_cast<uint64_t>(end - p) ? p + length : nullptr;
}

// Tags are 32 bits wide and name a field from 1 on.
constexpr bool IsTag(uint64_t tag) { return tag >= 8 && tag <= UINT32_MAX; }

}  // namespace millrace::internal
