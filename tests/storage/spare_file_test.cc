#include "storage/spare_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/storage/temp_dir.h"

namespace millrace::storage {
namespace {

constexpr uint64_t kBytes = 1 << 20;

class SpareFileTest : public testing::Test {
 protected:
  const TempDir directory_;
  const std::string spare_path_ = directory_ / "spare";
  const std::string path_ = directory_ / "file";
};

TEST_F(SpareFileTest, IsTakenOnceItIsThereEmptyAndWithRoom) {
  SpareFile spare(spare_path_);
  EXPECT_FALSE(spare.TakeAs(path_));
  EXPECT_FALSE(std::filesystem::exists(path_));
  spare.Prepare(kBytes);
  while (!spare.TakeAs(path_)) {
  }
  struct stat status {};
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_size, 0);
  EXPECT_GE(static_cast<uint64_t>(status.st_blocks) * 512, kBytes);
  EXPECT_FALSE(std::filesystem::exists(spare_path_));
  EXPECT_FALSE(spare.TakeAs(directory_ / "another"));
}

TEST_F(SpareFileTest, AnotherOneMayFollow) {
  SpareFile spare(spare_path_);
  for (int i = 0; i < 10; ++i) {
    spare.Prepare(kBytes);
    spare.Prepare(kBytes);  // has nothing to do
    const std::string path = path_ + std::to_string(i);
    while (!spare.TakeAs(path)) {
    }
    EXPECT_TRUE(std::filesystem::exists(path));
  }
}

TEST_F(SpareFileTest, GoesWithItsOwner) {
  {
    SpareFile spare(spare_path_);
    spare.Prepare(kBytes);
    while (!std::filesystem::exists(spare_path_)) {
    }
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

// Its owner was killed; what is in it, if anything, means nothing.
TEST_F(SpareFileTest, WhatWasLeftIsNotTaken) {
  std::ofstream(spare_path_) << "left";
  SpareFile spare(spare_path_);
  EXPECT_FALSE(spare.TakeAs(path_));
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

// The last room is for what is being written: the large one is given up, the small one made.
TEST_F(SpareFileTest, TakesNoLargeShareOfTheRoomLeft) {
  const uint64_t half = std::filesystem::space(directory_.path()).available / 2;
  SpareFile spare(spare_path_);
  spare.Prepare(half);
  do {
    spare.Prepare(kBytes);
  } while (!spare.TakeAs(path_));
  struct stat status {};
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_LT(static_cast<uint64_t>(status.st_blocks) * 512, half);
}

TEST_F(SpareFileTest, IsNotThereWithoutRoom) {
  {
    SpareFile spare(spare_path_);
    spare.Prepare(uint64_t{1} << 62);
    EXPECT_FALSE(spare.TakeAs(path_));
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

}  // namespace
}  // namespace millrace::storage
