// Payloads lie in the write-ahead log's files, and nowhere else: everything reads back, from the files that it should lie in, and
// these go when they should.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "raft/damage.h"
#include "storage/database.h"
#include "storage/log_editor.h"
#include "storage/log_reader.h"
#include "storage/rocks_util.h"
#include "tests/storage/faulty_file_system.h"
#include "tests/storage/payloads_fixture.h"

namespace millrace::storage {
namespace {

using raft::Entry;
using raft::LogIndex;
using raft::Offset;
using testing::HasSubstr;

TEST_F(PayloadsTest, LieInWalFilesOnly) {
  OpenStore();
  AppendMany(50, 100'000);
  AppendMany(50, 1'000);
  CheckAll();
  CloseAndOpen();
  CheckAll();
  AwaitFiles(".payloads", 1);
  EXPECT_GT(Bytes(".payloads"), 5'000'000u);
  EXPECT_LT(Bytes(".sst"), 150'000u);
  EXPECT_TRUE(Files(".moved").empty());
}

TEST_F(PayloadsTest, ReadBackFromManyFilesAndAfterRestarts) {
  options_.memory_bytes = 3 << 20;
  OpenStore();
  for (int restarts = 0; restarts < 6; ++restarts) {
    for (int i = 0; i < 100; ++i) Append(random_() % (random_() % 20 == 0 ? 300'000 : 9'000));
    CheckAll();
    restarts % 2 == 0 ? CloseAndOpen() : KillAndOpen();
    CheckAll();
  }
  EXPECT_GT(Files(".payloads").size(), 2u);
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
  AwaitFiles(".payloads", 2);
  EXPECT_TRUE(Files(".moved").empty());
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
  AwaitFiles(".payloads", 2);
  ASSERT_TRUE(SetLogStart(20).ok());
  AwaitFiles(".payloads", 1);
  CheckAll();
  ASSERT_TRUE(SetLogStart(40).ok());
  AwaitFiles(".payloads", 0);
}

TEST_F(PayloadsTest, WhatNothingRefersToGoesAtTheStart) {
  OpenStore();
  AppendMany(20, 100'000);
  Close();
  const std::string orphan = options_.directory + "/000001.payloads";
  std::ofstream(orphan) << "left by a process that was killed between two deletions";
  std::ofstream(options_.directory + "/notes.payloads") << "not ours";
  OpenStore();
  EXPECT_FALSE(std::filesystem::exists(orphan));
  EXPECT_TRUE(std::filesystem::exists(options_.directory + "/notes.payloads"));
  CheckAll();
}

// Most of this file is payloads that lie behind their headers: the others are moved, and it goes.
TEST_F(PayloadsTest, AFewLargeOnesDoNotKeepTheirFile) {
  OpenStore();
  AppendMany(4'000, 500);
  AppendMany(10, 100'000);
  CloseAndOpen();
  CheckAll();
  AwaitFiles(".payloads", 0);
  EXPECT_EQ(Bytes(".moved"), 1'000'000u);
  AppendMany(10, 100'000);
  CloseAndOpen();
  CheckAll();
  AwaitFiles(".payloads", 1);
}

TEST_F(PayloadsTest, ALostFileOfMovedOnesCostsThemOnly) {
  OpenStore();
  AppendMany(4'000, 500);
  AppendMany(3, 100'000);
  CloseAndOpen();
  AppendMany(1, 100'000);
  CloseAndOpen();
  const std::vector<std::string> moved = Files(".moved");
  ASSERT_EQ(moved.size(), 1u);
  ASSERT_TRUE(std::filesystem::remove(moved[0]));
  CloseAndOpen();
  EXPECT_EQ(store_->Read(group_, Offset(3'990), Offset(4'004), kAll).value().size(), 10u);
  for (int64_t offset : {4'000, 4'001, 4'002}) {
    const absl::Status lost = store_->Read(group_, Offset(offset), Offset(4'004), kAll).status();
    EXPECT_EQ(raft::DamagedOffsets(lost), (raft::OffsetRange{Offset(offset), Offset(offset + 1)})) << lost;
  }
  EXPECT_EQ(store_->Read(group_, Offset(4'003), Offset(4'004), kAll).value().at(0).payload, written_[4'003]);
}

TEST_F(PayloadsTest, WhatIsLostCostsItselfOnly) {
  OpenStore();
  AppendMany(50, 100'000);
  CloseAndOpen();
  AppendMany(1, 100'000);
  Close();
  AwaitFiles(".payloads", 2);
  const std::vector<std::string> files = Files(".payloads");
  ASSERT_EQ(files.size(), 2u);
  std::filesystem::resize_file(files[0], std::filesystem::file_size(files[0]) - 150'000);
  OpenStore();
  EXPECT_EQ(store_->Read(group_, Offset(0), Offset(51), kAll).value().size(), 48u);
  for (int64_t offset : {48, 49}) {
    const absl::Status lost = store_->Read(group_, Offset(offset), Offset(51), kAll).status();
    EXPECT_EQ(raft::DamagedOffsets(lost), (raft::OffsetRange{Offset(offset), Offset(offset + 1)})) << lost;
    EXPECT_THAT(std::string(lost.message()), HasSubstr(files[0]));
  }
  EXPECT_EQ(store_->Read(group_, Offset(50), Offset(51), kAll).value().at(0).payload, written_[50]);
}

TEST_F(PayloadsTest, AreWrittenTwiceWhenAskedAndTheStoreIsReadEitherWay) {
  options_.payloads_once = false;
  OpenStore();
  AppendMany(50, 100'000);
  CloseAndOpen();
  AwaitFiles(".payloads", 0);
  EXPECT_EQ(Bytes(".moved"), 5'000'000u);
  CheckAll();
  options_.payloads_once = true;
  CloseAndOpen();
  AppendMany(50, 100'000);
  CloseAndOpen();
  AwaitFiles(".payloads", 1);
  CheckAll();
  options_.payloads_once = false;
  CloseAndOpen();
  CheckAll();
}

// Puts a byte before each piece appended to a WAL file: nothing lies where it should.
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
  EXPECT_THAT(std::string(written.message()),
              AllOf(HasSubstr(".log does not hold at offset"), HasSubstr("start it with that librocksdb")));
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
  EXPECT_TRUE(Files(".payloads").empty());
  EXPECT_TRUE(Files(".sst").empty());
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
  AwaitFiles(".payloads", 1);
}

// Of a file of small entries a sixth is headers.
TEST_F(PayloadsTest, HeadersAreNoMoreDeadThanTheirPayloads) {
  OpenStore({.bytes_max = 100'000});
  AppendMany(1'000, 1'100);
  CloseAndOpen();
  AwaitFiles(".payloads", 1);
  EXPECT_GT(Bytes(".payloads"), 1'250'000u);
  EXPECT_LT(store_->Stats().dead_bytes, 10'000u);
  ASSERT_TRUE(SetLogStart(500).ok());
  while (store_->Stats().reclaims == 0) std::this_thread::yield();
  const auto dead_part = [this] {
    return static_cast<double>(store_->Stats().dead_bytes) / static_cast<double>(Bytes(".payloads"));
  };
  EXPECT_NEAR(dead_part(), 0.45, 0.03) << "whole segments of 90 entries";
  CloseAndOpen();
  EXPECT_NEAR(dead_part(), 0.45, 0.03);
}

// Small payloads lie in tables, and once more in the log's file: that part of it is dead.
TEST_F(PayloadsTest, WhatTablesHoldThemselvesIsDeadInTheLogsFile) {
  OpenStore();
  for (int i = 0; i < 1'000; ++i) {
    Append(5'000);
    Append(600);
  }
  CloseAndOpen();
  AwaitFiles(".payloads", 1);
  EXPECT_GT(store_->Stats().dead_bytes, 500'000u);
}

// A reader may stand in a memtable whose flush writes payloads again, and whose WAL file then goes.
TEST(LogReader, FindsAPayloadThatWasWrittenAgainMeanwhile) {
  const TempDir directory;
  RocksLogStore::Options options;
  options.directory = directory / "store";
  StoreHealth health(nullptr);
  const auto database = Database::Open(options, health);
  ASSERT_TRUE(database.ok()) << database.status();
  const LogReader reader((*database)->db(), (*database)->payloads());
  constexpr raft::GroupId kGroup(1);
  LogEditor editor(kGroup, LogImage(), reader);
  rocksdb::WriteBatch batch;
  for (int64_t i = 1; i <= 1'000; ++i) {
    Entry entry;
    entry.header.index = LogIndex(i);
    entry.payload = absl::Cord(std::string(i == 1 ? 5'000 : 500, 'p'));
    editor.Append(std::move(entry), batch);
  }
  ASSERT_TRUE((*database)->Write(batch).ok());
  const EntryKey key(kGroup, LogIndex(1), Offset(0));
  const auto value = GetValue((*database)->db(), key.view());
  ASSERT_TRUE(value.ok() && value->has_value());
  auto header = DecodeHeader(**value);
  ASSERT_TRUE(header.ok() && header->placed);

  ASSERT_TRUE((*database)->db().Flush({}).ok());
  const std::string wal = NumberedFile(options.directory, DecodePlace(**value)->file, ".");
  while (std::filesystem::exists(wal + "log")) std::this_thread::yield();
  ASSERT_FALSE(std::filesystem::exists(wal + "payloads"));
  const auto payload = reader.Payload(*EntryKey::Parse(key.view()), *header, **value);
  ASSERT_TRUE(payload.ok()) << payload.status();
  EXPECT_EQ(*payload, std::string(5'000, 'p'));
  ++header->entry.chain;
  EXPECT_TRUE(absl::IsDataLoss(reader.Payload(*EntryKey::Parse(key.view()), *header, **value).status()))
      << "the payload of another entry that took its place";
}

}  // namespace
}  // namespace millrace::storage
