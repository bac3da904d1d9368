// Fixed little-endian integers, written and read one after the other.
//
//     LittleEndianWriter out(buffer);
//     out.Put<uint32_t>(count).Put<int64_t>(offset);
//     LittleEndianReader in(bytes);
//     auto count = in.Get<uint32_t>();
//     if (!in.complete()) ...            // bytes were missing or left over
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace millrace::storage {

static_assert(std::endian::native == std::endian::little, "integers are copied as they lie in memory");

class LittleEndianWriter {
 public:
  // The caller knows that there is room.
  explicit LittleEndianWriter(char* out) : out_(out) {}

  template <typename T>
  LittleEndianWriter& Put(std::type_identity_t<T> value) {
    static_assert(std::is_integral_v<T>);
    std::memcpy(out_, &value, sizeof(T));
    out_ += sizeof(T);
    return *this;
  }
  const char* end() const { return out_; }

 private:
  char* out_;
};

class LittleEndianReader {
 public:
  explicit LittleEndianReader(std::string_view bytes) : rest_(bytes) {}

  // 0 once bytes are missing.
  template <typename T>
  T Get() {
    static_assert(std::is_integral_v<T>);
    T value = 0;
    if (rest_.size() < sizeof(T)) {
      missing_ = true;
      return value;
    }
    std::memcpy(&value, rest_.data(), sizeof(T));
    rest_.remove_prefix(sizeof(T));
    return value;
  }
  // Everything was there and nothing is left.
  bool complete() const { return !missing_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool missing_ = false;
};

}  // namespace millrace::storage
