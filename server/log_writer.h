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
#include "raft/log_store.h"
#include "server/flow_budget.h"
#include "server/metrics.h"

namespace millrace::server {

class LogWriter {
 public:
  using Callback = std::function<void()>;
  // Told of a failed write or sync; stops the process.
  using FatalHandler = std::function<void(const absl::Status&)>;

  LogWriter(raft::LogStore& store, Executor& executor, Clock& clock, LoopMetrics& metrics, FlowBudget& intake,
            FatalHandler on_fatal);
  ~LogWriter();

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

  // When something was last written; monotonic time.
  std::chrono::nanoseconds last_write() const { return last_write_; }
  int64_t bytes_written() const { return bytes_written_; }

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
  int changes_ = 0;  // staged in round_, about
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
