// A fuzzer's bytes as a stream of choices. When they are used up, every choice is 0.
//
//     Input in(data, size);
//     while (!in.empty()) switch (in.Choice(3)) { … }
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace::fuzz {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  bool empty() const { return size_ == 0; }
  uint8_t Byte() {
    if (empty()) return 0;
    --size_;
    return *data_++;
  }
  int Choice(int count) { return Byte() % count; }
  bool Flag() { return (Byte() & 1) != 0; }
  // Mostly close to `anchor`, where the edges of the protocol are; sometimes any 64 bits.
  int64_t Number(int64_t anchor) {
    const uint8_t kind = Byte();
    if (kind < 250) return anchor + kind % 8 - 4;
    uint64_t any = 0;
    for (int i = 0; i < 8; ++i) any = any << 8 | Byte();
    return static_cast<int64_t>(any);
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

}  // namespace millrace::fuzz
