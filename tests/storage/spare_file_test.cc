#include "storage/spare_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "tests/storage/allocation.h"
#include "tests/storage/temp_dir.h"

namespace millrace::storage {
namespace {

constexpr uint64_t kBytes = 1 << 20;

class SpareFileTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(CanAllocate(directory_.path())) << "this needs a file system with fallocate(); set TMPDIR";
  }
  // Once it is there.
  static void Take(SpareFile& spare, const std::string& path) {
    while (!spare.TakeAs(path)) std::this_thread::yield();
  }

  const TempDir directory_;
  const std::string spare_path_ = directory_ / "spare";
  const std::string path_ = directory_ / "file";
};

TEST_F(SpareFileTest, IsTakenOnceItIsThereEmptyAndWithRoom) {
  SpareFile spare(spare_path_);
  EXPECT_FALSE(spare.TakeAs(path_));
  EXPECT_FALSE(std::filesystem::exists(path_));
  spare.Prepare(kBytes);
  Take(spare, path_);
  EXPECT_EQ(std::filesystem::file_size(path_), 0);
  EXPECT_GE(AllocatedBytes(path_), kBytes);
  EXPECT_FALSE(std::filesystem::exists(spare_path_));
  EXPECT_FALSE(spare.TakeAs(directory_ / "another"));
}

TEST_F(SpareFileTest, AnotherOneMayFollow) {
  SpareFile spare(spare_path_);
  for (int i = 0; i < 10; ++i) {
    spare.Prepare(kBytes);
    spare.Prepare(kBytes);  // has nothing to do
    const std::string path = path_ + std::to_string(i);
    Take(spare, path);
    EXPECT_TRUE(std::filesystem::exists(path));
  }
}

TEST_F(SpareFileTest, GivesItsRoomBackWhenAsked) {
  SpareFile spare(spare_path_);
  EXPECT_FALSE(spare.Drop());
  spare.Prepare(kBytes);
  while (!spare.Drop()) std::this_thread::yield();
  EXPECT_FALSE(std::filesystem::exists(spare_path_));
  EXPECT_FALSE(spare.TakeAs(path_));
  spare.Prepare(kBytes);
  Take(spare, path_);
}

TEST_F(SpareFileTest, GoesWithItsOwner) {
  {
    SpareFile spare(spare_path_);
    spare.Prepare(kBytes);
    while (!std::filesystem::exists(spare_path_)) std::this_thread::yield();
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

// What bears its name may have content: a file that was renamed under another owner's hands.
TEST_F(SpareFileTest, NeverEmptiesAFile) {
  std::ofstream(spare_path_) << "content";
  std::filesystem::create_hard_link(spare_path_, directory_ / "same");
  SpareFile spare(spare_path_);
  spare.Prepare(kBytes);
  Take(spare, path_);
  EXPECT_EQ(std::filesystem::file_size(path_), 0);
  EXPECT_EQ(std::filesystem::file_size(directory_ / "same"), 7);
}

// The last room is for what is being written: the large one is given up, the small one made.
TEST_F(SpareFileTest, TakesNoLargeShareOfTheRoomLeft) {
  const uint64_t half = std::filesystem::space(directory_.path()).available / 2;
  {
    SpareFile spare(spare_path_);
    spare.Prepare(half);
    do {
      spare.Prepare(kBytes);
      std::this_thread::yield();
    } while (!spare.TakeAs(path_));
  }
  EXPECT_LT(AllocatedBytes(path_), half);
  EXPECT_FALSE(std::filesystem::exists(spare_path_));
}

}  // namespace
}  // namespace millrace::storage
