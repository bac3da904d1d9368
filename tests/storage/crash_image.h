// A state that a crash could have left of a recorded directory: where it hit, and what survived of that which was not synced.
//
//     const CrashImage image = {.cut = 1234, .losses = Losses::kMixed, .seed = 7};
//     BuildImage(log, image, directory);       // `directory` is made
//
// What was synced is there, whatever the losses. The rest is decided per file and per name, so that files are out of order
// with each other; for one name, operations reach the directory in order, and a rename wholly or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tests/storage/disk_log.h"

namespace millrace::storage {

enum class Losses {
  kNone,     // the process died: everything written is there
  kAll,      // a power cut that takes all that is not synced
  kZeroes,   // names and lengths survive, contents are zeros
  kInOrder,  // the disk was some operations behind, the last write torn
  kMixed,    // each file and each name has its own fate: whole, a prefix, single blocks, its length only, or nothing.
             // Only the manifest has no gaps: storage/README.md says what RocksDB makes of them
  kAny,      // as kMixed, without that exception
};
inline constexpr int kLossesKinds = 6;

struct CrashImage {
  size_t cut = 0;  // operations of the log before the crash
  Losses losses = Losses::kNone;
  uint64_t seed = 0;  // of what losses leave to chance

  std::string ToString() const;  // "cut/losses/seed"
  static std::optional<CrashImage> Parse(std::string_view text);
};

void BuildImage(const DiskLog& log, const CrashImage& image, const std::string& directory);

}  // namespace millrace::storage
