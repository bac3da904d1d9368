// One partition as its broker serves it: appends (validated, without duplicates), reads below the high watermark, waiting
// readers. The log itself is a raft::LogStore group.
//
//     partition->Append(std::move(batch), Acks::kQuorum, [](const AppendOutcome& outcome) { ... });
//     partition->ReadCached(from, bytes_max, &entries) || cold read through store().Read(...)
//
// Lives on one executor (executor()); everything is called there. Others reach it by posting to it.
//
// Invariants: log_start <= high_watermark <= log_end. The high watermark covers what is as durable as the topic's `flush`
// asks; it never moves back. Offsets are dense.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/wire/frames.h"
#include "proto/wire/runtime.h"
#include "raft/log_store.h"
#include "server/batch_validation.h"
#include "server/disk_floor.h"
#include "server/log_clock.h"
#include "server/log_tail.h"
#include "server/log_writer.h"
#include "server/producer_table.h"
#include "server/topic_config.h"

namespace millrace::server {

struct PartitionName {
  std::string topic;
  int32_t partition = 0;
  uint64_t topic_id = 0;
};

// What became of an append; see ProduceAck in broker.proto.
struct AppendOutcome {
  ErrorFrame error;
  raft::Offset base_offset;
  int64_t append_time = 0;
  raft::Term leader_epoch;
  Durability durability = Durability::kUnspecified;
  raft::Offset log_start;
  raft::Offset high_watermark;
  bool duplicate = false;
  bool crc_computed = false;
};

class Partition : public std::enable_shared_from_this<Partition> {
 public:
  using AppendDone = std::function<void(const AppendOutcome&)>;
  // What one look at the retention removed.
  struct Removed {
    size_t segments = 0;
    int64_t records = 0;
    int64_t bytes = 0;
  };
  using TrimDone = std::function<void(const ErrorFrame&, raft::Offset log_start)>;

  // Told once of the next move of the high watermark or log start, or of the partition's end.
  class Waiter {
   public:
    virtual void OnPartitionAdvanced() = 0;

    virtual ~Waiter() = default;
  };

  // What it lives on; all of it outlives the partition.
  struct Host {
    raft::LogStore& store;
    LogWriter& writer;
    Executor& executor;
    const LogClock& log_clock;
    DiskFloor& disk_floor;
    const std::atomic<int64_t>& producer_ids_end;  // ids from here on were not given out
  };

  Partition(PartitionName name, raft::GroupId group, raft::Term leader_epoch, std::shared_ptr<const TopicConfig> config,
            const Host& host);

  // Brings the log into memory; done by the first use. Cheap afterwards.
  absl::Status Open();

  // `done` (may be null) is called when the batch is durable as the topic says, or was refused. It may be called at once.
  void Append(ValidBatch batch, Acks acks, AppendDone done);

  // Moves the log start forward; `done` when that is durable. An offset below the log start changes nothing.
  void Trim(raft::Offset before, TrimDone done);

  // Moves the log start behind the segments that the topic's retention no longer covers; see retention_rule.h for `now`. What is
  // removed is gone for readers at once, and for good once written. Costs a microsecond when nothing is due.
  absl::StatusOr<Removed> Retain(std::optional<UnixMillis> now);

  // Saves what the next Open() would have to read the log for. Not durable by itself.
  void SaveProducers();

  // Entries from `from` up to the high watermark, from memory. False: read them with store().Read(). See LogStore.
  bool ReadCached(raft::Offset from, size_t bytes_max, std::vector<raft::Entry>* entries);

  void AddWaiter(std::shared_ptr<Waiter> waiter);
  void RemoveWaiter(const Waiter* waiter);

  void SetConfig(std::shared_ptr<const TopicConfig> config);

  // The topic is gone: appends fail, waiters are told. Entries that were not yet acked fail with an unknown outcome.
  void Close();
  bool closed() const { return closed_; }

  const PartitionName& name() const { return name_; }
  // What `status` of the store means to a client, with this partition named.
  ErrorFrame ErrorOf(const absl::Status& status) const;
  raft::GroupId group() const { return group_; }
  raft::LogStore& store() { return host_.store; }
  Executor& executor() { return host_.executor; }
  std::shared_ptr<const TopicConfig> config() const { return config_.load(); }  // any thread
  raft::Term leader_epoch() const { return leader_epoch_; }
  raft::Offset log_start() const { return log_start_; }
  raft::Offset high_watermark() const { return high_watermark_; }
  raft::Offset log_end() const { return tail_.end(); }
  int64_t bytes() const;
  // What follows the high watermark is damaged, its end unknown: nothing can be appended, and who waits there waits in vain.
  bool read_only() const { return read_only_; }
  ErrorFrame ReadOnlyError() const;

 private:
  absl::Status RebuildProducers(const raft::LogState& state);
  void ReplayProducers(const std::vector<raft::Entry>& entries);
  void LogDamaged(raft::LogIndex entry, const std::string& status) const;
  void CountUnsaved(const raft::Entry& entry);
  bool Refuses(const BatchHeader& header, int64_t bytes, AppendOutcome* outcome) const;
  bool CheckProducer(const BatchHeader& header, AppendOutcome* outcome, bool* duplicate) const;
  void MoveLogStart(raft::Offset to);
  void Stage(raft::Entry entry);
  void WhenCommitted(FlushPolicy flush, std::function<void()> then);
  void Advance(raft::Offset committed);
  void NotifyWaiters();
  void Complete(AppendOutcome outcome, const AppendDone& done) const;
  ErrorFrame GoneError() const;

  // Set at construction.
  const PartitionName name_;
  const raft::GroupId group_;
  const raft::Term leader_epoch_;
  const Host host_;

  std::atomic<std::shared_ptr<const TopicConfig>> config_;
  bool open_ = false;
  bool closed_ = false;
  bool read_only_ = false;
  LogTail tail_;  // staged entries included
  raft::Offset log_start_;
  raft::Offset high_watermark_;  // log_start_ <= high_watermark_ <= log_end()
  ProducerTable producers_;
  // Entries with records, and their bytes, that the saved table does not cover.
  int64_t unsaved_entries_ = 0;
  int64_t unsaved_bytes_ = 0;
  std::vector<std::shared_ptr<Waiter>> waiters_;
};

}  // namespace millrace::server
