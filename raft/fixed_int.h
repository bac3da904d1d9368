// Integers as little-endian bytes, one behind the other: for the small formats of this folder.
//
//     std::string out;
//     PutInt<uint16_t>(out, count);
//     std::string_view in = out;
//     std::optional<uint16_t> count = GetInt<uint16_t>(in);   // nothing when bytes are missing; `in` moves on
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace millrace::raft {

template <typename Int>
void PutInt(std::string& out, std::type_identity_t<Int> value) {
  for (size_t i = 0; i < sizeof(Int); ++i) out.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
}

template <typename Int>
std::optional<Int> GetInt(std::string_view& in) {
  if (in.size() < sizeof(Int)) return std::nullopt;
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(Int); ++i) value |= static_cast<uint64_t>(static_cast<uint8_t>(in[i])) << (8 * i);
  in.remove_prefix(sizeof(Int));
  return static_cast<Int>(value);
}

}  // namespace millrace::raft
