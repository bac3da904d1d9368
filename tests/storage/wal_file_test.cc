// A record is in the file, whole, when the append that completes it returns; what RocksDB would have written is what lies there.
#include "storage/wal_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <random>
#include <string>

#include "storage/wal_format.h"
#include "tests/storage/allocation.h"
#include "tests/storage/temp_dir.h"

namespace millrace::storage {
namespace {

class WalFileTest : public testing::Test {
 protected:
  WalFileTest() { std::cout << "seed " << seed_ << "\n"; }

  void Open() {
    ASSERT_TRUE(files_.NewWritableFile(path_, {}, &file_, nullptr).ok());
    expected_.clear();
  }
  std::string Content() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  // As WritableFileWriter does: small pieces collect in a buffer of its own, which is used again, larger ones are handed over as
  // they lie.
  void Hand(const std::string& bytes) {
    expected_ += bytes;
    if (bytes.size() > kWalBufferBytes) {
      Drain();
      ASSERT_TRUE(file_->Append(bytes, {}, nullptr).ok());
      return;
    }
    if (buffer_.size() + bytes.size() > kWalBufferBytes) Drain();
    buffer_ += bytes;
  }
  void Drain() {
    if (!buffer_.empty()) {
      ASSERT_TRUE(file_->Append(buffer_, {}, nullptr).ok());
    }
    buffer_.assign(buffer_.size(), '#');  // what comes next is written over it
    buffer_.clear();
  }
  // As log::Writer does (db/log_writer.cc), but for the checksum.
  void AddRecord(const std::string& data) {
    size_t done = 0;
    do {
      const size_t left = kWalBlockBytes - expected_.size() % kWalBlockBytes;
      if (left < kWalHeaderBytes) {
        Hand(std::string(left, '\0'));
        continue;
      }
      const size_t size = std::min(data.size() - done, left - kWalHeaderBytes);
      const bool ends = done + size == data.size();
      std::string header(kWalHeaderBytes, 'c');
      header[4] = static_cast<char>(size);
      header[5] = static_cast<char>(size >> 8);
      header[6] = static_cast<char>(done == 0 ? (ends ? kFull : kFirst) : (ends ? kLast : kMiddle));
      Hand(header);
      pieces_.push_back(data.substr(done, size));
      if (size > 0) Hand(pieces_.back());
      done += size;
      if (ends) break;
    } while (true);
    Drain();
    pieces_.clear();
  }

  const uint64_t seed_ = std::random_device{}();
  std::mt19937_64 random_{seed_};
  const TempDir directory_;
  const std::string path_ = directory_ / "000007.log";
  WalFileSystem files_{rocksdb::FileSystem::Default()};
  std::unique_ptr<rocksdb::FSWritableFile> file_;
  std::string buffer_;
  std::deque<std::string> pieces_;  // of the record that is being added
  std::string expected_;
};

TEST_F(WalFileTest, HoldsEachRecordOnceItIsComplete) {
  Open();
  for (int i = 0; i < 500; ++i) {
    AddRecord(std::string(random_() % (i % 10 == 0 ? 300'000 : 5'000), static_cast<char>('a' + i % 26)));
    ASSERT_EQ(std::filesystem::file_size(path_), expected_.size()) << i;
  }
  EXPECT_TRUE(Content() == expected_);
  EXPECT_EQ(file_->GetFileSize({}, nullptr), expected_.size());
}

// A record may be larger than what one call to the kernel takes.
TEST_F(WalFileTest, HoldsRecordsOfManyFragments) {
  Open();
  AddRecord(std::string(40 << 20, 'x'));
  AddRecord("y");
  EXPECT_TRUE(Content() == expected_);
}

// The write of such a record has failed, and what it was written from may be gone.
TEST_F(WalFileTest, DropsARecordThatIsNotCompleteWhenItIsClosed) {
  Open();
  AddRecord("whole");
  ASSERT_TRUE(file_->Append(std::string(5'000, 'x'), {}, nullptr).ok());
  ASSERT_TRUE(file_->Close({}, nullptr).ok());
  EXPECT_TRUE(Content() == expected_);
}

TEST_F(WalFileTest, NextOneHasTheBlocksThatWereAskedForAndGivesBackTheRest) {
  ASSERT_TRUE(CanAllocate(directory_.path())) << "this needs a file system with fallocate(); set TMPDIR";
  constexpr uint64_t kAhead = 8 << 20;
  Open();
  ASSERT_TRUE(file_->Allocate(0, kAhead, {}, nullptr).ok());
  AddRecord(std::string(kAhead / 8, 'x'));
  EXPECT_TRUE(Content() == expected_);
  do {  // until it has been made
    std::filesystem::remove(path_);
    Open();
  } while (AllocatedBytes(path_) == 0);
  EXPECT_GE(AllocatedBytes(path_), kAhead);
  AddRecord(std::string(10'000, 'y'));
  EXPECT_TRUE(Content() == expected_);
  ASSERT_TRUE(file_->Sync({}, nullptr).ok());
  ASSERT_TRUE(file_->Close({}, nullptr).ok());
  EXPECT_TRUE(Content() == expected_);
  EXPECT_LT(AllocatedBytes(path_), kAhead / 8);
}

// The file may not grow beyond some size, in the middle of a record.
TEST_F(WalFileTest, AWriteThatFailsHalfWayIsTold) {
  Open();
  AddRecord(std::string(20'000, 'x'));
  const std::string before = expected_;
  constexpr rlim_t kLimit = 30'000;
  std::string record(kWalHeaderBytes + 12'000, 'y');  // ends in the same block
  record[4] = static_cast<char>(12'000 & 0xff);
  record[5] = static_cast<char>(12'000 >> 8);
  record[6] = kFull;

  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit lower = {.rlim_cur = kLimit, .rlim_max = limit.rlim_max};
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &lower), 0);
  const rocksdb::IOStatus status = file_->Append(record, {}, nullptr);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  signal(SIGXFSZ, handler);

  EXPECT_TRUE(status.IsIOError()) << status.ToString();
  EXPECT_NE(status.ToString().find(path_), std::string::npos) << status.ToString();
  EXPECT_EQ(Content(), before + record.substr(0, kLimit - before.size()));
}

TEST_F(WalFileTest, FailuresNameTheFile) {
  const rocksdb::IOStatus missing = files_.NewWritableFile(directory_ / "none/000007.log", {}, &file_, nullptr);
  EXPECT_TRUE(missing.IsIOError());
  EXPECT_NE(missing.ToString().find("none/000007.log"), std::string::npos) << missing.ToString();
}

}  // namespace
}  // namespace millrace::storage
