// What is staged of a round, in order, and the batch it is written with. A stall leaves it built, and what is staged then is added
// to the batch by the next try.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <rocksdb/write_batch.h>

#include "raft/log_store.h"
#include "storage/open_log.h"

namespace millrace::storage {

class RocksRound : public raft::Round {
 public:
  struct Truncate {
    raft::LogIndex first_removed;
  };
  struct ValueChange {
    std::string key;
    std::optional<std::string> value;  // nothing: delete it
  };
  struct Change {
    raft::GroupId group;
    // LogBegin: of a reset; Offset: the log start.
    std::variant<raft::Entry, Truncate, raft::LogBegin, raft::TermAndVote, raft::Offset, ValueChange> what;
  };

  void Append(raft::GroupId group, raft::Entry entry) override {
    bytes_ += entry.payload.size();
    changes_.push_back({group, std::move(entry)});
  }
  void TruncateSuffix(raft::GroupId group, raft::LogIndex first_removed) override {
    changes_.push_back({group, Truncate{first_removed}});
  }
  void Reset(raft::GroupId group, const raft::LogBegin& begin) override { changes_.push_back({group, begin}); }
  void SetTermAndVote(raft::GroupId group, const raft::TermAndVote& state) override {
    changes_.push_back({group, state});
  }
  void SetLogStart(raft::GroupId group, raft::Offset log_start) override { changes_.push_back({group, log_start}); }
  void PutValue(raft::GroupId group, std::string_view key, std::string_view value) override {
    changes_.push_back({group, ValueChange{std::string(key), std::string(value)}});
  }
  void DeleteValue(raft::GroupId group, std::string_view key) override {
    changes_.push_back({group, ValueChange{std::string(key), std::nullopt}});
  }

  bool empty() const override { return changes_.empty() && edited_.empty(); }
  size_t bytes() const override { return bytes_; }

  // Not in the batch yet.
  std::vector<Change>& changes() { return changes_; }
  // Whose editors hold what the batch does to them.
  std::vector<std::shared_ptr<OpenLog>>& edited() { return edited_; }
  // Keeps its memory from round to round.
  rocksdb::WriteBatch& batch() { return batch_; }

  void Clear() {
    changes_.clear();
    edited_.clear();
    bytes_ = 0;
    batch_.Clear();
    if (batch_.Data().capacity() > kBatchBytesKept) batch_ = rocksdb::WriteBatch();
  }

 private:
  // After a round larger than this the memory is given back.
  static constexpr size_t kBatchBytesKept = 8 << 20;

  std::vector<Change> changes_;
  std::vector<std::shared_ptr<OpenLog>> edited_;
  size_t bytes_ = 0;
  rocksdb::WriteBatch batch_;
};

}  // namespace millrace::storage
