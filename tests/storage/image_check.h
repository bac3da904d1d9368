// Opens what a crash left, and holds it against what the store had been told and had promised.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "tests/storage/crash_image.h"
#include "tests/storage/recorded_life.h"

namespace millrace::storage {

struct ImageState {
  size_t step;        // of the life: what the image holds
  size_t steps_lost;  // begun before the crash, but not in the image
  bool os_crashed;
  bool reclaimed;  // removed logs were left to be compacted
};

// Builds the image in `directory`, which must not exist, and uses it: what is found is the state after one of the steps that
// it may be, the marks say what happened, a second start finds the same, what is then written is there at the third one, and
// at the fourth, once what removed logs left was compacted (that it is gone is space_test's matter).
// `boot_id`: of the machine after the crash. Not OK: what is wrong.
absl::StatusOr<ImageState> CheckImage(const RecordedLife& life, const CrashImage& image, const std::string& boot_id,
                                      const std::string& directory);

}  // namespace millrace::storage
