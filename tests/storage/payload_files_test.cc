// The files in which payloads lie, without a RocksDB: which stay, under which name, and what of them counts as alive.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "storage/payload_files.h"
#include "storage/payload_tables.h"
#include "storage/wal_format.h"
#include "tests/storage/faulty_file_system.h"
#include "tests/storage/temp_dir.h"

namespace millrace::storage {
namespace {

class WalFilesTest : public testing::Test {
 protected:
  WalFilesTest() : payloads_(directory_.path(), *files_) {}

  void Make(const std::string& name, const std::string& content) { std::ofstream(directory_ / name) << content; }
  std::string Read(const std::string& name) {
    std::ifstream in(directory_ / name);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  bool Exists(const std::string& name) { return std::filesystem::exists(directory_ / name); }

  const TempDir directory_;
  const std::shared_ptr<rocksdb::FileSystem> files_ = rocksdb::FileSystem::Default();
  PayloadFiles payloads_;
};

TEST_F(WalFilesTest, AStrayLogReplacesNoKeptFile) {
  Make("000007.payloads", "kept");
  Make("000007.log", "");
  ASSERT_TRUE(payloads_.Delete(7).ok());  // as RocksDB does when it opens
  payloads_.Pin(9, {{7, 1}});
  ASSERT_TRUE(payloads_.Opened().ok());
  EXPECT_EQ(Read("000007.payloads"), "kept");
  EXPECT_FALSE(Exists("000007.log"));
  Make("000007.log", "restored by hand");
  ASSERT_TRUE(payloads_.Delete(7).ok());
  EXPECT_EQ(Read("000007.payloads"), "kept");
  payloads_.Unpin(9);
  EXPECT_FALSE(Exists("000007.payloads"));
}

TEST_F(WalFilesTest, WhatHasLeftIsNotSyncedUnderItsOldName) {
  Make("000007.log", "replayed");
  payloads_.Replay(7, 8);
  payloads_.Pin(9, {{7, 1}});
  ASSERT_TRUE(payloads_.Delete(7).ok());
  ASSERT_TRUE(payloads_.SyncReferenced().ok());
  EXPECT_FALSE(Exists("000007.log"));
  EXPECT_EQ(Read("000007.payloads"), "replayed");
}

// A compaction can end while the store is being opened, between the look at the tables there and their pins.
TEST_F(WalFilesTest, ATableThatIsGonePinsNothing) {
  Make("000007.payloads", "kept");
  payloads_.Unpin(9);
  payloads_.Pin(9, {{7, 1}});
  ASSERT_TRUE(payloads_.Opened().ok());
  EXPECT_FALSE(Exists("000007.payloads"));
}

// While a compaction runs there are two tables that refer to the same payloads.
TEST_F(WalFilesTest, WhatATableIsMadeOfCountsUntilItTakesItsPlace) {
  Make("000007.payloads", std::string(100, 'p'));
  payloads_.Pin(1, {{7, 100}});
  ASSERT_TRUE(payloads_.Opened().ok());
  payloads_.Pin(2, {{7, 60}}, false);
  payloads_.Pin(3, {{7, 60}}, false);
  EXPECT_EQ(payloads_.ReferencedBytes(7), 100u);
  payloads_.Unpin(3);  // its compaction failed
  EXPECT_EQ(payloads_.ReferencedBytes(7), 100u);
  payloads_.Replace({1}, {2});
  EXPECT_EQ(payloads_.ReferencedBytes(7), 60u);
  EXPECT_EQ(payloads_.space().dead, 40u);
  payloads_.Unpin(1);
  payloads_.Replace({2}, {2});  // only moved to another level
  EXPECT_EQ(payloads_.ReferencedBytes(7), 60u);
  payloads_.Replace({2}, {});
  EXPECT_EQ(payloads_.space().dead, 0u) << "it goes";
  EXPECT_TRUE(Exists("000007.payloads")) << "somebody may still read the table";
  payloads_.Unpin(2);
  EXPECT_FALSE(Exists("000007.payloads"));
}

TEST_F(WalFilesTest, ATableThatWasNotFinishedPinsNothing) {
  Make("000007.log", "written");
  ASSERT_TRUE(payloads_.Opened().ok());
  PayloadTables tables(payloads_, 0, true, nullptr);
  rocksdb::TableFileCreationInfo info;
  info.file_path = directory_ / "000009.sst";
  info.table_properties.user_collected_properties["millrace.payloads"] =
      std::string("\x07\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 16);
  info.status = rocksdb::Status::IOError("no space");
  tables.OnTableFileCreated(info);
  ASSERT_TRUE(payloads_.Delete(7).ok());
  EXPECT_FALSE(Exists("000007.log"));
  EXPECT_FALSE(Exists("000007.payloads"));
  Make("000008.log", "written");
  info.table_properties.user_collected_properties["millrace.payloads"][0] = 8;
  info.status = rocksdb::Status::OK();
  tables.OnTableFileCreated(info);
  ASSERT_TRUE(payloads_.Delete(8).ok());
  EXPECT_TRUE(Exists("000008.payloads"));
}

// The kernel tells of lost pages once, and takes them for written from then on.
TEST(PayloadFiles, AFailedSyncIsFinal) {
  const TempDir directory;
  FaultyFileSystem disk;
  std::unique_ptr<rocksdb::FSWritableFile> file;
  ASSERT_TRUE(disk.NewWritableFile(directory / "000007.log", {}, &file, nullptr).ok());
  PayloadFiles payloads(directory.path(), disk);
  const auto writable = std::make_shared<SharedFile>(file.get());
  payloads.Begin(7, writable);
  writable->Wrote(100);
  rocksdb::IOStatus synced;
  disk.FailNextSync(FileKind::kWal);
  ASSERT_TRUE(writable->Sync(&synced));
  EXPECT_TRUE(synced.IsIOError());
  EXPECT_TRUE(payloads.SyncReferenced().ok()) << "it is being written";
  payloads.Begin(8, std::make_shared<SharedFile>(nullptr));
  EXPECT_TRUE(payloads.SyncReferenced().IsIOError());
  writable->Closing();
  EXPECT_TRUE(payloads.SyncReferenced().IsIOError());
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

}  // namespace
}  // namespace millrace::storage
