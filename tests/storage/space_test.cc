// Goal: what was removed gives its space back, also when nobody writes any more.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <thread>

#include <rocksdb/file_system.h>

#include "storage/database.h"
#include "storage/log_reader.h"
#include "tests/storage/store_fixture.h"

namespace millrace::storage {
namespace {

class Space : public StoreTest {
 protected:
  Space() {
    options_.memory_bytes = 8 << 20;
    options_.reclaim_delay = std::chrono::milliseconds(0);
  }
  // Where payloads lie.
  uint64_t WalBytes() {
    const StoreStats stats = store_->Stats();
    return stats.wal_file_bytes + stats.kept_wal_bytes;
  }
  // The test's time-out ends it if they never go below.
  void AwaitWalBytesBelow(uint64_t bytes) {
    while (WalBytes() >= bytes) std::this_thread::yield();
  }
  // Removed logs whose keys are to be compacted. Closes the store, as a kill does.
  int64_t MarksLeft() {
    round_.reset();
    store_.reset();
    StoreHealth health(nullptr);
    const auto database = Database::Open(options_, health);
    MILLRACE_CHECK(database.ok()) << database.status().ToString();
    const LogReader reader((*database)->db(), (*database)->payloads());
    return static_cast<int64_t>(reader.RemovedGroupsKeys().value().size());
  }
  // Of an open store. They go right after the compaction.
  void AwaitNoMarks() {
    while (true) {
      while (store_->Stats().reclaims == 0) std::this_thread::yield();
      if (MarksLeft() == 0) return;
      Reopen();
    }
  }
  uint64_t BytesOnDisk() {
    uint64_t bytes = 0;
    for (const auto& file : std::filesystem::directory_iterator(options_.directory)) {
      std::error_code gone;  // meanwhile
      const auto size = file.file_size(gone);
      if (!gone) bytes += size;
    }
    return bytes;
  }
};

constexpr size_t kEntryBytes = 64 << 10;

TEST_F(Space, OfATrimmedLogComesBackWithoutFurtherWrites) {
  OpenStore({.bytes_max = 4 << 20});
  WriteMany(1000, {.bytes = kEntryBytes});
  ASSERT_GT(WalBytes(), 40u << 20);
  ASSERT_TRUE(SetLogStart(9000).ok());
  AwaitWalBytesBelow(20 << 20);
  const auto entries = store_->Read(group_, raft::Offset(9000), raft::Offset(10000), kAll);
  ASSERT_TRUE(entries.ok()) << entries.status();
  EXPECT_EQ(entries->size(), 100u);
}

class NearlyFullFileSystem : public rocksdb::FileSystemWrapper {
 public:
  NearlyFullFileSystem() : rocksdb::FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "nearly-full"; }
  rocksdb::IOStatus GetFreeSpace(const std::string&, const rocksdb::IOOptions&, uint64_t* free_bytes,
                                 rocksdb::IODebugContext*) override {
    *free_bytes = free_bytes_;
    return rocksdb::IOStatus::OK();
  }
  void SetFreeBytes(uint64_t bytes) { free_bytes_ = bytes; }

 private:
  std::atomic<uint64_t> free_bytes_{64 << 20};
};

// They lie in tables, of which hardly anything is left: that is what is rewritten.
TEST_F(Space, OfSmallRecordsInATrimmedLogComesBackWhileTheDiskIsShort) {
  options_.reclaim_delay = std::chrono::hours(1);
  options_.space_is_short = [] { return true; };
  options_.file_system = std::make_shared<NearlyFullFileSystem>();
  OpenStore({.bytes_max = 4 << 20});
  WriteMany(150'000, {.bytes = 900});
  Reopen();  // so that they lie in tables
  ASSERT_GT(store_->Stats().sst_file_bytes, 130'000'000u);
  ASSERT_TRUE(SetLogStart(1'450'000).ok());
  while (store_->Stats().sst_file_bytes > 20'000'000) std::this_thread::yield();
}

// How much was removed the next process does not know, nor in which logs: all of them are more than may be rewritten at once.
TEST_F(Space, OfSmallRecordsTrimmedByAProcessThatDiedComesBackWhileTheDiskIsShort) {
  constexpr int kLogs = 12;
  constexpr int kEntries = 9'000;
  constexpr int kBytes = 900;
  options_.reclaim_delay = std::chrono::hours(1);
  const auto disk = std::make_shared<NearlyFullFileSystem>();
  disk->SetFreeBytes(uint64_t{10} << 30);
  options_.file_system = disk;
  OpenStore();
  for (int64_t log = 2; log < 2 + kLogs; ++log) {
    const raft::GroupId group(log);
    ASSERT_TRUE(ThroughStalls(*store_, [&] { return store_->Create(group, {.bytes_max = 1 << 20}); }).ok());
    ASSERT_TRUE(store_->Open(group).ok());
    for (int64_t i = 0; i < kEntries; ++i) {
      raft::Entry entry;
      entry.header.record_count = 1;
      entry.header.index = raft::LogIndex(i + 1);
      entry.header.base_offset = raft::Offset(i);
      entry.payload = absl::Cord(std::string(kBytes, 'v'));
      round_->Append(group, std::move(entry));
      if (i % 100 != 99) continue;
      ASSERT_TRUE(ThroughStalls(*store_, [this] { return store_->Write(*round_); }).ok());
    }
  }
  const auto trim = [&](int64_t offset) {
    for (int64_t log = 2; log < 2 + kLogs; ++log) {
      ASSERT_TRUE(store_->Open(raft::GroupId(log)).ok());
      round_->SetLogStart(raft::GroupId(log), raft::Offset(offset));
    }
    ASSERT_TRUE(ThroughStalls(*store_, [this] { return store_->Write(*round_); }).ok());
  };
  // All that came in is compacted: RocksDB has no reason of its own to do so again.
  options_.space_is_short = [] { return true; };
  Reopen();
  trim(2'000);
  while (store_->Stats().reclaims == 0) std::this_thread::yield();
  options_.space_is_short = nullptr;
  Reopen();
  trim(5'000);
  options_.reclaim_delay = std::chrono::milliseconds(0);
  options_.space_is_short = [] { return true; };
  disk->SetFreeBytes(64 << 20);
  Reopen();
  while (store_->Stats().sst_file_bytes > kLogs * kEntries * kBytes * 6 / 10) std::this_thread::yield();
}

TEST_F(Space, OfAnEmptiedLogComesBackWhole) {
  OpenStore({.bytes_max = 4 << 20});
  WriteMany(1000, {.bytes = kEntryBytes});
  ASSERT_GT(WalBytes(), 40u << 20);
  ASSERT_TRUE(SetLogStart(10000).ok());
  AwaitWalBytesBelow(1 << 20);
  while (BytesOnDisk() > 4 << 20) std::this_thread::yield();
}

TEST_F(Space, OfAResetLogComesBackWhole) {
  OpenStore({.bytes_max = 4 << 20});
  WriteMany(500, {.bytes = kEntryBytes});
  ASSERT_GT(WalBytes(), 20u << 20);
  round_->Reset(group_, {.before = {raft::Term(1), raft::LogIndex(900)}, .end_offset = raft::Offset(9000)});
  ASSERT_TRUE(ThroughStalls(*store_, [this] { return store_->Write(*round_); }).ok());
  AwaitWalBytesBelow(1 << 20);
}

TEST_F(Space, OfARemovedLogComesBackWhole) {
  OpenStore();
  WriteMany(500, {.bytes = kEntryBytes});
  ASSERT_TRUE(store_->Create(raft::GroupId(2), {}).ok());
  ASSERT_TRUE(store_->Remove({group_}).ok());
  AwaitWalBytesBelow(1 << 20);
}

// Whoever removed it did not come to compact it: the next process does, once, whatever it costs.
TEST_F(Space, OfALogRemovedByAProcessThatDiedComesBack) {
  options_.reclaim_delay = std::chrono::hours(1);
  OpenStore();
  WriteMany(72'000, {.bytes = 1000});  // more than would be compacted for anything else
  Reopen();                            // so that they lie in tables
  ASSERT_TRUE(store_->Remove({group_}).ok());
  Reopen();
  ASSERT_GT(store_->Stats().sst_file_bytes, 72'000'000u);
  options_.reclaim_delay = std::chrono::milliseconds(0);
  Reopen();
  while (store_->Stats().sst_file_bytes > 1'000'000) std::this_thread::yield();
  AwaitNoMarks();  // so only once
}

// More than are compacted one by one: those between them stay as they are.
TEST_F(Space, OfLogsRemovedByAProcessThatDiedComesBackAndTheOthersStay) {
  constexpr int64_t kLogs = 60;
  options_.reclaim_delay = std::chrono::hours(1);
  OpenStore();
  for (int64_t log = 2; log < kLogs; ++log) {
    const raft::GroupId group(log);
    ASSERT_TRUE(store_->Create(group, {}).ok());
    ASSERT_TRUE(store_->Open(group).ok());
    raft::Entry entry;
    entry.header.record_count = 1;
    entry.header.index = raft::LogIndex(1);
    entry.payload = absl::Cord(std::string(kEntryBytes, static_cast<char>(log)));
    round_->Append(group, std::move(entry));
    ASSERT_TRUE(ThroughStalls(*store_, [this] { return store_->Write(*round_); }).ok());
  }
  for (int64_t log = 2; log < kLogs; log += 2) ASSERT_TRUE(store_->Remove({raft::GroupId(log)}).ok());
  EXPECT_EQ(MarksLeft(), kLogs / 2 - 1);
  options_.reclaim_delay = std::chrono::milliseconds(0);
  Reopen();
  AwaitNoMarks();
  Reopen();
  for (int64_t log = 3; log < kLogs; log += 2) {
    ASSERT_TRUE(store_->Open(raft::GroupId(log)).ok());
    const auto entries = store_->Read(raft::GroupId(log), raft::Offset(0), raft::Offset(1), kAll);
    ASSERT_TRUE(entries.ok()) << entries.status();
    EXPECT_EQ(entries->front().payload, std::string(kEntryBytes, static_cast<char>(log)));
  }
}

}  // namespace
}  // namespace millrace::storage
