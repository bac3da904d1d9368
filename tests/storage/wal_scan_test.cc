// A torn tail is cut, damage is refused: what a crash or a bad disk made of the write-ahead log, under the real store.

#include "storage/wal_scan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/storage/store_fixture.h"

namespace millrace::storage {
namespace {

using testing::HasSubstr;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

class WalScanTest : public StoreTest {
 protected:
  WalScanTest() { std::cout << "seed " << seed_ << "\n"; }

  // Rounds that are each synced, then some that are not; the files as kill -9 would leave them.
  void Fill(int synced, int unsynced, size_t bytes) {
    OpenStore();
    for (int i = 0; i < synced; ++i) {
      if (i == 1) synced_from_ = WalBytes().size();
      ASSERT_TRUE(Write({.bytes = bytes}).ok());
      ASSERT_TRUE(SyncNow().ok());
      promised_ = WalBytes().size();
    }
    for (int i = 0; i < unsynced; ++i) ASSERT_TRUE(Write({.bytes = bytes}).ok());
    wal_ = WalBytes();
    std::filesystem::copy(options_.directory, killed_, std::filesystem::copy_options::recursive);
    round_.reset();
    store_.reset();
  }
  std::string WalPath(const std::string& directory) const {
    std::string newest;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      if (entry.path().extension() == ".log") newest = std::max(newest, entry.path().string());
    }
    return newest;
  }
  std::string WalBytes() const { return ReadFile(WalPath(options_.directory)); }

  // Opens the killed store with this WAL; the number of entries there are, or the error.
  absl::StatusOr<int64_t> OpenWith(const std::string& wal) {
    store_.reset();
    std::filesystem::remove_all(options_.directory);
    std::filesystem::copy(killed_, options_.directory, std::filesystem::copy_options::recursive);
    WriteFile(WalPath(options_.directory), wal);
    auto store = RocksLogStore::Open(options_);
    if (!store.ok()) return store.status();
    store_ = *std::move(store);
    const auto state = store_->Open(group_);
    if (!state.ok()) return state.status();
    const auto entries = store_->ReadEntries(group_, raft::LogIndex(1), state->last_index, kAll);
    if (!entries.ok()) return entries.status();
    return static_cast<int64_t>(entries->size());
  }

  const uint64_t seed_ = std::random_device{}();
  std::mt19937_64 random_{seed_};
  const std::string killed_ = directory_ / "killed";
  std::string wal_;
  size_t synced_from_ = 0;  // of the WAL: where the second round begins
  size_t promised_ = 0;     // of the WAL: up to here it was synced, and a later round says so
};

TEST_F(WalScanTest, WholeLogIsReplayed) {
  Fill(5, 5, 50'000);
  EXPECT_EQ(OpenWith(wal_).value(), 10);
}

TEST_F(WalScanTest, TornTailIsCutWhereverItTears) {
  Fill(5, 5, 50'000);
  int64_t most = 0;
  for (int i = 0; i < 40; ++i) {
    const size_t size = promised_ + random_() % (wal_.size() - promised_);
    const auto entries = OpenWith(wal_.substr(0, size));
    ASSERT_TRUE(entries.ok()) << "cut at " << size << ": " << entries.status();
    ASSERT_GE(*entries, 5) << "cut at " << size;
    most = std::max(most, *entries);
  }
  EXPECT_LT(most, 10);
}

TEST_F(WalScanTest, ZerosBehindTheLogAreNothing) {
  Fill(5, 5, 50'000);
  EXPECT_EQ(OpenWith(wal_ + std::string(1 << 20, '\0')).value(), 10);
}

// It may have been synced last, and be damaged since: nobody can know, so somebody has to be told.
TEST_F(WalScanTest, WhatCannotBeReadBehindTheLogIsTold) {
  Fill(5, 5, 50'000);
  const std::string log = options_.directory + "/" + std::filesystem::path(WalPath(killed_)).filename().string();
  EXPECT_EQ(OpenWith(wal_).value(), 10);
  EXPECT_EQ(store_->cut_log(), "");
  EXPECT_EQ(OpenWith(wal_ + "not a record").value(), 10);
  EXPECT_EQ(store_->cut_log(), absl::StrCat(log, ", offset ", wal_.size()));
  std::string flipped = wal_;
  flipped[wal_.size() - 100] ^= 1;
  EXPECT_LT(OpenWith(flipped + std::string(1 << 20, '\0')).value(), 10);
  EXPECT_THAT(store_->cut_log(), HasSubstr(log));
  EXPECT_TRUE(store_->lost_synced());
}

// A kill leaves the beginning of a write, of which nobody was told; and the start after the next knows as much as the next.
TEST_F(WalScanTest, AWriteThatAKillCutShortCostNothing) {
  Fill(5, 5, 50'000);
  for (size_t missing = 1; missing < 50'000; missing = 3 * missing + 1) {
    EXPECT_EQ(OpenWith(wal_.substr(0, wal_.size() - missing)).value(), 9) << missing;
    EXPECT_NE(store_->cut_log(), "") << missing;
    EXPECT_FALSE(store_->lost_synced()) << missing;
    EXPECT_FALSE(store_->os_crashed()) << missing;
  }
  for (size_t bit : {0, 3, 7}) {
    std::string flipped = wal_;
    flipped[wal_.size() - 1 - 97 * bit] ^= static_cast<char>(1 << bit);
    EXPECT_EQ(OpenWith(flipped).value(), 9) << bit;
    EXPECT_TRUE(store_->lost_synced()) << bit;
    Reopen();
    EXPECT_EQ(store_->cut_log(), "");
    EXPECT_TRUE(store_->lost_synced()) << bit;
    EXPECT_FALSE(store_->os_crashed());
    ASSERT_TRUE(store_->ForgetOsCrash().ok());
    Reopen();
    EXPECT_FALSE(store_->lost_synced()) << bit;
  }
}

// After a power cut a file may have its length and not its bytes.
TEST_F(WalScanTest, HolesInAnUnsyncedTailEndIt) {
  Fill(5, 20, 50'000);
  for (int i = 0; i < 20; ++i) {
    std::string wal = wal_;
    const size_t page = promised_ / 4096 + 1 + random_() % ((wal.size() - promised_) / 4096 - 1);
    const size_t bytes = std::min<size_t>(4096 << random_() % 6, wal.size() - page * 4096);
    std::fill_n(wal.begin() + static_cast<ptrdiff_t>(page * 4096), bytes, '\0');
    const auto entries = OpenWith(wal);
    ASSERT_TRUE(entries.ok()) << "zeros at page " << page << ": " << entries.status();
    ASSERT_GE(*entries, 5);
    ASSERT_LT(*entries, 25);
  }
}

TEST_F(WalScanTest, DamageBelowWhatWasSyncedIsRefusedAndChangesNothing) {
  Fill(10, 1, 50'000);
  for (int i = 0; i < 60; ++i) {
    std::string wal = wal_;
    const size_t at = synced_from_ + random_() % (promised_ - synced_from_);
    wal[at] = static_cast<char>(wal[at] ^ (1 << random_() % 8));
    const auto entries = OpenWith(wal);
    ASSERT_TRUE(absl::IsDataLoss(entries.status())) << "byte " << at << ": " << entries.status();
    ASSERT_THAT(entries.status().message(), HasSubstr(WalPath(options_.directory)));
    ASSERT_THAT(entries.status().message(), HasSubstr("cannot be read at offset"));
    ASSERT_EQ(ReadFile(WalPath(options_.directory)), wal);
  }
}

TEST_F(WalScanTest, ZerosBelowWhatWasSyncedAreRefused) {
  Fill(10, 3, 50'000);
  std::string wal = wal_;
  std::fill_n(wal.begin() + static_cast<ptrdiff_t>(promised_ - 100'000), 90'000, '\0');
  EXPECT_TRUE(absl::IsDataLoss(OpenWith(wal).status()));
}

// Several log files, none of which was flushed.
class WalFilesTest : public testing::Test {
 protected:
  // Writes one batch to each of `count` files. If `synced`, each says that all before it was synced. If `late`, the last one was
  // begun when the first file was the newest.
  void Write(int count, bool synced, bool late = false) {
    const auto files = std::make_shared<StoreFileSystem>(rocksdb::FileSystem::Default());
    const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(files);
    rocksdb::Options options;
    options.env = env.get();
    options.create_if_missing = true;
    options.max_write_buffer_number = count + 2;
    rocksdb::DB* raw = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options, path_, &raw).ok());
    const std::unique_ptr<rocksdb::DB> db(raw);
    ASSERT_TRUE(db->PauseBackgroundWork().ok());
    rocksdb::FlushOptions without_waiting;
    without_waiting.wait = false;
    const StoreFileSystem::NewestWals at_first = files->newest_wals();
    for (int i = 0; i < count; ++i) {
      rocksdb::WriteBatch batch;
      PutSyncedMark(batch, synced ? db->GetLatestSequenceNumber() : 0,
                    late && i + 1 == count ? at_first : files->newest_wals());
      batch.Put("key " + std::to_string(i), std::string(1000, 'v'));
      ASSERT_TRUE(db->Write({}, &batch).ok());
      if (i + 1 < count) {
        ASSERT_TRUE(db->Flush(without_waiting).ok());
      }
    }
    std::filesystem::copy(path_, killed_, std::filesystem::copy_options::recursive);
    ASSERT_TRUE(db->ContinueBackgroundWork().ok());
  }
  std::vector<std::string> Wals() const {
    std::vector<std::string> wals;
    for (const auto& entry : std::filesystem::directory_iterator(killed_)) {
      if (entry.path().extension() == ".log") wals.push_back(entry.path());
    }
    std::sort(wals.begin(), wals.end());
    return wals;
  }
  // Keys that are there after opening with the guard, or the error.
  absl::StatusOr<int> Open() {
    const auto files = std::make_shared<StoreFileSystem>(rocksdb::FileSystem::Default());
    const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(files);
    WalRecord record;
    WalGuard guard(*files, killed_, record);
    rocksdb::Options options;
    options.env = env.get();
    options.wal_filter = &guard;
    rocksdb::DB* raw = nullptr;
    const rocksdb::Status opened = rocksdb::DB::Open(options, killed_, &raw);
    if (!guard.status().ok()) return guard.status();
    if (!opened.ok()) return absl::InternalError(opened.ToString());
    const std::unique_ptr<rocksdb::DB> db(raw);
    int keys = 0;
    const std::unique_ptr<rocksdb::Iterator> it(db->NewIterator({}));
    for (it->SeekToFirst(); it->Valid(); it->Next()) ++keys;
    return keys;
  }

  TempDir directory_;
  const std::string path_ = directory_ / "db";
  const std::string killed_ = directory_ / "killed";
};

TEST_F(WalFilesTest, AllAreReplayed) {
  Write(5, true);
  ASSERT_EQ(Wals().size(), 5u);
  EXPECT_EQ(Open().value(), 5);
}

TEST_F(WalFilesTest, AMissingOneOfThoseThatWereSyncedIsDamage) {
  Write(5, true);
  std::filesystem::remove(Wals()[2]);
  const auto keys = Open();
  EXPECT_TRUE(absl::IsDataLoss(keys.status())) << keys.status();
  EXPECT_EQ(Wals().size(), 4u);
}

TEST_F(WalFilesTest, AMissingOneThatWasNotSyncedEndsTheLog) {
  Write(5, false);
  std::filesystem::remove(Wals()[2]);
  EXPECT_EQ(Open().value(), 2);
}

// A round that waited for the end of a stall names files that were the newest when it was begun.
TEST_F(WalFilesTest, AMarkOlderThanTheFileBeforeIsNoLoss) {
  Write(3, false, /*late=*/true);
  ASSERT_EQ(Wals().size(), 3u);
  EXPECT_EQ(Open().value(), 3);
}

// Nothing is left of it that could not be read.
TEST_F(WalFilesTest, TheFirstOneMayHaveLostAllOfItsContentOrItsName) {
  for (const bool synced : {false, true}) {
    for (const bool name : {false, true}) {
      std::filesystem::remove_all(path_);
      std::filesystem::remove_all(killed_);
      Write(5, synced);
      std::filesystem::resize_file(Wals()[0], 0);
      if (name) std::filesystem::remove(Wals()[0]);
      const auto keys = Open();
      EXPECT_EQ(absl::IsDataLoss(keys.status()), synced) << keys.status();
      if (!synced) {
        EXPECT_EQ(keys.value_or(-1), 0);
      }
    }
  }
}

TEST_F(WalFilesTest, ATornOneEndsTheLogUnlessLaterOnesSayItWasSynced) {
  Write(5, false);
  std::filesystem::resize_file(Wals()[2], 500);
  EXPECT_EQ(Open().value(), 2);
}

TEST_F(WalFilesTest, ATornOneThatWasSyncedIsDamage) {
  Write(5, true);
  std::filesystem::resize_file(Wals()[0], 500);  // nothing before it says with which number it began
  EXPECT_TRUE(absl::IsDataLoss(Open().status()));
}

}  // namespace
}  // namespace millrace::storage
