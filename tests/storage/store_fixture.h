// A store in a directory of its own, and short ways to fill it.
#pragma once

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <utility>

#include "proto/wire/check.h"
#include "storage/rocks_log_store.h"
#include "tests/storage/temp_dir.h"
#include "tests/support/through_stalls.h"

namespace millrace::storage {

class StoreTest : public testing::Test {
 protected:
  static constexpr size_t kAll = size_t{1} << 40;
  const raft::GroupId group_{1};

  StoreTest() { options_.directory = directory_ / "store"; }

  // Of a group that exists; made with these limits if it does not.
  void OpenStore(const raft::SegmentLimits& limits = {}) {
    store_.reset();
    auto store = RocksLogStore::Open(options_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    if (!absl::IsAlreadyExists(store_->Create(group_, limits))) limits_ = limits;
    auto state = store_->Open(group_);
    ASSERT_TRUE(state.ok()) << state.status();
    round_ = store_->NewRound();
  }
  void Reopen() {
    round_.reset();
    OpenStore(limits_);
  }

  raft::LogState State() { return store_->State(group_); }

  struct Append {
    int32_t records = 10;
    size_t bytes = 100;
    int64_t append_time = 0;  // at least the previous one's
    int64_t timestamp = 0;
    raft::Term term{1};
  };
  void Stage(const Append& append) {
    const raft::LogState state = State();
    raft::Entry entry;
    entry.header.type = append.records > 0 ? raft::EntryType::kRecords : raft::EntryType::kNoop;
    entry.header.record_count = append.records;
    entry.header.term = append.term;
    entry.header.index = state.last_index + 1;
    entry.header.base_offset = state.log_end;
    entry.header.append_time = std::max(state.last_append_time, append.append_time);
    entry.header.max_timestamp = append.timestamp;
    entry.payload = absl::Cord(std::string(append.bytes, static_cast<char>('a' + state.last_index.value() % 26)));
    round_->Append(group_, std::move(entry));
  }
  // Writes one entry in a round of its own.
  absl::Status Write(const Append& append) {
    Stage(append);
    return ThroughStalls(*store_, [this] { return store_->Write(*round_); });
  }
  void WriteMany(int count, const Append& append) {
    for (int i = 0; i < count; ++i) ASSERT_TRUE(Write(append).ok());
  }
  absl::Status SetLogStart(int64_t offset) {
    round_->SetLogStart(group_, raft::Offset(offset));
    return ThroughStalls(*store_, [this] { return store_->Write(*round_); });
  }

  absl::Status SyncNow() {
    std::promise<absl::Status> synced;
    store_->Sync([&synced](absl::Status status) { synced.set_value(std::move(status)); });
    return synced.get_future().get();
  }

  TempDir directory_;
  RocksLogStore::Options options_;
  std::unique_ptr<RocksLogStore> store_;
  std::unique_ptr<raft::Round> round_;
  raft::SegmentLimits limits_;
};

}  // namespace millrace::storage
