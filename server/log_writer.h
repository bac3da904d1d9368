// Writes for all partitions of one executor: whatever they stage while messages are being handled goes down in one atomic write
// when the executor has handled everything that arrived, and one sync then covers all that was written since the last.
//
//     writer.round().Append(group, entry);
//     writer.OnWritten([=] { ... });        // the round is in the page cache
//     writer.OnDurable([=] { ... });        // ... and on the disk
//
// There are no timers: what arrives during a sync is written at once and synced by the next, so batches grow with load.
// When the store stalls, the round waits here, unwritten, and everything with it in order; `intake` is closed meanwhile, so that
// what comes in on streams is not read. Nothing else on the executor waits.
// Executor's thread only. A failed write or sync is fatal: what reached the disk is unknown, so nothing waiting is answered.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "proto/wire/runtime.h"
#include "raft/group_driver.h"
#include "raft/log_store.h"
#include "server/flow_budget.h"
#include "server/metrics.h"

namespace millrace::server {

// Who has changes for each round, and is told how far they have come.
class RoundSource {
 public:
  virtual ~RoundSource() = default;

  // Right before a round is written: the last chance to add to it.
  virtual void Stage(raft::Round& round) = 0;
  virtual void OnWritten(raft::RoundSeq round) = 0;
  // All rounds up to this one are on the disk.
  virtual void OnSynced(raft::RoundSeq round) = 0;
  // The last of the rounds written whose OnSynced is waited for.
  virtual raft::RoundSeq AwaitedSync() const = 0;
};

class LogWriter {
 public:
  using Callback = std::function<void()>;
  // Told of a failed write or sync; stops the process.
  using FatalHandler = std::function<void(const absl::Status&)>;

  LogWriter(raft::LogStore& store, Executor& executor, Clock& clock, LoopMetrics& metrics, FlowBudget& intake,
            FatalHandler on_fatal);
  ~LogWriter();

  // At most one; outlives the writer's use.
  void SetSource(RoundSource* source) { source_ = source; }

  // The source has something for a round: of so many bytes, about.
  void Wake(size_t bytes = 0);
  // Where to stage a change. Schedules the write.
  raft::Round& round();
  void OnWritten(Callback callback);
  void OnDurable(Callback callback);

  // What a stall refused outside of rounds (LogStore::Create, Remove) is tried again by `retry`.
  void AfterStall(Callback retry);

  // Told how long each sync took.
  void OnSyncs(std::function<void(std::chrono::nanoseconds)> told) { told_of_syncs_ = std::move(told); }

  // Writes now what is staged if it is much. Called between batches, never by a partition.
  void FlushIfLarge();

  // Nothing is written, and what is staged waits.
  bool stalled() const { return stalled_since_.has_value(); }
  // False: a stall, or a sync that takes longer than others may wait for.
  bool progresses() const;

  // When something was last written; monotonic time.
  std::chrono::nanoseconds last_write() const { return last_write_; }
  int64_t bytes_written() const { return bytes_written_; }
  raft::RoundSeq last_written() const { return written_; }
  std::chrono::nanoseconds now() const { return clock_.Monotonic(); }

 private:
  void Schedule();
  void Flush();
  bool WriteRound();
  void AwaitStallEnd();
  void OnStallEnd();
  void StartSync();
  void OnSynced(const absl::Status& status);
  void Fail(const absl::Status& status);

  raft::LogStore& store_;
  Executor& executor_;
  Clock& clock_;
  LoopMetrics& metrics_;
  FlowBudget& intake_;
  FatalHandler on_fatal_;
  std::unique_ptr<raft::Round> round_;
  RoundSource* source_ = nullptr;
  int changes_ = 0;          // staged in round_, or about to be; about
  size_t bytes_coming_ = 0;  // what the source has said
  raft::RoundSeq written_;
  raft::RoundSeq sync_covers_;  // the last sync, running or over, covers the rounds up to this one
  bool scheduled_ = false;
  bool syncing_ = false;
  bool failed_ = false;
  std::optional<std::chrono::nanoseconds> stalled_since_;  // nothing is written until the store says that it is over
  // In order of staging: callbacks of the round being filled, of rounds written, of rounds that the running sync covers.
  std::vector<Callback> on_written_;
  std::vector<Callback> staged_durable_;
  std::vector<Callback> unsynced_;
  std::vector<Callback> synced_next_;
  std::vector<Callback> after_stall_;
  std::chrono::nanoseconds sync_started_{};
  std::function<void(std::chrono::nanoseconds)> told_of_syncs_;
  int64_t bytes_written_ = 0;
  std::chrono::nanoseconds last_write_ = std::chrono::nanoseconds::min() / 2;
  // Completions on the store's threads find out through this whether the writer still exists.
  std::shared_ptr<LogWriter*> self_;
};

}  // namespace millrace::server
