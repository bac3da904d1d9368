// Goal: whatever a crash leaves of the disk, no replica takes back what it said before: a vote, a term, an ack. Method: as
// crash_test.cc, but that Raft groups drive the store (driven_life.h), and what must be there is what they told others.
//
//     storage_driver_crash_test            // MILLRACE_SEED=7, MILLRACE_CRASH_IMAGES=10000
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/storage/crash_image.h"
#include "tests/storage/driven_life.h"
#include "tests/storage/image_check.h"
#include "tests/storage/recording_file_system.h"
#include "tests/storage/temp_dir.h"
#include "tests/storage/workload.h"

namespace millrace::storage {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr int kImages = 30;
#else
constexpr int kImages = 90;
#endif
constexpr int kImagesOfALife = 30;

uint64_t NumberFrom(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

class DriverCrashTest : public testing::Test {
 protected:
  DriverCrashTest() { std::cout << "seed " << seed_ << "\n"; }

  CrashImage DrawImage(const RecordedLife& life, Workload& draw) {
    constexpr Losses kLosses[] = {Losses::kNone, Losses::kAll, Losses::kInOrder, Losses::kMixed};
    return {.cut = life.begin + static_cast<size_t>(draw.UpTo(static_cast<int64_t>(life.log.size() - life.begin))),
            .losses = kLosses[draw.UpTo(3)],
            .seed = static_cast<uint64_t>(draw.UpTo(1 << 30))};
  }

  // The store first, by itself; then the replicas on a fresh copy of the same.
  absl::Status Check(const RecordedLife& life, const CrashImage& image, size_t* steps_lost) {
    const std::string boot_id = image.losses == Losses::kNone ? life.boot_id : "another";
    const std::string directory = directory_ / "image";
    const auto state = CheckImage(life, image, boot_id, directory);
    std::filesystem::remove_all(directory);
    if (!state.ok()) return state.status();
    *steps_lost = state->steps_lost;
    BuildImage(life.log, image, directory);
    absl::Status status = CheckReplicas(directory, boot_id, life.steps[state->step]);
    std::filesystem::remove_all(directory);
    return status;
  }

  RecordedLife Live(uint64_t seed, const std::shared_ptr<RecordingFileSystem>& files, const std::string& directory) {
    const RecordedLife life = LiveDriven({.directory = directory, .seed = seed}, files);
    std::filesystem::remove_all(directory);
    return life;
  }

  const uint64_t seed_ = NumberFrom("MILLRACE_SEED", std::random_device()() + uint64_t{1});
  TempDir directory_;
};

TEST_F(DriverCrashTest, NoReplicaTakesBackWhatItSaid) {
  const auto images = static_cast<int>(NumberFrom("MILLRACE_CRASH_IMAGES", kImages));
  Workload draw(seed_);
  int with_losses = 0;
  for (int done = 0; done < images;) {
    const std::string life_directory = directory_ / absl::StrCat("life-", done);
    const uint64_t seed = seed_ + static_cast<uint64_t>(done);
    const RecordedLife life = Live(seed, std::make_shared<RecordingFileSystem>(life_directory), life_directory);
    for (int i = 0; i < kImagesOfALife && done < images; ++i, ++done) {
      const CrashImage image = DrawImage(life, draw);
      size_t steps_lost = 0;
      const absl::Status status = Check(life, image, &steps_lost);
      ASSERT_TRUE(status.ok()) << status << "\nseed " << seed << " image " << image.ToString();
      with_losses += steps_lost > 0;
    }
  }
  std::cout << images << " images, " << with_losses << " of them without something that was written\n";
  EXPECT_GT(with_losses, 0);
}

TEST_F(DriverCrashTest, AMissingSyncIsSeen) {
  constexpr int kLives = 4;
  Workload draw(seed_);
  for (int i = 0; i < kLives; ++i) {
    const std::string life_directory = directory_ / absl::StrCat("life-", i);
    auto files = std::make_shared<RecordingFileSystem>(life_directory);
    files->SwallowSyncs(FileKind::kWal, /*from=*/100);
    const RecordedLife life = Live(seed_ + static_cast<uint64_t>(i), files, life_directory);
    for (int image_number = 0; image_number < 10; ++image_number) {
      CrashImage image = DrawImage(life, draw);
      image.losses = Losses::kAll;
      size_t steps_lost = 0;
      if (!Check(life, image, &steps_lost).ok()) return;
    }
  }
  FAIL() << "no image shows that syncs of the WAL are missing";
}

}  // namespace
}  // namespace millrace::storage
