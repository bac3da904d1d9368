// Random bytes for codecs, cut into chunks that a sanitizer sees the ends of.
//
//     RandomInput random;                    // prints its seed; --gtest_random_seed=N brings it back
//     absl::Cord message = random.Chunked(bytes);
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <string_view>

#include "absl/strings/cord.h"
#include "gtest/gtest.h"

namespace millrace {

// One chunk per piece, each in an allocation of exactly its size.
inline void PrependChunk(std::string_view piece, absl::Cord* cord) {
  char* copy = new char[piece.size()];
  std::memcpy(copy, piece.data(), piece.size());
  // Append would copy small chunks into one; Prepend keeps them apart.
  cord->Prepend(absl::MakeCordFromExternal(absl::string_view(copy, piece.size()), [copy] { delete[] copy; }));
}

class RandomInput {
 public:
  RandomInput() : seed_(GTEST_FLAG_GET(random_seed)) {
    if (seed_ == 0) seed_ = static_cast<int>(std::random_device()() % 99999 + 1);
    engine_.seed(static_cast<uint64_t>(seed_));
    trace_ = std::make_unique<testing::ScopedTrace>(__FILE__, __LINE__,
                                                    "repeat with --gtest_random_seed=" + std::to_string(seed_));
    testing::Test::RecordProperty("seed", seed_);
  }

  // In [0, n).
  size_t Below(size_t n) { return engine_() % n; }
  bool OneIn(size_t n) { return Below(n) == 0; }

  // Of every magnitude, so that varints of every length occur.
  uint64_t Number() { return engine_() >> Below(64) >> Below(2); }
  int64_t SignedNumber() { return static_cast<int64_t>(OneIn(2) ? Number() : 0 - Number()); }

  std::string Bytes(size_t size) {
    std::string bytes(size, '\0');
    for (char& byte : bytes) byte = static_cast<char>(engine_());
    return bytes;
  }
  std::string SomeBytes() { return Bytes(Number() % (OneIn(20) ? 5000 : 40)); }

  std::string Text() {
    static constexpr std::string_view kCharacters[] = {"a", "Z", "-", "7", "é", "界", "🚀"};
    std::string text;
    for (size_t n = Below(OneIn(10) ? 300 : 20); n > 0; --n) text += kCharacters[Below(std::size(kCharacters))];
    return text;
  }

  absl::Cord Chunked(std::string_view bytes) {
    const size_t size_max = OneIn(2) ? 8 : 2000;
    absl::Cord cord;
    while (!bytes.empty()) {
      const size_t n = std::min(bytes.size(), Below(size_max) + 1);
      PrependChunk(bytes.substr(bytes.size() - n), &cord);
      bytes.remove_suffix(n);
    }
    return cord;
  }

  // `bytes` cut off, with bytes changed, or with others put in.
  std::string Damaged(std::string bytes) {
    switch (Below(3)) {
      case 0:
        bytes.resize(Below(bytes.size() + 1));
        break;
      case 1:
        for (size_t n = Below(4) + 1; n > 0 && !bytes.empty(); --n) bytes[Below(bytes.size())] = Bytes(1)[0];
        break;
      case 2:
        bytes.insert(Below(bytes.size() + 1), Bytes(Below(12)));
        break;
    }
    return bytes;
  }

 private:
  int seed_;
  std::mt19937_64 engine_;
  std::unique_ptr<testing::ScopedTrace> trace_;
};

}  // namespace millrace
