// Payloads are read from files that may or may not be in memory, in many pieces, and only so many stay open.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "storage/open_files.h"
#include "tests/storage/temp_dir.h"

namespace millrace::storage {
namespace {

class OpenFilesTest : public testing::Test {
 protected:
  OpenFilesTest() {
    std::cout << "seed " << seed_ << "\n";
    for (char& byte : content_) byte = static_cast<char>(random_());
    std::ofstream(path_, std::ios::binary) << content_;
  }

  // Out of the page cache.
  void Evict() const {
    const int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_EQ(fsync(fd), 0);
    ASSERT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    close(fd);
  }
  // `bytes` from `offset` on, in pieces of `piece_bytes`.
  rocksdb::IOStatus Read(const OpenFiles::File& file, size_t offset, size_t bytes, size_t piece_bytes,
                         std::string* out) const {
    out->assign(bytes, '\0');
    std::vector<iovec> pieces;
    for (size_t at = 0; at < bytes; at += piece_bytes) {
      pieces.push_back({out->data() + at, std::min(piece_bytes, bytes - at)});
    }
    return file.Read(offset, pieces);
  }

  const uint64_t seed_ = std::random_device{}();
  std::mt19937_64 random_{seed_};
  const TempDir directory_;
  const std::string path_ = directory_ / "000007.payloads";
  std::string content_ = std::string(3'000'000, '\0');
};

TEST_F(OpenFilesTest, ReadsWhatIsInMemoryAndWhatIsNotInAnyPieces) {
  OpenFiles files(2);
  std::shared_ptr<const OpenFiles::File> file;
  ASSERT_TRUE(files.Get(7, path_, &file).ok());
  std::string out;
  for (int i = 0; i < 300; ++i) {
    if (i % 3 == 0) {
      ASSERT_NO_FATAL_FAILURE(Evict());
    }
    const size_t offset = random_() % content_.size();
    const size_t bytes = 1 + random_() % (content_.size() - offset);
    // The kernel takes 1,024 pieces at most.
    const size_t piece = 1 + random_() % (i % 2 == 0 ? 1'000 : 300'000);
    ASSERT_TRUE(Read(*file, offset, bytes, piece, &out).ok());
    ASSERT_TRUE(out == content_.substr(offset, bytes)) << bytes << " at " << offset << " in pieces of " << piece;
  }
}

TEST_F(OpenFilesTest, AFileThatEndsEarlyIsDamage) {
  OpenFiles files(2);
  std::shared_ptr<const OpenFiles::File> file;
  ASSERT_TRUE(files.Get(7, path_, &file).ok());
  std::string out;
  EXPECT_TRUE(Read(*file, 2'999'999, 1, 1, &out).ok());
  EXPECT_TRUE(Read(*file, 2'900'000, 200'000, 50'000, &out).IsCorruption());
  ASSERT_NO_FATAL_FAILURE(Evict());
  EXPECT_TRUE(Read(*file, 2'900'000, 200'000, 50'000, &out).IsCorruption());
  EXPECT_TRUE(Read(*file, 3'000'000, 1, 1, &out).IsCorruption());
}

TEST_F(OpenFilesTest, KeepsThoseUsedLastAndForgetsWhatGoes) {
  OpenFiles files(2);
  std::shared_ptr<const OpenFiles::File> first, other;
  ASSERT_TRUE(files.Get(7, path_, &first).ok());
  ASSERT_TRUE(files.Get(8, path_, &other).ok());
  EXPECT_EQ(files.Find(7), first);
  ASSERT_TRUE(files.Get(9, path_, &other).ok());
  EXPECT_EQ(files.Find(8), nullptr);
  EXPECT_EQ(files.Find(7), first);
  files.Forget(7);
  EXPECT_EQ(files.Find(7), nullptr);
  std::string out;
  EXPECT_TRUE(Read(*first, 0, 1, 1, &out).ok()) << "who has it reads on";
  EXPECT_TRUE(files.Get(10, directory_ / "000010.payloads", &other).IsPathNotFound());
}

}  // namespace
}  // namespace millrace::storage
