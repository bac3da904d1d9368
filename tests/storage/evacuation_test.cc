// Payloads that live leave the files of those that are dead: which are moved, when, and what becomes of it when something fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/storage/faulty_file_system.h"
#include "tests/storage/payloads_fixture.h"

namespace millrace::storage {
namespace {

using raft::Entry;
using raft::Offset;
using testing::HasSubstr;

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
  ASSERT_TRUE(store_->Create(raft::GroupId(3), {}).ok());
  ASSERT_TRUE(store_->Remove({raft::GroupId(3)}).ok());
  while (store_->Stats().reclaims == 1) std::this_thread::yield();  // it has looked again since
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

}  // namespace
}  // namespace millrace::storage
