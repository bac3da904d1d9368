// Bytes being written: grows without clearing what it gained, and becomes a Cord without a copy.
//
//     char* p = buffer.Reserve(10);      // room for 10 more bytes
//     p = WriteVarint(p, value);
//     buffer.SetEnd(p);
//     absl::Cord cord = std::move(buffer).ToCord();
//
// Why not std::string: its resize() clears bytes that are overwritten right away, which costs as much as writing them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/cord.h"
#include "proto/wire/check.h"

namespace millrace::internal {

class WriteBuffer {
 public:
  WriteBuffer() = default;
  explicit WriteBuffer(size_t capacity) { Reallocate(capacity); }
  WriteBuffer(WriteBuffer&& other) noexcept { *this = std::move(other); }
  WriteBuffer& operator=(WriteBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  ~WriteBuffer() { std::free(data_); }

  char* data() { return data_; }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  std::string_view view() const { return {data_, size_}; }

  // The end of what was written, with room for `more` bytes behind it.
  char* Reserve(size_t more) {
    if (capacity_ - size_ < more) [[unlikely]]
      Reallocate(std::max(size_ + more, 2 * capacity_));
    return data_ + size_;
  }
  // `end`: one past the last byte written, within what Reserve gave.
  void SetEnd(const char* end) { size_ = static_cast<size_t>(end - data_); }

  // Fetches the place of the next `bytes` into the cache, as far as there is room for them.
  void PrefetchEnd(size_t bytes) const {
#ifdef __x86_64__
    constexpr size_t kCacheLineBytes = 64;
    const char* const end = data_ + std::min(size_ + bytes, capacity_);
    // GCC 12 drops __builtin_prefetch here.
    for (const char* p = data_ + size_; p < end; p += kCacheLineBytes) asm volatile("prefetchw %0" : : "m"(*p));
#endif
  }

  void Append(std::string_view bytes) {
    char* p = Reserve(bytes.size());
    if (!bytes.empty()) std::memcpy(p, bytes.data(), bytes.size());
    size_ += bytes.size();
  }
  void Clear() { size_ = 0; }

  // Hands over the bytes from `begin` on. Gives back unused room first where that is more than a quarter.
  absl::Cord ToCord(size_t begin = 0) && {
    if (size_ - begin <= kCopyBytesMax) return CopyToCord({data_ + begin, size_ - begin});
    if (capacity_ - size_ > capacity_ / 4) Reallocate(size_);
    char* data = std::exchange(data_, nullptr);
    std::string_view bytes(data + begin, std::exchange(size_, 0) - begin);
    capacity_ = 0;
    return absl::MakeCordFromExternal(absl::string_view(bytes.data(), bytes.size()), [data] { std::free(data); });
  }

  // A Cord of one chunk with a copy of `bytes`.
  static absl::Cord CopyToCord(std::string_view bytes) {
    if (bytes.size() <= kCopyBytesMax) return absl::Cord(absl::string_view(bytes.data(), bytes.size()));
    WriteBuffer copy(bytes.size());
    copy.Append(bytes);
    return std::move(copy).ToCord();
  }

 private:
  // Cords keep so much in one flat chunk of their own.
  static constexpr size_t kCopyBytesMax = 4000;

  void Reallocate(size_t capacity) {
    data_ = static_cast<char*>(std::realloc(data_, std::max<size_t>(capacity, 64)));
    MILLRACE_CHECK(data_ != nullptr) << "out of memory: " << capacity << " bytes";
    capacity_ = std::max<size_t>(capacity, 64);
  }

  char* data_ = nullptr;
  size_t size_ = 0;  // size_ <= capacity_
  size_t capacity_ = 0;
};

}  // namespace millrace::internal
