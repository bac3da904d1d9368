// Goal: a store whose flushes do not keep up refuses writes instead of making their callers wait, changes nothing by it, and takes
// them when it has caught up.
// Method: the device takes no tables until the test says so.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/storage/faulty_file_system.h"
#include "tests/storage/store_fixture.h"

namespace millrace::storage {
namespace {

using raft::Entry;
using raft::GroupId;
using raft::LogIndex;
using raft::Offset;

class StallTest : public StoreTest {
 protected:
  StallTest() {
    options_.file_system = files_;
    options_.memory_bytes = 4 << 20;
  }
  ~StallTest() override { files_->Release(); }

  // Writes until one is refused, which round_ holds; returns how many went through.
  int64_t FillUntilStalled() {
    files_->HoldWrites(FileKind::kSst);
    for (int64_t written = 0; written < 2000; ++written) {
      Stage({.records = 10, .bytes = 20000});
      const absl::Status status = store_->Write(*round_);
      if (raft::IsStalled(status)) return written;
      EXPECT_TRUE(status.ok()) << status;
    }
    ADD_FAILURE() << "40 MB went into 4 MB of memory";
    return 0;
  }

  void WaitUntilWritable() {
    std::promise<void> writable;
    store_->WhenWritable([&] { writable.set_value(); });
    writable.get_future().wait();
  }
  // As a broker does it.
  void WriteToTheEnd() {
    files_->Release();
    const absl::Status status = ThroughStalls(*store_, [this] { return store_->Write(*round_); });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(round_->empty());
  }

  // What can be read of a log, as index:records.
  std::vector<std::string> Contents(GroupId group) {
    std::vector<std::string> contents;
    const auto entries = store_->ReadEntries(group, LogIndex(1), store_->State(group).last_index, kAll);
    EXPECT_TRUE(entries.ok()) << entries.status();
    if (!entries.ok()) return contents;
    for (const Entry& entry : *entries) {
      contents.push_back(std::to_string(entry.header.index.value()) + ":" + std::to_string(entry.payload.size()));
    }
    return contents;
  }

  const std::shared_ptr<FaultyFileSystem> files_ = std::make_shared<FaultyFileSystem>();
};

TEST_F(StallTest, RefusedWriteChangesNothingAndGoesThroughAfterwards) {
  OpenStore();
  const int64_t written = FillUntilStalled();
  EXPECT_EQ(State().last_index, LogIndex(written));
  EXPECT_FALSE(round_->empty());
  EXPECT_EQ(round_->bytes(), 20000u);
  EXPECT_EQ(Contents(group_).size(), static_cast<size_t>(written)) << "reads go on";
  EXPECT_TRUE(SyncNow().ok()) << "syncs too";
  EXPECT_TRUE(raft::IsStalled(store_->Write(*round_)));
  EXPECT_TRUE(raft::IsStalled(store_->Create(GroupId(7), {})));
  EXPECT_EQ(store_->List().value(), std::vector<GroupId>{group_});

  WriteToTheEnd();
  EXPECT_EQ(State().last_index, LogIndex(written + 1));
  ASSERT_TRUE(store_->Create(GroupId(7), {}).ok());
  ASSERT_TRUE(Write({.bytes = 100}).ok());
  const std::vector<std::string> contents = Contents(group_);
  EXPECT_EQ(contents.size(), static_cast<size_t>(written + 2));
  Reopen();
  EXPECT_EQ(Contents(group_), contents);
}

TEST_F(StallTest, StalledRoundTakesMoreChanges) {
  OpenStore();
  WriteMany(4, {.records = 10, .bytes = 30});
  const int64_t written = FillUntilStalled() + 4;
  ASSERT_TRUE(raft::IsStalled(store_->Write(*round_)));
  store_->SetLimits(group_, {.bytes_max = 1});  // is not forgotten when the round is written
  Entry next;
  next.header = {.term = raft::Term(1),
                 .index = LogIndex(written + 2),
                 .base_offset = Offset(10 * (written + 1)),
                 .record_count = 10};
  next.payload = absl::Cord("next");
  round_->Append(group_, next);
  round_->PutValue(group_, "beside", "1");
  round_->SetLogStart(group_, Offset(10));
  EXPECT_EQ(State().log_start, Offset(0));
  WriteToTheEnd();
  EXPECT_EQ(State().last_index, LogIndex(written + 2));
  EXPECT_EQ(State().log_start, Offset(10));
  EXPECT_EQ(store_->Values(group_).value().size(), 1u);
  const size_t segments = store_->Segments(group_).size();
  ASSERT_TRUE(Write({.bytes = 100}).ok());
  EXPECT_EQ(store_->Segments(group_).size(), segments + 1);
  const std::vector<std::string> contents = Contents(group_);
  Reopen();
  EXPECT_EQ(Contents(group_), contents);
}

TEST_F(StallTest, ReadersOfWhatAStalledRoundWillCutStillGetIt) {
  OpenStore();
  const int64_t written = FillUntilStalled();
  round_->TruncateSuffix(group_, LogIndex(3));
  ASSERT_TRUE(raft::IsStalled(store_->Write(*round_)));
  EXPECT_EQ(Contents(group_).size(), static_cast<size_t>(written));
  EXPECT_TRUE(absl::IsOutOfRange(store_->TermAt(group_, LogIndex(written + 1)).status()));
  WriteToTheEnd();
  EXPECT_EQ(Contents(group_).size(), 2u);
}

TEST_F(StallTest, LogRemovedAroundAStallIsGone) {
  OpenStore();
  ASSERT_TRUE(store_->Create(GroupId(2), {}).ok());
  ASSERT_TRUE(store_->Open(GroupId(2)).ok());
  FillUntilStalled();
  round_->PutValue(GroupId(2), "kept", "1");
  ASSERT_TRUE(raft::IsStalled(store_->Write(*round_)));
  ASSERT_TRUE(raft::IsStalled(store_->Remove({group_})));
  EXPECT_FALSE(Contents(group_).empty()) << "it is still there";
  files_->Release();
  ASSERT_TRUE(ThroughStalls(*store_, [this] { return store_->Remove({group_}); }).ok());
  WriteToTheEnd();
  for (int restarts = 0; restarts < 2; ++restarts) {
    EXPECT_EQ(store_->List().value(), std::vector<GroupId>{GroupId(2)});
    EXPECT_EQ(store_->Values(GroupId(2)).value().size(), 1u);
    round_.reset();
    store_.reset();
    store_ = RocksLogStore::Open(options_).value();
    ASSERT_TRUE(store_->Open(GroupId(2)).ok());
  }
  ASSERT_TRUE(store_->Create(group_, {}).ok());
  EXPECT_EQ(store_->Open(group_).value().last_index, LogIndex(0)) << "nothing of it came back";
}

TEST_F(StallTest, StoreThatFailsDuringAStallIsNotWaitedFor) {
  OpenStore();
  FillUntilStalled();
  std::promise<void> told;
  store_->WhenWritable([&] { told.set_value(); });
  files_->FailWrites(FileKind::kSst);
  files_->Release();
  told.get_future().wait();
  const absl::Status failed = store_->Write(*round_);
  EXPECT_FALSE(failed.ok());
  EXPECT_FALSE(raft::IsStalled(failed));
  WaitUntilWritable();
}

TEST_F(StallTest, WritersAtOnceAllGetThrough) {
  OpenStore();
  constexpr int kWriters = 3;
  constexpr int kEntries = 200;
  for (int64_t group = 2; group < 2 + kWriters; ++group) {
    ASSERT_TRUE(store_->Create(GroupId(group), {}).ok());
    ASSERT_TRUE(store_->Open(GroupId(group)).ok());
  }
  std::atomic<int> refused = 0;
  files_->HoldWrites(FileKind::kSst);  // until the first refusal
  std::vector<std::thread> writers;
  for (int64_t group = 2; group < 2 + kWriters; ++group) {
    writers.emplace_back([&, group] {
      const auto round = store_->NewRound();
      for (int64_t i = 0; i < kEntries; ++i) {
        Entry entry;
        entry.header = {.term = raft::Term(1), .index = LogIndex(i + 1), .base_offset = Offset(i), .record_count = 1};
        entry.payload = absl::Cord(std::string(100000, 'x'));
        round->Append(GroupId(group), std::move(entry));
        EXPECT_TRUE(ThroughStalls(*store_, [&] {
                      const absl::Status status = store_->Write(*round);
                      if (raft::IsStalled(status) && refused++ == 0) files_->Release();
                      return status;
                    }).ok());
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  for (int64_t group = 2; group < 2 + kWriters; ++group) {
    EXPECT_EQ(Contents(GroupId(group)).size(), static_cast<size_t>(kEntries));
  }
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace millrace::storage
