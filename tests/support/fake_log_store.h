// A raft::LogStore in memory for simulations: deterministic, and able to forget what was not synced.
//
//     FakeLogStore store;                                   // syncs complete when the test says so:
//     store.Sync(done);
//     store.CompleteSyncs();
//     FakeLogStore store([&](auto task) { executor.After(1ms, task); });   // or by themselves, like a disk
//
//     store.Stall();                                        // writes are refused ...
//     store.EndStall();                                     // ... until here
//
//     store.Crash(FakeLogStore::kLoseUnsynced);             // power cut: what no completed sync covers is gone
//     store.Crash(FakeLogStore::kKeepUnsynced);             // the process died, the page cache did not
//
// After Crash the same object is the disk that the restarted broker finds: no log is open, no sync is waiting.
// Any thread may call it; completions run on the thread that completes.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "raft/log_store.h"
#include "tests/support/memory_log.h"

namespace millrace {

class FakeLogStore : public raft::LogStore {
 public:
  using Task = std::function<void()>;
  // Runs a task later.
  using Schedule = std::function<void(Task)>;

  // How many of the unsynced writes, in their order, survive a crash.
  static constexpr size_t kLoseUnsynced = 0;
  static constexpr size_t kKeepUnsynced = std::numeric_limits<size_t>::max();

  // `schedule`: when each sync completes. Unset: at CompleteSyncs().
  explicit FakeLogStore(Schedule schedule = nullptr);

  // What tests do to it.
  size_t CompleteSyncs();  // all that wait; returns how many
  size_t waiting_syncs() const;
  size_t unsynced_writes() const;
  // As a power cut would leave it.
  raft::LogState SyncedState(raft::GroupId group) const;
  absl::StatusOr<raft::Term> SyncedTermAt(raft::GroupId group, raft::LogIndex index) const;
  // How far a log goes, with what was only written or without; 0 if there is none.
  raft::Offset WrittenEnd(raft::GroupId group) const;
  raft::Offset SyncedEnd(raft::GroupId group) const;
  // The entry with the record at `offset`, of the one and of the other; nullopt: there is none, or not any more.
  std::optional<raft::Entry> WrittenAt(raft::GroupId group, raft::Offset offset) const;
  std::optional<raft::Entry> SyncedAt(raft::GroupId group, raft::Offset offset) const;
  // How often ends of logs were cut off, and logs begun anew.
  uint64_t truncations() const { return truncations_; }
  uint64_t resets() const { return resets_; }
  void Crash(size_t unsynced_writes_kept);
  void Stall();
  void EndStall();
  void FailNextWrite(absl::Status status);
  void FailNextSync(absl::Status status);
  // Reads of this entry find it damaged.
  void Damage(raft::GroupId group, raft::LogIndex index);
  // HeaderAt finds it damaged.
  void DamageHeader(raft::GroupId group, raft::LogIndex index);
  // Has this entry hold other bytes, its header as it was: damage that only the payload's own checksum tells.
  void ChangePayload(raft::GroupId group, raft::LogIndex index, const std::function<void(std::string&)>& change);
  // A restart finds the last entry of this log damaged beyond what it says of itself.
  void DamageEnd(raft::GroupId group);
  // A restart cannot open this log.
  void DamageWhole(raft::GroupId group);
  // Sends all readers to Read: ReadCached finds nothing of what was written so far.
  void DropCache();
  uint64_t writes() const;
  uint64_t syncs() const;
  // Of payloads, with ReadEntries.
  uint64_t read_bytes() const;

  absl::Status Create(raft::GroupId group, const raft::SegmentLimits& limits) override;
  absl::Status Remove(const std::vector<raft::GroupId>& groups) override;
  absl::StatusOr<std::vector<raft::GroupId>> List() override;
  absl::StatusOr<raft::LogState> Open(raft::GroupId group) override;
  raft::LogState State(raft::GroupId group) override;
  std::vector<raft::SegmentInfo> Segments(raft::GroupId group) override;
  void SetLimits(raft::GroupId group, const raft::SegmentLimits& limits) override;
  std::unique_ptr<raft::Round> NewRound() override;
  absl::Status Write(raft::Round& round) override;
  void WhenWritable(std::function<void()> retry) override;
  void Sync(std::function<void(absl::Status)> done) override;
  bool ReadCached(raft::GroupId group, raft::Offset from, raft::Offset end, size_t bytes_max,
                  std::vector<raft::Entry>* entries) override;
  bool ReadCachedEntries(raft::GroupId group, raft::LogIndex first, raft::LogIndex last, size_t bytes_max,
                         std::vector<raft::Entry>* entries) override;
  absl::StatusOr<std::vector<raft::Entry>> Read(raft::GroupId group, raft::Offset from, raft::Offset end,
                                                size_t bytes_max) override;
  absl::StatusOr<std::vector<raft::Entry>> ReadEntries(raft::GroupId group, raft::LogIndex first, raft::LogIndex last,
                                                       size_t bytes_max) override;
  absl::StatusOr<raft::Term> TermAt(raft::GroupId group, raft::LogIndex index) override;
  absl::StatusOr<raft::EntryHeader> HeaderAt(raft::GroupId group, raft::LogIndex index) override;
  absl::StatusOr<raft::EntryHeader> HeaderFor(raft::GroupId group, raft::Offset offset) override;
  absl::StatusOr<raft::Offset> OffsetForTime(raft::GroupId group, int64_t timestamp) override;
  absl::StatusOr<std::vector<std::pair<std::string, std::string>>> Values(raft::GroupId group) override;

 private:
  using Disk = std::map<raft::GroupId, MemoryLog>;
  using Change = std::function<void(Disk&)>;

  struct WaitingSync {
    uint64_t writes;  // covers so many writes since the beginning
    std::function<void(absl::Status)> done;
  };

  // Callers hold mutex_.
  void Apply(Change change);
  absl::StatusOr<MemoryLog*> FindOpen(raft::GroupId group);
  absl::StatusOr<std::vector<raft::Entry>> UpToDamage(raft::GroupId group,
                                                      absl::StatusOr<std::vector<raft::Entry>> entries) const;
  // Completes the oldest waiting sync, if any.
  bool CompleteSync();

  // Set at construction.
  const Schedule schedule_;
  const std::shared_ptr<FakeLogStore*> self_;  // scheduled tasks find out through it whether the store still exists

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  Disk written_;
  Disk synced_;
  std::deque<Change> unsynced_;  // synced_ with these applied is written_
  std::set<raft::GroupId> open_;
  std::map<raft::GroupId, raft::Offset> cached_from_;
  std::set<std::pair<raft::GroupId, raft::LogIndex>> damaged_;
  std::set<std::pair<raft::GroupId, raft::LogIndex>> damaged_headers_;
  std::set<raft::GroupId> read_only_;
  std::set<raft::GroupId> damaged_logs_;
  std::deque<WaitingSync> waiting_;
  uint64_t writes_ = 0;  // == writes covered by synced_ + unsynced_.size()
  uint64_t syncs_ = 0;
  uint64_t read_bytes_ = 0;
  uint64_t truncations_ = 0;
  uint64_t resets_ = 0;
  uint64_t crashes_ = 0;  // syncs scheduled before a crash complete nothing after it
  bool stalled_ = false;
  std::vector<Task> retries_;  // of those who wait for the end of the stall
  absl::Status health_;        // of the first failure; sticky until Crash
  absl::Status next_write_;
  absl::Status next_sync_;
};

}  // namespace millrace
