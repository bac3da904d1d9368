// Payloads lie in the write-ahead log's files, and nowhere else: everything reads back, from the files that it should lie in, and
// these go when they should.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <iostream>
#include <iterator>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "proto/wire/crc32c.h"
#include "raft/damage.h"
#include "storage/database.h"
#include "storage/log_editor.h"
#include "storage/log_reader.h"
#include "storage/payload_files.h"
#include "storage/payload_tables.h"
#include "storage/rocks_util.h"
#include "storage/wal_format.h"
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
  // As kill -9 leaves it: nothing is flushed.
  void KillAndOpen() {
    round_.reset();
    store_.reset();
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
    for (const std::string& path : Files(extension)) {
      std::error_code gone;  // meanwhile
      const auto size = std::filesystem::file_size(path, gone);
      if (!gone) bytes += size;
    }
    return bytes;
  }
  // RocksDB lets go of files on a thread of its own. The test's time-out ends it if there never are so many.
  void AwaitFiles(const std::string& extension, size_t count) const {
    while (Files(extension).size() != count) std::this_thread::yield();
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

// Two logs share every file, and one of them is removed.
class EvacuationTest : public PayloadsTest {
 protected:
  EvacuationTest() {
    options_.dead_bytes_max = 0;
    options_.file_system = disk_;
  }
  ~EvacuationTest() override { disk_->Release(); }

  // `count` entries for each of the two logs, 100,000 bytes each.
  void AppendToBoth(int count) {
    if (!other_exists_) {
      ASSERT_TRUE(store_->Create(kOther, {.bytes_max = 1'000'000}).ok());
      other_exists_ = true;
    }
    ASSERT_TRUE(store_->Open(kOther).ok());
    for (int i = 0; i < count; ++i) {
      const raft::LogState state = store_->State(kOther);
      Entry entry;
      entry.header.record_count = 1;
      entry.header.index = state.last_index + 1;
      entry.header.base_offset = state.log_end;
      entry.payload = absl::Cord(std::string(100'000, 'o'));
      round_->Append(kOther, std::move(entry));
      Append(100'000);
    }
  }
  void RemoveOther() {
    ASSERT_TRUE(store_->Remove({kOther}).ok());
    other_exists_ = false;
  }
  void AwaitEvacuation() {
    while (store_->Stats().evacuations == 0) std::this_thread::yield();
  }

  static constexpr raft::GroupId kOther{2};
  const std::shared_ptr<FaultyFileSystem> disk_ = std::make_shared<FaultyFileSystem>();
  bool other_exists_ = false;
};

TEST_F(EvacuationTest, WhatLivesLeavesTheFilesOfWhatIsDead) {
  OpenStore();
  AppendToBoth(50);
  CloseAndOpen();
  AppendToBoth(20);
  CloseAndOpen();
  AwaitFiles(".payloads", 2);
  RemoveOther();
  AwaitFiles(".payloads", 0);
  CheckAll();
  EXPECT_EQ(Bytes(".moved"), 7'000'000u);
  EXPECT_EQ(store_->Stats().dead_bytes, 0u);
  CloseAndOpen();
  CheckAll();
  KillAndOpen();
  CheckAll();
  EXPECT_EQ(Bytes(".moved"), 7'000'000u);
}

TEST_F(EvacuationTest, WritersWaitForWhatIsMovedWhenTheyWriteMuchMeanwhile) {
  OpenStore();
  AppendToBoth(100);
  CloseAndOpen();
  disk_->HoldWrites(FileKind::kMoved);
  RemoveOther();
  disk_->AwaitHeldWrite();
  absl::Status status;
  int written = 0;
  for (; written < 200 && status.ok(); ++written) {
    round_->Append(group_, Next(100'000));
    status = store_->Write(*round_);
  }
  EXPECT_TRUE(raft::IsStalled(status)) << status << " after " << written << " of 100,000 bytes";
  EXPECT_GT(written, 40) << "4 MiB pass in any case";
  EXPECT_TRUE(store_->Create(raft::GroupId(3), {}).ok()) << "what takes hardly any space goes on";
  std::promise<void> writable;
  store_->WhenWritable([&writable] { writable.set_value(); });
  disk_->Release();
  writable.get_future().wait();
  ASSERT_TRUE(ThroughStalls(*store_, [this] { return store_->Write(*round_); }).ok());
  AwaitEvacuation();
  CheckAll();
  AppendMany(200, 100'000);
  CheckAll();
}

TEST_F(EvacuationTest, NothingIsMovedWhileLittleIsDead) {
  options_.dead_bytes_max = 5'500'000;
  OpenStore();
  AppendToBoth(50);
  CloseAndOpen();
  RemoveOther();
  while (store_->Stats().reclaims == 0) std::this_thread::yield();
  EXPECT_EQ(store_->Stats().evacuations, 0u);
  EXPECT_EQ(Bytes(".moved"), 0u);
  AppendToBoth(20);
  CloseAndOpen();
  RemoveOther();
  AwaitEvacuation();
  CheckAll();
  EXPECT_GT(Bytes(".moved"), 0u);
}

// Moved ones are moved again, and go, as others.
TEST_F(EvacuationTest, AFileOfMovedOnesIsAsAnyOther) {
  OpenStore({.bytes_max = 1'000'000});
  AppendToBoth(50);
  CloseAndOpen();
  RemoveOther();
  AwaitFiles(".payloads", 0);
  const std::vector<std::string> first = Files(".moved");
  ASSERT_TRUE(SetLogStart(20).ok());
  while (Bytes(".moved") != 3'000'000) std::this_thread::yield();
  CheckAll();
  EXPECT_NE(Files(".moved"), first);
  CloseAndOpen();
  CheckAll();
  ASSERT_TRUE(SetLogStart(50).ok());
  AwaitFiles(".moved", 0);
}

TEST_F(EvacuationTest, MovesIntoSeveralFiles) {
  options_.memory_bytes = 512 << 20;
  OpenStore();
  AppendToBoth(800);
  CloseAndOpen();
  RemoveOther();
  AwaitFiles(".payloads", 0);
  CheckAll();
  EXPECT_EQ(Files(".moved").size(), 2u);
  EXPECT_EQ(Bytes(".moved"), 80'000'000u);
  CloseAndOpen();
  CheckAll();
}

TEST_F(EvacuationTest, WhatWasMovedWhenTheProcessDiedGoes) {
  OpenStore();
  AppendToBoth(20);
  CloseAndOpen();
  RemoveOther();
  AwaitFiles(".payloads", 0);
  Close();
  const std::vector<std::string> there = Files(".moved");
  const std::string orphan = options_.directory + "/000099.moved";
  std::ofstream(orphan) << "no table came of it";
  OpenStore();
  CheckAll();
  EXPECT_EQ(Files(".moved"), there);
}

// It stays where it is, and so does its file, once: the others are moved all the same.
TEST_F(EvacuationTest, WhatCannotBeReadIsNotMoved) {
  OpenStore();
  AppendToBoth(50);
  CloseAndOpen();
  AppendToBoth(50);
  CloseAndOpen();
  const std::vector<std::string> files = Files(".payloads");
  ASSERT_EQ(files.size(), 2u);
  std::filesystem::resize_file(files[0], std::filesystem::file_size(files[0]) - 50'000);
  RemoveOther();
  AwaitFiles(".payloads", 1);
  AwaitEvacuation();
  EXPECT_EQ(Files(".payloads")[0], files[0]);
  EXPECT_EQ(store_->Read(group_, Offset(0), Offset(100), kAll).value().size(), 49u);
  EXPECT_TRUE(absl::IsDataLoss(store_->Read(group_, Offset(49), Offset(100), kAll).status()));
  EXPECT_EQ(store_->Read(group_, Offset(50), Offset(100), kAll).value().size(), 50u);
}

// Nothing rests on what did not reach the disk: the store stops, and the next start finds everything where it was.
class EvacuationFaultsTest : public EvacuationTest {
 protected:
  template <typename Break>
  void CheckThatItStops(Break break_disk, const std::string& told) {
    OpenStore();
    AppendToBoth(20);
    CloseAndOpen();
    break_disk();
    RemoveOther();
    absl::Status status;
    while (status.ok()) status = store_->Read(group_, Offset(0), Offset(1), 1).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr(told));
    EXPECT_EQ(Files(".payloads").size(), 1u);
    disk_->Mend();
    options_.dead_bytes_max = 1 << 30;
    KillAndOpen();
    CheckAll();
    EXPECT_TRUE(Files(".moved").empty());
  }
};

TEST_F(EvacuationFaultsTest, AFileThatCannotBeWrittenStopsTheStore) {
  CheckThatItStops([this] { disk_->FailWrites(FileKind::kMoved); }, "no space left on the test's device");
}

TEST_F(EvacuationFaultsTest, AFileThatCannotBeSyncedStopsTheStore) {
  CheckThatItStops([this] { disk_->FailSyncs(FileKind::kMoved); }, "the test's device lost a page");
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
