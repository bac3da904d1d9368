// Payloads lie in the write-ahead log's files, and nowhere else: everything reads back, from the files that it should lie in, and
// these go when they should.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "proto/wire/crc32c.h"
#include "raft/damage.h"
#include "storage/wal_format.h"
#include "storage/wal_payloads.h"
#include "tests/storage/faulty_file_system.h"
#include "tests/storage/store_fixture.h"

namespace millrace::storage {
namespace {

using raft::Entry;
using raft::LogIndex;
using raft::Offset;
using testing::HasSubstr;

// Entries of one record each: entry i holds offset i - 1.
class PayloadsTest : public StoreTest {
 protected:
  PayloadsTest() {
    std::cout << "seed " << seed_ << "\n";
    options_.cache_bytes = 0;  // what is read comes from the files
    options_.memory_bytes = 64 << 20;
    options_.reclaim_delay = std::chrono::milliseconds(0);
  }

  Entry Next(size_t bytes) {
    Entry entry;
    entry.header.record_count = 1;
    entry.header.index = LogIndex(static_cast<int64_t>(written_.size()) + 1);
    entry.header.base_offset = Offset(static_cast<int64_t>(written_.size()));
    std::string payload(bytes, '\0');
    for (size_t i = 0; i < bytes; i += 8) {
      const uint64_t word = random_();
      std::memcpy(payload.data() + i, &word, std::min<size_t>(8, bytes - i));
    }
    entry.payload = absl::Cord(std::move(payload));
    entry.header.payload_crc = Crc32c(0, entry.payload);
    written_.push_back(entry.payload);
    return entry;
  }
  void Append(size_t bytes) {
    round_->Append(group_, Next(bytes));
    ASSERT_TRUE(ThroughStalls(*store_, [this] { return store_->Write(*round_); }).ok());
  }
  void AppendMany(int count, size_t bytes) {
    for (int i = 0; i < count; ++i) Append(bytes);
  }
  // From the log start on.
  void CheckAll() {
    const int64_t start = State().log_start.value();
    const auto entries = store_->Read(group_, State().log_start, State().log_end, kAll);
    ASSERT_TRUE(entries.ok()) << entries.status();
    ASSERT_EQ(entries->size(), written_.size() - start);
    for (size_t i = 0; i < entries->size(); ++i) ASSERT_TRUE((*entries)[i].payload == written_[start + i]) << i;
  }
  void Close() {
    round_.reset();
    ASSERT_TRUE(store_->Close().ok());
    store_.reset();
  }
  // What was written lies in tables then: closing flushes.
  void CloseAndOpen() {
    Close();
    OpenStore();
  }
  // As kill -9 leaves it.
  void KillAndOpen() {
    std::filesystem::copy(options_.directory, directory_ / "killed");
    round_.reset();
    store_.reset();
    std::filesystem::remove_all(options_.directory);
    std::filesystem::rename(directory_ / "killed", options_.directory);
    OpenStore();
  }

  std::vector<std::string> Files(const std::string& extension) const {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(options_.directory)) {
      if (entry.path().extension() == extension) paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    return paths;
  }
  uint64_t Bytes(const std::string& extension) const {
    uint64_t bytes = 0;
    for (const std::string& path : Files(extension)) bytes += std::filesystem::file_size(path);
    return bytes;
  }
  // The test's time-out ends it if there never are so few.
  void AwaitFiles(const std::string& extension, size_t count) const {
    while (Files(extension).size() > count) std::this_thread::yield();
  }

  const uint64_t seed_ = std::random_device{}();
  std::mt19937_64 random_{seed_};
  std::vector<absl::Cord> written_;  // payloads by offset
};

TEST_F(PayloadsTest, LieInWalFilesOnly) {
  OpenStore();
  AppendMany(50, 100'000);
  AppendMany(50, 1'000);
  CheckAll();
  CloseAndOpen();
  CheckAll();
  EXPECT_EQ(Files(".values").size(), 1u);
  EXPECT_GT(Bytes(".values"), 5'000'000u);
  EXPECT_LT(Bytes(".sst"), 150'000u);
  EXPECT_TRUE(Files(".blob").empty());
}

TEST_F(PayloadsTest, ReadBackFromManyFilesAndAfterRestarts) {
  options_.memory_bytes = 3 << 20;
  OpenStore();
  for (int restarts = 0; restarts < 6; ++restarts) {
    for (int i = 0; i < 100; ++i) Append(random_() % (random_() % 20 == 0 ? 300'000 : 5'000));
    CheckAll();
    restarts % 2 == 0 ? CloseAndOpen() : KillAndOpen();
    CheckAll();
  }
  EXPECT_GT(Files(".values").size(), 2u);
}

TEST_F(PayloadsTest, SeveralOfOneRoundReadBack) {
  OpenStore();
  for (int i = 0; i < 20; ++i) round_->Append(group_, Next(1 + random_() % 50'000));
  ASSERT_TRUE(store_->Write(*round_).ok());
  CheckAll();
  KillAndOpen();
  CheckAll();
}

TEST_F(PayloadsTest, AreNotWrittenAgainWhenTheyAreReplayed) {
  OpenStore();
  AppendMany(20, 100'000);
  CloseAndOpen();
  AppendMany(20, 100'000);
  KillAndOpen();
  CheckAll();
  EXPECT_EQ(Files(".values").size(), 2u);
  EXPECT_TRUE(Files(".blob").empty());
  CloseAndOpen();
  CheckAll();
}

// A record can begin at any place of the log's blocks of 32 KiB, also where no header fits any more, or nothing but one.
TEST_F(PayloadsTest, ReadBackWhereverInABlockTheirRecordBegins) {
  constexpr uint64_t kEnds = 40;  // so many bytes before a block's end, and fewer
  OpenStore();
  const auto left_in_block = [this] { return kWalBlockBytes - store_->Stats().wal_file_bytes % kWalBlockBytes; };
  const auto bytes_of = [&](size_t payload) {
    const uint64_t before = store_->Stats().wal_file_bytes;
    Append(payload);
    return store_->Stats().wal_file_bytes - before;
  };
  std::set<uint64_t> ends;
  Append(200);  // also begins a segment
  const uint64_t around = bytes_of(200) - 200;
  for (uint64_t wanted = 0; wanted < kEnds; ++wanted) {
    if (left_in_block() < 2'000) Append(5'000);
    uint64_t filler = left_in_block() - wanted - around;
    // A larger payload has longer lengths before it, and one that is placed has a place.
    while (filler > 900) {
      Append(std::min<uint64_t>(filler / 2, 900));
      filler = left_in_block() - wanted - around;
    }
    Append(filler);
    ends.insert(left_in_block());
    Append(70'000);
  }
  EXPECT_GE(ends.size(), kEnds - 5) << "now and then an interval is written with an entry";
  EXPECT_TRUE(ends.contains(kWalHeaderBytes));
  EXPECT_TRUE(ends.contains(kWalHeaderBytes - 1));
  CheckAll();
  KillAndOpen();
  CheckAll();
}

TEST_F(PayloadsTest, AFileGoesWithTheLastTableThatRefersToIt) {
  OpenStore({.bytes_max = 1'000'000});
  AppendMany(20, 100'000);
  CloseAndOpen();
  AppendMany(20, 100'000);
  CloseAndOpen();
  ASSERT_EQ(Files(".values").size(), 2u);
  ASSERT_TRUE(SetLogStart(20).ok());
  AwaitFiles(".values", 1);
  CheckAll();
  ASSERT_TRUE(SetLogStart(40).ok());
  AwaitFiles(".values", 0);
}

TEST_F(PayloadsTest, WhatNothingRefersToGoesAtTheStart) {
  OpenStore();
  AppendMany(20, 100'000);
  Close();
  const std::string orphan = options_.directory + "/000001.values";
  std::ofstream(orphan) << "left by a process that was killed between two deletions";
  std::ofstream(options_.directory + "/notes.values") << "not ours";
  OpenStore();
  EXPECT_FALSE(std::filesystem::exists(orphan));
  EXPECT_TRUE(std::filesystem::exists(options_.directory + "/notes.values"));
  CheckAll();
}

// Most of this file is payloads that lie behind their headers: the others are written again, and it goes.
TEST_F(PayloadsTest, AFewKeepNoFile) {
  OpenStore();
  AppendMany(4'000, 500);
  AppendMany(10, 100'000);
  CloseAndOpen();
  CheckAll();
  EXPECT_TRUE(Files(".values").empty());
  EXPECT_GT(Bytes(".blob"), 1'000'000u);
  AppendMany(10, 100'000);
  CloseAndOpen();
  CheckAll();
  EXPECT_EQ(Files(".values").size(), 1u);
}

TEST_F(PayloadsTest, WhatIsLostCostsItselfOnly) {
  OpenStore();
  AppendMany(50, 100'000);
  CloseAndOpen();
  AppendMany(1, 100'000);
  Close();
  const std::vector<std::string> files = Files(".values");
  ASSERT_EQ(files.size(), 2u);
  std::filesystem::resize_file(files[0], std::filesystem::file_size(files[0]) - 150'000);
  OpenStore();
  EXPECT_EQ(store_->Read(group_, Offset(0), Offset(51), kAll).value().size(), 48u);
  for (int64_t offset : {48, 49}) {
    const absl::Status lost = store_->Read(group_, Offset(offset), Offset(51), kAll).status();
    EXPECT_EQ(raft::DamagedOffsets(lost), (raft::OffsetRange{Offset(offset), Offset(offset + 1)})) << lost;
  }
  EXPECT_EQ(store_->Read(group_, Offset(50), Offset(51), kAll).value().at(0).payload, written_[50]);
}

// Writes other bytes to WAL files than it was given, from some place on.
class MisplacingFileSystem : public rocksdb::FileSystemWrapper {
 public:
  MisplacingFileSystem() : rocksdb::FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "misplacing"; }
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* dbg) override {
    rocksdb::IOStatus status = target()->NewWritableFile(path, options, file, dbg);
    if (status.ok() && KindOfFile(path) == FileKind::kWal) *file = std::make_unique<File>(std::move(*file));
    return status;
  }

 private:
  class File : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    explicit File(std::unique_ptr<rocksdb::FSWritableFile> file) : FSWritableFileOwnerWrapper(std::move(file)) {}
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* dbg) override {
      const rocksdb::IOStatus status = target()->Append("x", options, dbg);
      return status.ok() ? target()->Append(data, options, dbg) : status;
    }
  };
};

// As a RocksDB with another format of the log would.
TEST_F(PayloadsTest, ALogThatIsNotWhereItShouldBeStopsTheStoreAtTheFirstWrite) {
  options_.file_system = std::make_shared<MisplacingFileSystem>();
  OpenStore();
  round_->Append(group_, Next(100'000));
  const absl::Status written = store_->Write(*round_);
  EXPECT_TRUE(absl::IsInternal(written)) << written;
  EXPECT_THAT(std::string(written.message()), HasSubstr("does not hold what was just written"));
}

class PayloadFaultsTest : public PayloadsTest {
 protected:
  PayloadFaultsTest() { options_.file_system = disk_; }

  // Flushes.
  absl::Status TryToClose() {
    round_.reset();
    absl::Status closed = store_->Close();
    store_.reset();
    return closed;
  }

  const std::shared_ptr<FaultyFileSystem> disk_ = std::make_shared<FaultyFileSystem>();
};

// Nothing had synced the WAL: no table may rest on it before that is done, and none at all if it fails.
TEST_F(PayloadFaultsTest, AFlushFailsIfTheWalCannotBeSynced) {
  options_.memory_bytes = 6 << 20;
  OpenStore();
  AppendMany(10, 100'000);
  disk_->FailSyncs(FileKind::kWal);
  absl::Status status;
  for (int i = 0; i < 1000 && status.ok(); ++i) {
    round_->Append(group_, Next(100'000));
    status = ThroughStalls(*store_, [this] { return store_->Write(*round_); });
  }
  EXPECT_THAT(std::string(status.message()), HasSubstr("lost a page"));
  disk_->Mend();
  EXPECT_TRUE(Files(".values").empty());
  written_.resize(State().log_end.value());
  KillAndOpen();
  CheckAll();
}

TEST_F(PayloadFaultsTest, ATableThatCannotBeSyncedKeepsNoFile) {
  OpenStore();
  AppendMany(10, 100'000);
  disk_->FailSyncs(FileKind::kSst);
  EXPECT_FALSE(TryToClose().ok());
  disk_->Mend();
  OpenStore();
  CheckAll();
  EXPECT_EQ(Files(".values").size(), 1u);
}

// The kernel tells of lost pages once, and takes them for written from then on.
TEST(WalPayloads, AFailedSyncIsFinal) {
  const TempDir directory;
  FaultyFileSystem disk;
  std::unique_ptr<rocksdb::FSWritableFile> file;
  ASSERT_TRUE(disk.NewWritableFile(directory / "000007.log", {}, &file, nullptr).ok());
  WalPayloads payloads(directory.path(), disk);
  const auto writable = std::make_shared<WritableWal>(file.get());
  payloads.Begin(7, writable);
  writable->Wrote(100);
  rocksdb::IOStatus synced;
  disk.FailNextSync(FileKind::kWal);
  ASSERT_TRUE(writable->Sync(&synced));
  EXPECT_TRUE(synced.IsIOError());
  EXPECT_TRUE(payloads.SyncClosed().ok()) << "it is being written";
  payloads.Begin(8, std::make_shared<WritableWal>(nullptr));
  EXPECT_TRUE(payloads.SyncClosed().IsIOError());
  writable->Closing();
  EXPECT_TRUE(payloads.SyncClosed().IsIOError());
}

TEST(WalFormat, PlacesOfBytesGoOnBehindTheHeadersOfBlocks) {
  EXPECT_EQ(WalRecordBegin(0), 7u);
  EXPECT_EQ(WalRecordBegin(kWalBlockBytes - 8), kWalBlockBytes - 1);
  EXPECT_EQ(WalRecordBegin(kWalBlockBytes - 7), kWalBlockBytes + 7);  // a fragment without data
  EXPECT_EQ(WalRecordBegin(kWalBlockBytes - 6), kWalBlockBytes + 7);  // no header fits
  EXPECT_EQ(WalRecordBegin(kWalBlockBytes), kWalBlockBytes + 7);
  EXPECT_EQ(WalPosition(7, kWalBlockBytes - 8), kWalBlockBytes - 1);
  EXPECT_EQ(WalPosition(7, kWalBlockBytes - 7), kWalBlockBytes + 7);
  EXPECT_EQ(WalPosition(7, 2 * (kWalBlockBytes - 7)), 2 * kWalBlockBytes + 7);
}

TEST(WalFormat, LengthsAreOfSevenBitsAByte) {
  for (const uint32_t value : {0u, 1u, 127u, 128u, 16'383u, 16'384u, 65'536u, 0xffffffffu}) {
    char bytes[5];
    const std::string written(bytes, PutVarint32(value, bytes));
    std::string_view rest = written;
    EXPECT_EQ(TakeVarint32(rest), value);
    EXPECT_TRUE(rest.empty());
    rest = std::string_view(written).substr(0, written.size() - 1);
    EXPECT_EQ(TakeVarint32(rest), std::nullopt);
  }
}

}  // namespace
}  // namespace millrace::storage
