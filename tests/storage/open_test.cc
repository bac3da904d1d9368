#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <rocksdb/db.h>

#include "absl/strings/str_cat.h"
#include "storage/file_system.h"
#include "storage/store_directory.h"
#include "tests/storage/faulty_file_system.h"
#include "tests/storage/recording_file_system.h"
#include "tests/storage/store_fixture.h"

namespace millrace::storage {
namespace {

using raft::Offset;
using testing::HasSubstr;

class OpenTest : public StoreTest {
 protected:
  std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }
  absl::Status OpenStatus() { return RocksLogStore::Open(options_).status(); }
  // Names, sizes and times of what is in the directory.
  std::map<std::string, std::string> Listing() {
    std::map<std::string, std::string> files;
    for (const auto& file : std::filesystem::directory_iterator(options_.directory)) {
      files[file.path()] =
          absl::StrCat(file.file_size(), " ", file.last_write_time().time_since_epoch() / std::chrono::nanoseconds(1));
    }
    return files;
  }
};

TEST_F(OpenTest, StoreIsCleanOnlyAfterClose) {
  OpenStore();
  EXPECT_TRUE(store_->opened_clean());
  Reopen();
  EXPECT_FALSE(store_->opened_clean());
  EXPECT_FALSE(store_->os_crashed());
  ASSERT_TRUE(store_->Close().ok());
  Reopen();
  EXPECT_TRUE(store_->opened_clean());
}

TEST_F(OpenTest, ChangedBootWithoutCleanMarkIsACrashOfTheMachine) {
  options_.boot_id = "monday";
  OpenStore();
  ASSERT_TRUE(store_->Close().ok());
  options_.boot_id = "tuesday";
  Reopen();
  EXPECT_FALSE(store_->os_crashed());
  options_.boot_id = "wednesday";
  Reopen();
  EXPECT_TRUE(store_->os_crashed());
  EXPECT_FALSE(store_->opened_clean());
  Reopen();
  EXPECT_TRUE(store_->os_crashed()) << "nobody has acted on it";
  ASSERT_TRUE(store_->Close().ok());
  Reopen();
  EXPECT_TRUE(store_->os_crashed()) << "a clean end does not bring lost records back";
  ASSERT_TRUE(store_->ForgetOsCrash().ok());
  Reopen();
  EXPECT_FALSE(store_->os_crashed());
}

TEST_F(OpenTest, CloseLeavesNothingToReplay) {
  OpenStore();
  WriteMany(10, {.bytes = 100000});
  ASSERT_TRUE(store_->Close().ok());
  Reopen();
  EXPECT_LT(store_->Stats().memtable_bytes, 100000u);
  EXPECT_EQ(State().log_end, Offset(100));
}

TEST_F(OpenTest, SecondStoreInThisProcessIsRefused) {
  OpenStore();
  const absl::Status status = OpenStatus();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(MessageOf(status), HasSubstr("already open in this process"));
  ASSERT_TRUE(Write({}).ok());
}

// Another process holds the lock: a child that does nothing else.
TEST_F(OpenTest, DirectoryInUseNamesTheOtherProcess) {
  OpenStore();
  ASSERT_TRUE(store_->Close().ok());
  round_.reset();
  store_.reset();
  int ready[2];
  int finish[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(finish), 0);
  const pid_t child = fork();
  if (child == 0) {
    const int fd = open(options_.directory.c_str(), O_RDONLY | O_DIRECTORY);
    char byte = flock(fd, LOCK_EX | LOCK_NB) == 0 ? 'y' : 'n';
    close(finish[1]);
    if (write(ready[1], &byte, 1) != 1 || read(finish[0], &byte, 1) != 0) _exit(1);
    _exit(0);
  }
  close(finish[0]);
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  ASSERT_EQ(byte, 'y');
  const auto before = Listing();
  const absl::Status status = OpenStatus();
  EXPECT_EQ(Listing(), before) << "files of the store that is in use were touched";
  close(finish[1]);
  int exit_status;
  waitpid(child, &exit_status, 0);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(MessageOf(status), HasSubstr("in use by process " + std::to_string(child)));
  EXPECT_THAT(MessageOf(status), HasSubstr(options_.directory));
}

TEST_F(OpenTest, OtherFormatsAreRefused) {
  OpenStore();
  ASSERT_TRUE(store_->Close().ok());
  round_.reset();
  store_.reset();
  const std::pair<int, std::string> others[] = {{StoreDirectory::kFormat + 1, ", written by a newer release"},
                                                {2, "format 2, of a build before the first release"}};
  for (const auto& [format, told] : others) {
    std::ofstream(options_.directory + "/FORMAT") << "millrace store format " << format << "\n";
    const auto before = Listing();
    const absl::Status status = OpenStatus();
    EXPECT_TRUE(absl::IsFailedPrecondition(status));
    EXPECT_THAT(MessageOf(status), HasSubstr(told));
    EXPECT_EQ(Listing(), before);
  }
}

TEST_F(OpenTest, SomebodyElsesDatabaseIsRefused) {
  OpenStore();
  ASSERT_TRUE(store_->Close().ok());
  round_.reset();
  store_.reset();
  ASSERT_EQ(unlink((options_.directory + "/FORMAT").c_str()), 0);
  const auto before = Listing();
  EXPECT_TRUE(absl::IsFailedPrecondition(OpenStatus()));
  EXPECT_THAT(MessageOf(OpenStatus()), HasSubstr("no store of a broker"));
  EXPECT_EQ(Listing(), before);

  std::ofstream(options_.directory + "/FORMAT") << "millrace sto";
  EXPECT_TRUE(absl::IsDataLoss(OpenStatus()));
}

TEST_F(OpenTest, AStartThatDiedBeforeTheDatabaseWasMadeIsGoneOver) {
  ASSERT_EQ(mkdir(options_.directory.c_str(), 0700), 0);
  std::ofstream(options_.directory + "/FORMAT") << "millrace sto";
  OpenStore();
  ASSERT_TRUE(store_->Close().ok());
  Reopen();
}

TEST_F(OpenTest, DirectoriesThatCannotBeUsedSayWhatToDo) {
  options_.directory = "";
  EXPECT_TRUE(absl::IsInvalidArgument(OpenStatus()));

  options_.directory = directory_ / "missing";
  options_.create_if_missing = false;
  EXPECT_TRUE(absl::IsNotFound(OpenStatus()));
  EXPECT_THAT(MessageOf(OpenStatus()), HasSubstr("No such file or directory"));

  options_.create_if_missing = true;
  options_.directory = directory_ / "no/parent";
  EXPECT_TRUE(absl::IsFailedPrecondition(OpenStatus()));

  options_.directory = directory_ / "file";
  std::ofstream(options_.directory) << "x";
  EXPECT_TRUE(absl::IsFailedPrecondition(OpenStatus()));
  EXPECT_THAT(MessageOf(OpenStatus()), HasSubstr("is not a directory"));
}

// In a child that is not root, which may write anywhere.
TEST_F(OpenTest, UnwritableDirectoryIsRefused) {
  constexpr uid_t kNobody = 65534;
  options_.directory = directory_ / "locked";
  ASSERT_EQ(mkdir(options_.directory.c_str(), 0555), 0);
  ASSERT_EQ(chmod((directory_ / "").c_str(), 0755), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 && setresuid(kNobody, kNobody, kNobody) != 0) _exit(2);
    _exit(MessageOf(OpenStatus()).find("cannot be written to") != std::string::npos ? 0 : 1);
  }
  int exit_status = -1;
  waitpid(child, &exit_status, 0);
  EXPECT_EQ(exit_status, 0);
}

TEST_F(OpenTest, MissingManifestIsDataLossAndChangesNothing) {
  OpenStore();
  WriteMany(1, {});
  ASSERT_TRUE(store_->Close().ok());
  round_.reset();
  store_.reset();
  std::ofstream(options_.directory + "/CURRENT") << "MANIFEST-999999\n";
  const auto before = Listing();
  const absl::Status status = OpenStatus();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(MessageOf(status), HasSubstr(options_.directory + "/MANIFEST-999999"));
  EXPECT_EQ(Listing(), before);
}

// As a supervisor starts the broker again at once.
TEST_F(OpenTest, MissingCurrentIsDataLossAtEachStartAndChangesNothing) {
  OpenStore();
  WriteMany(20, {.bytes = 10'000});
  ASSERT_TRUE(store_->Close().ok());
  round_.reset();
  store_.reset();
  const std::string current = options_.directory + "/CURRENT";
  std::filesystem::rename(current, directory_ / "lost");
  const auto before = Listing();
  for (int starts = 0; starts < 2; ++starts) {
    const absl::Status status = OpenStatus();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(MessageOf(status), HasSubstr("no file CURRENT"));
    EXPECT_EQ(Listing(), before);
  }
  std::filesystem::rename(directory_ / "lost", current);
  OpenStore();
  EXPECT_EQ(State().log_end, Offset(200));
}

TEST_F(OpenTest, WhatWasMadeAheadByAProcessThatDiedGoes) {
  OpenStore();
  WriteMany(1, {});
  ASSERT_TRUE(store_->Close().ok());
  round_.reset();
  store_.reset();
  const std::string left = options_.directory + "/" + std::string(kNextWalName);
  std::ofstream(left) << "x";
  OpenStore();
  EXPECT_FALSE(std::filesystem::exists(left));
}

// Each of them alone is a store that lost CURRENT; what a start leaves that died before CURRENT was there is none.
TEST_F(OpenTest, OnlyFilesThatAStoreHasWithCurrentMissIt) {
  for (const char* name : {"000007.sst", "000007.moved", "000007.payloads", "000007.log", "MANIFEST-000005"}) {
    std::filesystem::remove_all(options_.directory);
    std::filesystem::create_directory(options_.directory);
    std::ofstream(options_.directory + "/" + name) << "x";
    EXPECT_TRUE(absl::IsDataLoss(OpenStatus())) << name;
  }
  std::filesystem::remove_all(options_.directory);
  std::filesystem::create_directory(options_.directory);
  for (const char* name : {"IDENTITY", "LOCK", "LOG", "LOG.old.1", "000001.dbtmp", "MANIFEST-000001", "broker.log"}) {
    std::ofstream(options_.directory + "/" + name) << "x";
  }
  OpenStore();
  ASSERT_TRUE(store_->Close().ok());
  Reopen();
}

class DiskOrderTest : public StoreTest {
 protected:
  DiskOrderTest() { options_.file_system = files_; }

  const std::shared_ptr<RecordingFileSystem> files_ = std::make_shared<RecordingFileSystem>(directory_ / "store");
};

TEST_F(DiskOrderTest, NewDirectoryIsSyncedInTheOneAbove) {
  OpenStore();
  int syncs = 0;
  const DiskLog log = files_->log();
  for (const DiskOp& op : log) {
    syncs += op.kind == DiskOp::Kind::kSyncDirectory && op.name != "." && std::filesystem::exists(op.name) &&
             std::filesystem::equivalent(op.name, directory_.path());
  }
  EXPECT_EQ(syncs, 1);
}

// A disk that keeps the rename, but not the names of the files that recovery wrote.
TEST_F(DiskOrderTest, ManifestBecomesCurrentOnceTheNamesItListsAreOnTheDisk) {
  OpenStore();
  WriteMany(10, {.bytes = 100'000});
  Reopen();
  int renames = 0;
  std::map<size_t, std::string> unsynced;
  const DiskLog log = files_->log();
  for (size_t i = 0; i < log.size(); ++i) {
    const DiskOp& op = log[i];
    if (op.kind == DiskOp::Kind::kLink) unsynced[i] = op.name;
    if (op.kind == DiskOp::Kind::kSyncDirectory && op.name == ".") {
      unsynced.erase(unsynced.begin(), unsynced.lower_bound(op.position));
    }
    if (op.kind != DiskOp::Kind::kRename || op.new_name != "CURRENT") continue;
    ++renames;
    EXPECT_THAT(unsynced, testing::IsEmpty());
  }
  EXPECT_EQ(renames, 3) << "a new store has a manifest before the first one of its own";
}

// Nobody asks for a sync here: a table must not rest on a WAL file that a power cut could take.
TEST_F(DiskOrderTest, TablesAreSyncedOnceTheWalFilesBeforeThemAreOnTheDisk) {
  options_.memory_bytes = 3 << 20;
  OpenStore();
  WriteMany(100, {.bytes = 100'000});
  Reopen();
  std::vector<uint32_t> wals;
  std::map<uint32_t, size_t> tables;   // so many WAL files were closed when it was begun
  std::map<uint32_t, size_t> written;  // position behind the last write
  std::map<uint32_t, size_t> synced;
  size_t closed = 0;  // files before the newest that was written to: RocksDB may still be about to turn to a newer one
  int checked = 0;
  const DiskLog log = files_->log();
  for (size_t i = 0; i < log.size(); ++i) {
    const DiskOp& op = log[i];
    if (op.kind == DiskOp::Kind::kLink && KindOfFile(op.name) == FileKind::kWal) wals.push_back(op.file);
    if (op.kind == DiskOp::Kind::kLink && KindOfFile(op.name) == FileKind::kSst) tables[op.file] = closed;
    if (op.kind == DiskOp::Kind::kWrite) {
      written[op.file] = i + 1;
      if (!wals.empty() && op.file == wals.back()) closed = wals.size() - 1;
    }
    if (op.kind != DiskOp::Kind::kSync) continue;
    synced[op.file] = op.position;
    const auto table = tables.find(op.file);
    if (table == tables.end()) continue;
    for (size_t wal = 0; wal < table->second; ++wal, ++checked)
      EXPECT_LE(written[wals[wal]], synced[wals[wal]]) << wal << " at " << i;
  }
  EXPECT_GT(checked, 0) << "how many tables there are is up to the background threads";
}

class FaultTest : public StoreTest {
 protected:
  FaultTest() {
    options_.file_system = files_;
    options_.memory_bytes = 4 << 20;
    options_.on_fatal = [this](absl::Status status) {
      ++fatal_calls_;
      fatal_ = std::move(status);
    };
  }

  void ExpectPoisoned() {
    files_->Mend();
    EXPECT_EQ(fatal_calls_, 1);
    EXPECT_FALSE(fatal_.ok());
    EXPECT_EQ(Write({}), fatal_);
    EXPECT_EQ(SyncNow(), fatal_);
    EXPECT_EQ(store_->Read(group_, Offset(0), Offset(1), kAll).status(), fatal_);
    EXPECT_EQ(store_->Create(raft::GroupId(9), {}), fatal_);
    EXPECT_EQ(store_->List().status(), fatal_);
    EXPECT_EQ(store_->Close(), fatal_);
    EXPECT_EQ(fatal_calls_, 1);
  }

  const std::shared_ptr<FaultyFileSystem> files_ = std::make_shared<FaultyFileSystem>();
  std::atomic<int> fatal_calls_{0};
  absl::Status fatal_;
};

TEST_F(FaultTest, FailedSyncPoisonsTheStore) {
  OpenStore();
  WriteMany(3, {});
  ASSERT_TRUE(SyncNow().ok());
  WriteMany(1, {});
  files_->FailSyncs(FileKind::kWal);
  const absl::Status failed = SyncNow();
  EXPECT_THAT(std::string(failed.message()), HasSubstr("lost a page"));
  EXPECT_THAT(std::string(failed.message()), HasSubstr("the broker must stop"));
  ExpectPoisoned();
}

// A supervisor starts the broker again at once, while the page cache still shows what the disk has lost.
TEST_F(FaultTest, AfterAFailedSyncTheNextStartGoesByTheDiskAndNotByThePageCache) {
  OpenStore();
  WriteMany(3, {.records = 10, .bytes = 5000});
  ASSERT_TRUE(SyncNow().ok());
  WriteMany(2, {.records = 10, .bytes = 5000});
  files_->FailNextSync(FileKind::kWal);
  ASSERT_FALSE(SyncNow().ok());
  Reopen();
  EXPECT_FALSE(store_->opened_clean());
  EXPECT_EQ(State().log_end, Offset(30));
  // And what it found is on the disk again before anything rests on it: it goes on as any other store.
  WriteMany(2, {.records = 10, .bytes = 5000});
  ASSERT_TRUE(SyncNow().ok());
  Reopen();
  EXPECT_EQ(State().log_end, Offset(50));
  EXPECT_EQ(store_->Read(group_, Offset(0), Offset(50), kAll)->size(), 5u);
}

// A table that the disk's manifest does not name: the log still has what is in it.
TEST_F(FaultTest, AfterAFailedSyncOfTheManifestTheNextStartGoesByTheDisk) {
  OpenStore();
  WriteMany(3, {.records = 10, .bytes = 5000});
  ASSERT_TRUE(SyncNow().ok());
  files_->FailNextSync(FileKind::kManifest);
  absl::Status status;
  for (int i = 0; i < 5000 && status.ok(); ++i) status = Write({.records = 10, .bytes = 20000});
  ASSERT_FALSE(status.ok());
  ExpectPoisoned();
  Reopen();
  EXPECT_FALSE(store_->opened_clean());
  const Offset end = State().log_end;
  EXPECT_GE(end, Offset(30));
  EXPECT_EQ(store_->Read(group_, Offset(0), end, kAll)->size(), static_cast<size_t>(end - Offset(0)) / 10);
}

TEST_F(FaultTest, FailedWritePoisonsTheStoreAndChangesNothing) {
  OpenStore();
  WriteMany(3, {.records = 10});
  files_->FailWrites(FileKind::kWal);
  EXPECT_FALSE(Write({.records = 10}).ok());
  EXPECT_EQ(State().log_end, Offset(30));
  ExpectPoisoned();
  Reopen();
  EXPECT_EQ(State().log_end, Offset(30));
}

TEST_F(FaultTest, FailedFlushPoisonsTheStore) {
  OpenStore();
  files_->FailWrites(FileKind::kSst);
  absl::Status status;
  for (int i = 0; i < 2000 && status.ok(); ++i) status = Write({.bytes = 20000});
  EXPECT_FALSE(status.ok());
  ExpectPoisoned();
  Reopen();
  EXPECT_GT(State().log_end, Offset(0));
}

TEST_F(OpenTest, OneSyncServesAllWhoAskedDuringThePreviousOne) {
  OpenStore();
  WriteMany(1, {});
  constexpr int kRequests = 100;
  std::promise<void> may_go_on;
  std::promise<void> all_done;
  std::atomic<int> done = 0;
  store_->Sync([&](absl::Status) { may_go_on.get_future().wait(); });
  for (int i = 0; i < kRequests; ++i) {
    store_->Sync([&](absl::Status status) {
      EXPECT_TRUE(status.ok());
      if (++done == kRequests) all_done.set_value();
    });
  }
  may_go_on.set_value();
  all_done.get_future().wait();
  EXPECT_LE(store_->Stats().syncs, 2u);
}

TEST_F(OpenTest, StatsCountWhatGoesToWhichFiles) {
  options_.memory_bytes = 4 << 20;
  OpenStore();
  WriteMany(100, {.bytes = 50000});
  ASSERT_TRUE(SyncNow().ok());
  const StoreStats stats = store_->Stats();
  EXPECT_EQ(stats.rounds, 100u);
  EXPECT_EQ(stats.entry_bytes, 5'000'000u);
  EXPECT_EQ(stats.syncs, 1u);
  EXPECT_GT(stats.wal_bytes_written, 5'000'000u);
  EXPECT_LT(stats.wal_bytes_written, 5'200'000u);
  EXPECT_GT(stats.cached_bytes, 5'000'000u);
  EXPECT_GT(stats.file_syncs, 0u);
  EXPECT_GT(stats.wal_file_bytes, 0u);
}

// A scrape must not wait for a directory that a flush is changing.
TEST_F(OpenTest, StatsLookAtNoDirectory) {
  struct Looks : public rocksdb::FileSystemWrapper {
    Looks() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
    const char* Name() const override { return "looks"; }
    rocksdb::IOStatus GetChildren(const std::string& dir, const rocksdb::IOOptions& options,
                                  std::vector<std::string>* names, rocksdb::IODebugContext* dbg) override {
      ++count;
      return target()->GetChildren(dir, options, names, dbg);
    }
    rocksdb::IOStatus GetFileSize(const std::string& path, const rocksdb::IOOptions& options, uint64_t* size,
                                  rocksdb::IODebugContext* dbg) override {
      ++count;
      return target()->GetFileSize(path, options, size, dbg);
    }
    std::atomic<int> count{0};
  };
  const auto looks = std::make_shared<Looks>();
  options_.file_system = looks;
  OpenStore();
  EXPECT_GT(looks->count, 0);
  WriteMany(10, {.bytes = 5000});
  const int before = looks->count;
  const StoreStats stats = store_->Stats();
  EXPECT_EQ(looks->count, before);
  uint64_t wal_bytes = 0;
  uint64_t ssts = 0;
  for (const auto& file : std::filesystem::directory_iterator(options_.directory)) {
    if (file.path().extension() == ".log") wal_bytes += file.file_size();
    if (file.path().extension() == ".sst") ++ssts;
  }
  EXPECT_EQ(stats.wal_file_bytes, wal_bytes);
  EXPECT_EQ(stats.sst_files, ssts);
}

TEST_F(OpenTest, FilesAreCountedAsTheyComeAndGo) {
  std::filesystem::create_directory(options_.directory);
  std::ofstream(options_.directory + "/000001.log") << "1234567";
  std::ofstream(options_.directory + "/000002.sst") << "123";
  StoreFileSystem files(rocksdb::FileSystem::Default());
  files.CountFilesOf(options_.directory);
  const auto expect = [&files](FileKind kind, uint64_t count, uint64_t bytes) {
    EXPECT_EQ(files.held(kind).files, count);
    EXPECT_EQ(files.held(kind).bytes, bytes);
  };
  expect(FileKind::kWal, 1, 7);
  expect(FileKind::kSst, 1, 3);
  std::unique_ptr<rocksdb::FSWritableFile> file;
  const std::string path = options_.directory + "/000003.log";
  ASSERT_TRUE(files.NewWritableFile(path, {}, &file, nullptr).ok());
  ASSERT_TRUE(file->Append("12345", {}, nullptr).ok());
  expect(FileKind::kWal, 2, 12);
  ASSERT_TRUE(file->Close({}, nullptr).ok());
  ASSERT_TRUE(files.DeleteFile(options_.directory + "/000001.log", {}, nullptr).ok());
  expect(FileKind::kWal, 1, 5);
  EXPECT_FALSE(files.DeleteFile(options_.directory + "/000001.log", {}, nullptr).ok());
  expect(FileKind::kWal, 1, 5);
  ASSERT_TRUE(files.DeleteFile(path, {}, nullptr).ok());
  expect(FileKind::kWal, 0, 0);
  expect(FileKind::kSst, 1, 3);
}

TEST(FileSystem, KindsAreKnownByName) {
  EXPECT_EQ(KindOfFile("/data/store/000012.log"), FileKind::kWal);
  EXPECT_EQ(KindOfFile("/data/store/000012.moved"), FileKind::kMoved);
  EXPECT_EQ(KindOfFile("/data/store/000012.sst"), FileKind::kSst);
  EXPECT_EQ(KindOfFile("/data/store/MANIFEST-000004"), FileKind::kManifest);
  EXPECT_EQ(KindOfFile("/data/store.log/CURRENT"), FileKind::kOther);
  EXPECT_EQ(KindOfFile("LOG"), FileKind::kOther);
}

}  // namespace
}  // namespace millrace::storage
