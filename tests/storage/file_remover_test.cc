// Goal: large files go a piece at a time, under a name of their own, and nobody's copy of them is touched.
//
// Method: a file system that notes what is done to it.

#include "storage/file_remover.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "storage/wal_file.h"
#include "tests/storage/temp_dir.h"

namespace millrace::storage {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class NotingFileSystem : public rocksdb::FileSystemWrapper {
 public:
  NotingFileSystem() : rocksdb::FileSystemWrapper(std::make_shared<WalFileSystem>(rocksdb::FileSystem::Default())) {}

  const char* Name() const override { return "noting"; }
  rocksdb::IOStatus Truncate(const std::string& path, size_t size, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* dbg) override {
    std::lock_guard lock(mutex_);
    cuts_.push_back(size);
    return target()->Truncate(path, size, options, dbg);
  }
  std::vector<size_t> cuts() {
    std::lock_guard lock(mutex_);
    return cuts_;
  }

 private:
  std::mutex mutex_;
  std::vector<size_t> cuts_;  // guarded by mutex_
};

class FileRemoverTest : public testing::Test {
 protected:
  std::string Make(const std::string& name, size_t bytes) const {
    std::ofstream(directory_ / name) << std::string(bytes, 'x');
    return directory_ / name;
  }
  void AwaitGone(const std::string& path) const {
    while (std::filesystem::exists(path)) std::this_thread::yield();
  }

  const TempDir directory_;
  NotingFileSystem files_;
  std::optional<FileRemover> remover_{std::in_place, files_, 1000};
};

TEST_F(FileRemoverTest, ALargeFileIsCutDownPieceByPiece) {
  const std::string path = Make("000123.payloads", 4500);
  ASSERT_TRUE(remover_->Remove(path).ok());
  EXPECT_FALSE(std::filesystem::exists(path)) << "its name is free at once";
  AwaitGone(path + ".removed");
  EXPECT_THAT(files_.cuts(), ElementsAre(3500, 2500, 1500, 500));
}

TEST_F(FileRemoverTest, ASmallOneGoesAtOnce) {
  const std::string path = Make("000123.payloads", 2000);
  ASSERT_TRUE(remover_->Remove(path).ok());
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_FALSE(std::filesystem::exists(path + ".removed"));
  EXPECT_THAT(files_.cuts(), IsEmpty());
  EXPECT_FALSE(remover_->Remove(path).ok());
}

TEST_F(FileRemoverTest, WhatIsLinkedElsewhereKeepsItsContentThere) {
  const std::string path = Make("000123.payloads", 4500);
  std::filesystem::create_hard_link(path, directory_ / "copy");
  ASSERT_TRUE(remover_->Remove(path).ok());
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_EQ(std::filesystem::file_size(directory_ / "copy"), 4500u);
  EXPECT_THAT(files_.cuts(), IsEmpty());
}

TEST_F(FileRemoverTest, TheNextOneFinishesWhatWasLeft) {
  const std::string path = Make("000123.payloads.removed", 2500);
  remover_->Resume(path);
  AwaitGone(path);
  EXPECT_THAT(files_.cuts(), ElementsAre(1500, 500));
}

}  // namespace
}  // namespace millrace::storage
