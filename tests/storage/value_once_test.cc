// Values written once, under a RocksDB that knows nothing of it: everything reads back, from the files that it should lie in.

#include "storage/value_once.h"

#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/table.h>

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

#include "proto/wire/crc32c.h"
#include "storage/blob_writer.h"
#include "tests/storage/faulty_file_system.h"
#include "tests/storage/temp_dir.h"

namespace millrace::storage {
namespace {

// Keeps what RocksDB writes to blob files, to compare with what it would read.
class BlobTee : public rocksdb::FileSystemWrapper {
 public:
  explicit BlobTee(const std::shared_ptr<rocksdb::FileSystem>& beneath) : rocksdb::FileSystemWrapper(beneath) {}
  const char* Name() const override { return "tee"; }
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* dbg) override {
    rocksdb::IOStatus status = target()->NewWritableFile(path, options, file, dbg);
    if (status.ok() && KindOfFile(path) == FileKind::kBlob) {
      *file = std::make_unique<File>(std::move(*file), &written[path]);
    }
    return status;
  }

  std::map<std::string, std::string> written;  // by path

 private:
  class File : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile> file, std::string* copy)
        : FSWritableFileOwnerWrapper(std::move(file)), copy_(copy) {}
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* dbg) override {
      copy_->append(data.data(), data.size());
      return target()->Append(data, options, dbg);
    }

   private:
    std::string* const copy_;
  };
};

class ValueOnceTest : public testing::Test {
 protected:
  ValueOnceTest() : path_(directory_ / "db") {
    std::cout << "seed " << seed_ << "\n";
    options_.create_if_missing = true;
    options_.enable_blob_files = true;
    options_.min_blob_size = 1024;
    options_.compression = rocksdb::kNoCompression;
    options_.max_bgerror_resume_count = 0;
  }
  ~ValueOnceTest() override { db_.reset(); }

  void Open(bool enabled = true) {
    db_.reset();
    std::filesystem::create_directories(path_);
    disk_ = std::make_shared<FaultyFileSystem>();
    files_ = std::make_shared<ValueOnceFileSystem>(path_, disk_, enabled);
    ASSERT_TRUE(files_->Load().ok());
    tee_ = std::make_shared<BlobTee>(files_);
    env_ = rocksdb::NewCompositeEnv(tee_);
    options_.env = env_.get();
    rocksdb::DB* db = nullptr;
    const rocksdb::Status opened = rocksdb::DB::Open(options_, path_, &db);
    ASSERT_TRUE(opened.ok()) << opened.ToString();
    db_.reset(db);
  }

  std::string Value(size_t bytes) {
    std::string value(bytes, '\0');
    for (char& byte : value) byte = static_cast<char>(random_());
    return value;
  }
  void Put(const std::string& key, size_t bytes) {
    model_[key] = Value(bytes);
    ASSERT_TRUE(db_->Put({}, key, model_[key]).ok());
  }
  void PutMany(const std::string& prefix, int count, size_t bytes) {
    for (int i = 0; i < count; ++i) Put(prefix + std::to_string(1000 + i), bytes);
  }
  // Every value, with RocksDB's own checksums.
  void CheckAll() {
    rocksdb::ReadOptions read;
    read.verify_checksums = true;
    for (const auto& [key, value] : model_) {
      std::string got;
      const rocksdb::Status status = db_->Get(read, key, &got);
      ASSERT_TRUE(status.ok()) << key << ": " << status.ToString();
      ASSERT_EQ(got, value) << key;
    }
  }
  void Flush() { ASSERT_TRUE(db_->Flush({}).ok()); }
  static void DamageEnding(const std::string& blob) {
    std::fstream file(blob, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(-1, std::ios::end);
    file.put('\0');
  }
  void CloseAndOpen(bool enabled = true) {
    ASSERT_TRUE(db_->Close().ok());
    Open(enabled);
  }

  std::vector<std::string> Files(const std::string& extension) const {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      if (entry.path().extension() == extension) paths.push_back(entry.path());
    }
    return paths;
  }
  uint64_t Bytes(const std::string& extension) const {
    uint64_t bytes = 0;
    for (const std::string& path : Files(extension)) bytes += std::filesystem::file_size(path);
    return bytes;
  }

  const uint64_t seed_ = std::random_device{}();
  std::mt19937_64 random_{seed_};
  TempDir directory_;
  const std::string path_;
  rocksdb::Options options_;
  std::shared_ptr<FaultyFileSystem> disk_;
  std::shared_ptr<ValueOnceFileSystem> files_;
  std::shared_ptr<BlobTee> tee_;
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<rocksdb::DB> db_;
  std::map<std::string, std::string> model_;
};

TEST_F(ValueOnceTest, LargeValuesLieInWalFilesOnly) {
  Open();
  PutMany("large", 50, 100'000);
  PutMany("small", 50, 2'000);
  Flush();
  CheckAll();
  EXPECT_LT(Bytes(".blob"), 150'000u);
  ASSERT_EQ(Files(".values").size(), 1u);
  EXPECT_GT(Bytes(".values"), 5'000'000u);
}

TEST_F(ValueOnceTest, EverythingReadsBackAfterRestarts) {
  Open();
  for (int round = 0; round < 4; ++round) {
    PutMany("round" + std::to_string(round), 30, 1 + random_() % 200'000);
    if (round % 2 == 0) Flush();
    CloseAndOpen();
    CheckAll();
  }
  EXPECT_LT(Bytes(".blob"), Bytes(".values") / 20);
}

// As after kill -9: the database is opened from a copy of its files.
TEST_F(ValueOnceTest, WhatIsReplayedIsNotWrittenAgain) {
  Open();
  PutMany("flushed", 20, 100'000);
  Flush();
  PutMany("replayed", 20, 100'000);
  std::filesystem::copy(path_, directory_ / "killed");
  db_.reset();
  std::filesystem::remove_all(path_);
  std::filesystem::rename(directory_ / "killed", path_);
  Open();
  CheckAll();
  EXPECT_EQ(Files(".values").size(), 2u);
  EXPECT_LT(Bytes(".blob"), 10'000u);
  CloseAndOpen();
  CheckAll();
}

TEST_F(ValueOnceTest, ReadsOfAnyRangeGiveWhatRocksDbWrote) {
  Open();
  PutMany("a", 100, 9'000);
  PutMany("b", 10, 90'000);
  PutMany("c", 100, 2'000);
  Flush();
  ASSERT_EQ(tee_->written.size(), 1u);
  const auto& [path, bytes] = *tee_->written.begin();
  uint64_t size = 0;
  ASSERT_TRUE(files_->GetFileSize(path, {}, &size, nullptr).ok());
  ASSERT_EQ(size, bytes.size());
  std::unique_ptr<rocksdb::FSRandomAccessFile> file;
  ASSERT_TRUE(files_->NewRandomAccessFile(path, {}, &file, nullptr).ok());
  std::string scratch(bytes.size(), '\0');
  for (int i = 0; i < 2000; ++i) {
    const size_t offset = random_() % (bytes.size() + 10);
    const size_t wanted = random_() % (i % 10 == 0 ? bytes.size() : 20'000);
    rocksdb::Slice got;
    ASSERT_TRUE(file->Read(offset, wanted, {}, &got, scratch.data(), nullptr).ok());
    ASSERT_EQ(got.ToString(), offset < bytes.size() ? bytes.substr(offset, wanted) : "") << offset << " " << wanted;
  }
}

TEST_F(ValueOnceTest, AWalFileGoesWithTheLastBlobFileThatRefersToIt) {
  Open();
  PutMany("a", 20, 100'000);
  Flush();
  PutMany("b", 20, 100'000);
  Flush();
  ASSERT_EQ(Files(".values").size(), 2u);
  ASSERT_TRUE(db_->DeleteRange({}, db_->DefaultColumnFamily(), "a", "b").ok());
  std::erase_if(model_, [](const auto& entry) { return entry.first < "b"; });
  Flush();
  ASSERT_TRUE(db_->CompactRange({}, nullptr, nullptr).ok());
  CheckAll();
  EXPECT_EQ(Files(".values").size(), 1u);
  CloseAndOpen();
  CheckAll();
  EXPECT_EQ(Files(".values").size(), 1u);
}

TEST_F(ValueOnceTest, WhatNothingRefersToGoesAtTheStart) {
  Open();
  PutMany("a", 20, 100'000);
  Flush();
  ASSERT_TRUE(db_->Close().ok());
  db_.reset();
  const std::string orphan = path_ + "/000001.values";
  std::ofstream(orphan) << "left by a process that was killed between two deletions";
  std::ofstream(path_ + "/notes.values") << "not ours";
  Open();
  EXPECT_FALSE(std::filesystem::exists(orphan));
  EXPECT_TRUE(std::filesystem::exists(path_ + "/notes.values"));
  CheckAll();
}

// A blob file whose ending cannot be read does not say which WAL file it needs: none may go.
TEST_F(ValueOnceTest, ADamagedEndingDeletesNoWal) {
  Open();
  PutMany("a", 20, 100'000);
  Flush();
  const std::string first_blob = Files(".blob").at(0);
  PutMany("b", 20, 100'000);
  Flush();
  ASSERT_TRUE(db_->Close().ok());
  db_.reset();
  const auto flip = [&](std::streamoff from_end) {
    std::fstream file(first_blob, std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(-from_end, std::ios::end);
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(-from_end, std::ios::end);
    file.put(byte);
  };
  const auto ending = static_cast<std::streamoff>(BlobTrailer::kBytes + sizeof(uint64_t));
  for (std::streamoff from_end = 1; from_end <= ending; from_end += 3) {
    flip(from_end);
    Open();
    EXPECT_EQ(Files(".values").size(), 2u) << from_end;
    std::string got;
    EXPECT_TRUE(db_->Get({}, "a1000", &got).IsCorruption()) << from_end;
    EXPECT_TRUE(db_->Get({}, "b1000", &got).ok()) << from_end;
    ASSERT_TRUE(db_->Close().ok());
    db_.reset();
    flip(from_end);
  }
  Open();
  CheckAll();
}

// WAL files that were begun later cannot be the ones, whichever setting wrote them.
TEST_F(ValueOnceTest, ADamagedEndingKeepsNoLaterWal) {
  for (const bool enabled : {false, true}) {
    Open();
    PutMany("a", 20, 100'000);
    Flush();
    ASSERT_TRUE(db_->Close().ok());
    db_.reset();
    DamageEnding(Files(".blob").back());
    Open(enabled);
    PutMany("b", 20, 3'000);
    Flush();
    const size_t kept = Files(".values").size();
    for (int i = 0; i < 3; ++i) {
      PutMany("b", 20, 3'000);
      Flush();
    }
    EXPECT_EQ(Files(".values").size(), kept);
    db_.reset();
    std::filesystem::remove_all(path_);
    model_.clear();
  }
}

TEST_F(ValueOnceTest, WhatADamagedEndingMayNeedGoesWithItsBlobFile) {
  Open();
  PutMany("a", 20, 100'000);
  Flush();
  PutMany("b", 20, 100'000);
  Flush();
  std::vector<std::string> blobs = Files(".blob");
  ASSERT_EQ(blobs.size(), 2u);
  ASSERT_TRUE(db_->Close().ok());
  db_.reset();
  DamageEnding(*std::max_element(blobs.begin(), blobs.end()));
  Open();
  const size_t kept = Files(".values").size();
  const auto remove = [&](const std::string& begin, const std::string& end) {
    ASSERT_TRUE(db_->DeleteRange({}, db_->DefaultColumnFamily(), begin, end).ok());
    Flush();
    ASSERT_TRUE(db_->CompactRange({}, nullptr, nullptr).ok());
  };
  remove("a", "b");
  EXPECT_EQ(Files(".blob").size(), 1u);
  EXPECT_EQ(Files(".values").size(), kept);
  remove("b", "c");
  EXPECT_TRUE(Files(".blob").empty());
  EXPECT_TRUE(Files(".values").empty());
}

// As kill -9 in the middle of a flush leaves it: RocksDB deletes it when it opens.
TEST_F(ValueOnceTest, AnUnfinishedBlobFileKeepsNothingOnceItIsGone) {
  Open();
  PutMany("a", 20, 100'000);
  Flush();
  ASSERT_TRUE(db_->Close().ok());
  db_.reset();
  const std::string unfinished = path_ + "/000002.blob";
  const std::string orphan = path_ + "/000001.values";
  std::ofstream(unfinished) << "unfinished";
  std::ofstream(orphan) << "perhaps needed by it";
  Open();
  EXPECT_FALSE(std::filesystem::exists(unfinished));
  EXPECT_FALSE(std::filesystem::exists(orphan));
  EXPECT_EQ(Files(".values").size(), 1u);
  CheckAll();
}

TEST_F(ValueOnceTest, EitherSettingReadsWhatTheOtherWrote) {
  Open(/*enabled=*/false);
  PutMany("twice", 20, 100'000);
  Flush();
  EXPECT_TRUE(Files(".values").empty());
  CloseAndOpen(/*enabled=*/true);
  PutMany("once", 20, 100'000);
  Flush();
  EXPECT_EQ(Files(".values").size(), 1u);
  CheckAll();
  CloseAndOpen(/*enabled=*/false);
  CheckAll();
  ASSERT_TRUE(db_->DeleteRange({}, db_->DefaultColumnFamily(), "o", "p").ok());
  std::erase_if(model_, [](const auto& entry) { return entry.first < "p"; });
  Flush();
  ASSERT_TRUE(db_->CompactRange({}, nullptr, nullptr).ok());
  EXPECT_TRUE(Files(".values").empty());
  CheckAll();
}

// A WAL that the scanner cannot read: slower, never wrong.
TEST_F(ValueOnceTest, AMisreadWalCostsSpeedOnly) {
  options_.wal_compression = rocksdb::kZSTD;
  Open();
  PutMany("a", 20, 100'000);
  Flush();
  CheckAll();
  EXPECT_TRUE(Files(".values").empty());
  EXPECT_GT(Bytes(".blob"), 2'000'000u);
  CloseAndOpen();
  CheckAll();
}

// What a scanner that misreads a WAL might report: another length, or other bytes at the place.
TEST_F(ValueOnceTest, AValueIsTakenOnlyWithItsLengthAndChecksum) {
  Open();
  PutMany("a", 2, 50'000);
  Flush();
  const std::string written = tee_->written.begin()->second;
  const std::string path = directory_ / "000009.blob";
  OpenFiles open_files(4);
  WalValues wals(directory_.path(), *disk_, open_files);
  wals.Begin(7, std::make_shared<WritableWal>(nullptr));
  const auto crc = [&](const std::string& key) { return Crc32c(Crc32c(0, key), model_[key]); };
  wals.Add(7, "a1000", {.offset = 100, .bytes = 50'000, .crc = crc("a1001")});
  wals.Add(7, "a1001", {.offset = 100, .bytes = 49'999, .crc = crc("a1001")});
  std::unique_ptr<rocksdb::FSWritableFile> file;
  ASSERT_TRUE(disk_->NewWritableFile(path, {}, &file, nullptr).ok());
  BlobWriter writer(9, std::move(file), wals, [](const std::shared_ptr<const BlobFile>&) { FAIL() << "an extent"; });
  ASSERT_TRUE(writer.Append(written, {}, nullptr).ok());
  ASSERT_TRUE(writer.Sync({}, nullptr).ok());
  ASSERT_TRUE(writer.Close({}, nullptr).ok());
  std::ifstream kept(path, std::ios::binary);
  EXPECT_TRUE(std::string(std::istreambuf_iterator<char>(kept), {}) == written);
}

TEST_F(ValueOnceTest, TheLatestOfTwoValuesOfAKeyIsTaken) {
  Open();
  for (int count : {20, 5, 5}) PutMany("a", count, 50'000);
  Flush();
  CheckAll();
  EXPECT_LT(Bytes(".blob"), 100'000u);
}

// Two thirds of this WAL are values too small for an extent: what is large is moved to the blob file, and the WAL goes.
TEST_F(ValueOnceTest, FewLargeValuesDoNotKeepAWal) {
  Open();
  PutMany("small", 2'000, 1'000);
  PutMany("large", 10, 100'000);
  Flush();
  CheckAll();
  EXPECT_TRUE(Files(".values").empty());
  PutMany("alone", 10, 100'000);
  CloseAndOpen();
  CheckAll();
}

// Most of this WAL was removed before it was flushed.
TEST_F(ValueOnceTest, WhatWasRemovedBeforeAFlushIsNotKept) {
  Open();
  PutMany("a", 20, 100'000);
  PutMany("b", 10, 100'000);
  ASSERT_TRUE(db_->DeleteRange({}, db_->DefaultColumnFamily(), "a", "b").ok());
  std::erase_if(model_, [](const auto& entry) { return entry.first < "b"; });
  Flush();
  CheckAll();
  EXPECT_TRUE(Files(".values").empty());
  EXPECT_LT(Bytes(".blob"), 1'100'000u);
  const auto& [path, bytes] = *tee_->written.begin();
  std::unique_ptr<rocksdb::FSRandomAccessFile> file;
  ASSERT_TRUE(files_->NewRandomAccessFile(path, {}, &file, nullptr).ok());
  std::string scratch(bytes.size(), '\0');
  rocksdb::Slice got;
  ASSERT_TRUE(file->Read(0, bytes.size(), {}, &got, scratch.data(), nullptr).ok());
  EXPECT_TRUE(got == rocksdb::Slice(bytes));
}

TEST_F(ValueOnceTest, ABlobFileThatCannotBeSyncedGivesItsWalBack) {
  Open();
  PutMany("a", 20, 100'000);
  disk_->FailSyncs(FileKind::kBlob);
  EXPECT_FALSE(db_->Flush({}).ok());
  disk_->Mend();
  db_.reset();
  const std::string wal = Files(".log").at(0);
  std::filesystem::copy_file(wal, directory_ / "copy");
  ASSERT_TRUE(files_->DeleteFile(wal, {}, nullptr).ok());
  EXPECT_TRUE(Files(".values").empty()) << "it is kept for the blob file";
  std::filesystem::rename(directory_ / "copy", wal);
  Open();
  CheckAll();
}

// Nothing had synced the WAL: the blob file may not rest on it before that is done, and not at all if it fails.
TEST_F(ValueOnceTest, AFlushFailsIfTheWalCannotBeSynced) {
  Open();
  PutMany("a", 20, 100'000);
  disk_->FailSyncs(FileKind::kWal);
  EXPECT_FALSE(db_->Flush({}).ok());
  disk_->Mend();
  Open();
  CheckAll();
}

TEST_F(ValueOnceTest, AFailedSyncOfTheWalDuringAFlushIsFinal) {
  Open();
  PutMany("a", 20, 100'000);
  disk_->FailNextSync(FileKind::kWal);
  EXPECT_FALSE(db_->Flush({}).ok());
  EXPECT_TRUE(db_->SyncWAL().IsIOError()) << "what was lost passes for synced";
}

// The other way round, before RocksDB has taken note of its failed sync, and after it has closed the file.
TEST_F(ValueOnceTest, AFailedSyncOfTheWalIsFinalForBlobFiles) {
  Open();
  std::unique_ptr<rocksdb::FSWritableFile> file;
  ASSERT_TRUE(disk_->NewWritableFile(directory_ / "000007.log", {}, &file, nullptr).ok());
  OpenFiles open_files(4);
  WalValues wals(directory_.path(), *disk_, open_files);
  const auto writable = std::make_shared<WritableWal>(file.get());
  wals.Begin(7, writable);
  writable->Wrote(100);
  rocksdb::IOStatus synced;
  disk_->FailNextSync(FileKind::kWal);
  ASSERT_TRUE(writable->Sync(&synced));
  EXPECT_TRUE(synced.IsIOError());
  EXPECT_TRUE(wals.Sync(7, 100).IsIOError());
  writable->Closing();
  EXPECT_TRUE(wals.Sync(7, 100).IsIOError());
}

TEST_F(ValueOnceTest, AFailedEndOfABlobFileIsNotTriedAgain) {
  Open();
  PutMany("small", 2'000, 1'000);
  PutMany("large", 10, 100'000);
  disk_->FailNextSync(FileKind::kBlob);
  EXPECT_TRUE(db_->Flush({}).IsIOError());
  Open();
  CheckAll();
}

TEST_F(ValueOnceTest, DamageIsSeenAndNamed) {
  Open();
  PutMany("a", 200, 100'000);
  Flush();
  ASSERT_TRUE(db_->Close().ok());
  db_.reset();
  const std::string values = Files(".values").at(0);
  const std::string blob = Files(".blob").at(0);
  std::filesystem::resize_file(values, std::filesystem::file_size(values) - 1'000'000);
  Open();
  std::string got;
  EXPECT_TRUE(db_->Get({}, "a1000", &got).ok());
  EXPECT_TRUE(db_->Get({}, "a1199", &got).IsCorruption());
  ASSERT_TRUE(db_->Close().ok());
  db_.reset();
  // A byte of the table of extents.
  std::fstream file(blob, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(std::filesystem::file_size(blob)) - 1000);
  file.put('\x7f').put('\x7f');
  file.close();
  Open();
  EXPECT_TRUE(db_->Get({}, "a1000", &got).IsCorruption());
}

}  // namespace
}  // namespace millrace::storage
