// One partition as its broker serves it: appends (validated, without duplicates), reads below the high watermark, waiting
// readers. What stands behind it is a replica of a Raft group (multi_raft.h), whose log holds the batches.
//
//     partition->Append(std::move(batch), {.acks = Acks::kQuorum}, [](const AppendOutcome& outcome) { ... });
//     partition->WhenSettled([=] { ... partition->Readable(&error) ... });
//     partition->ReadCached(from, bytes_max, &entries) || cold read through store().Read(...)
//
// The leader serves once it has applied an entry of its own term: then it has applied all that was ever acked, so that its high
// watermark and its producer table are complete (Raft thesis 6.4). Other replicas refuse, with the leader as a hint. A replica
// that is alone is started by the first use of its partition.
//
// Lives on one executor (executor()); everything is called there. Others reach it by posting to it.
//
// Invariants: log_start <= high_watermark <= log_end. The high watermark is the end of what is committed and applied here; it never
// moves back in a replica's life. Offsets are dense.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/wire/frames.h"
#include "proto/wire/runtime.h"
#include "raft/log_store.h"
#include "server/applied_state.h"
#include "server/batch_validation.h"
#include "server/cluster_view.h"
#include "server/disk_floor.h"
#include "server/log_clock.h"
#include "server/log_writer.h"
#include "server/multi_raft.h"
#include "server/producer_state.h"
#include "server/replica_report.h"
#include "server/shard_peers.h"
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
  std::optional<LeaderHintFrame> leader;  // whose answer it is, if this broker does not lead the partition
};

class Partition : public std::enable_shared_from_this<Partition>, private GroupMachine {
 public:
  struct AppendOptions {
    Acks acks = Acks::kQuorum;
    int32_t leader_epoch = 0;  // that the client knows; 0: any
  };
  using AppendDone = std::function<void(const AppendOutcome&)>;
  // What one look at the retention removed.
  struct Removed {
    size_t segments = 0;
    int64_t records = 0;
    int64_t bytes = 0;
  };
  using TrimDone = std::function<void(const ErrorFrame&, raft::Offset log_start)>;

  // Told once of the next move of the high watermark or log start, or that this replica serves no more.
  class Waiter {
   public:
    virtual void OnPartitionAdvanced() = 0;

    virtual ~Waiter() = default;
  };

  // What the disk may have lost of what was acked, before this start.
  enum class Lost : uint8_t {
    kNothing,
    kUnsynced,  // the machine went down: where acks were not synced (raft::MayLackAcked)
    kAnything,  // the write-ahead log was cut
  };
  // What it lives on; all of it outlives the partition.
  struct Host {
    raft::LogStore& store;
    MultiRaft& groups;
    LogWriter& writer;
    Executor& executor;
    const LogClock& log_clock;
    DiskFloor& disk_floor;
    ClusterView& view;
    ShardPeers& peers;
    const std::atomic<int64_t>& producer_ids_given_here;  // by this broker: no more, if there are no others
    raft::ReplicaId self;
    Lost may_have_lost = Lost::kNothing;
  };

  // `replicas`: those that the partition was made with.
  Partition(PartitionName name, raft::GroupId group, std::vector<raft::ReplicaId> replicas,
            std::shared_ptr<const TopicConfig> config, const Host& host);
  ~Partition() override;

  // Before it begins; for partitions that stand for more than their records.
  void Attach(std::unique_ptr<AppliedState> state) { state_ = std::move(state); }
  // Null: none. Readable() tells whether it serves.
  AppliedState* state() const { return state_.get(); }

  // When the broker starts or the partition is new: makes the log if this replica has none yet, and starts the replica unless it is
  // alone and has lost nothing: then its first use does. False: what the disk may have lost is not dealt with, its next use tries
  // again.
  bool Begin(bool has_log);
  // Brings the log into memory and starts the replica, which may settle later. Cheap afterwards.
  absl::Status Open();
  // Whether this broker has a replica of it.
  bool hosted() const;
  // Whether it is known if this replica serves.
  bool settled() const;
  // Calls `then` once it is, perhaps at once.
  void WhenSettled(std::function<void()> then);
  // Settled, and this replica serves readers; false: `error` says why not.
  bool Readable(ErrorFrame* error) const;

  // Whether this replica still leads, asked of the others: one that stood still may have been replaced, and not know of what was acked
  // since (Raft thesis 6.4). Of who is Readable(); `then` hears false also if it cannot be known.
  void Confirm(std::function<void(bool leads)> then);

  // `done` (may be null) is called when the batch is durable as the topic says, or was refused. It may be called at once.
  void Append(ValidBatch batch, const AppendOptions& options, AppendDone done);

  // Moves the log start forward; `done` when that is durable. An offset below the log start changes nothing.
  void Trim(raft::Offset before, TrimDone done);

  // Has the log start moved behind the segments that the topic's retention no longer covers; see retention_rule.h for `now`.
  // Only where this replica serves, or could if it were asked. Costs a microsecond when nothing is due.
  absl::StatusOr<Removed> Retain(std::optional<UnixMillis> now);

  // Saves what the next Open() would have to read the log for. Not durable by itself.
  void Save();

  // Entries from `from` up to the high watermark, from memory. False: read them with store().Read(). See LogStore.
  bool ReadCached(raft::Offset from, size_t bytes_max, std::vector<raft::Entry>* entries);

  void AddWaiter(std::shared_ptr<Waiter> waiter);
  void RemoveWaiter(const Waiter* waiter);

  void SetConfig(std::shared_ptr<const TopicConfig> config);

  // The topic is gone: appends fail, waiters are told. Entries that were not yet acked fail with an unknown outcome.
  void Close();
  bool closed() const { return closed_; }
  // The broker ends: nobody who waits is told any more. They hold on to the partition, and it to them.
  void Abandon();

  const PartitionName& name() const { return name_; }
  // What `status` of the store means to a client, with this partition named.
  ErrorFrame ErrorOf(const absl::Status& status) const;
  raft::GroupId group() const { return group_; }
  raft::ReplicaId self() const { return host_.self; }
  raft::LogStore& store() { return host_.store; }
  Executor& executor() { return host_.executor; }
  std::shared_ptr<const TopicConfig> config() const { return config_.load(); }  // any thread
  // As far as this replica knows; 0: it was not started yet. Any thread.
  raft::Term leader_epoch() const { return raft::Term(leader_epoch_.load(std::memory_order_relaxed)); }
  raft::Offset log_start() const { return log_start_; }
  raft::Offset high_watermark() const { return high_watermark_; }
  raft::Offset log_end() const;
  int64_t bytes() const;
  // While Readable().
  std::vector<ReplicaReport> Replicas() const;
  // What follows the high watermark is damaged, its end unknown: nothing can be appended, and who waits there waits in vain.
  bool read_only() const { return read_only_; }
  ErrorFrame ReadOnlyError() const;
  // Of who could not Confirm() that it leads.
  ErrorFrame UnconfirmedError() const;

 private:
  // Waits for an entry of this leader to be committed; false: the leadership was lost, and what becomes of it is not known.
  struct Pending {
    raft::LogIndex index;
    std::function<void(bool committed)> then;
  };

  // raft::StateMachine and GroupMachine; partition_replica.cc.
  void Apply(const std::vector<raft::Entry>& entries) override;
  absl::Status ApplyDamaged(raft::LogIndex index, const absl::Status& damage) override;
  std::optional<Snapshot> MakeSnapshot() override;
  absl::Status Install(const raft::InstallSnapshot& snapshot, raft::Round& round) override;
  // What is not committed is kept by the leader alone, and forgotten with the role.
  void OnTruncated(raft::LogIndex first_removed) override {}
  void OnRoleChange(const raft::RoleChange& change) override;
  void OnReadAnswered(uint64_t id, bool ready) override;
  void OnNotice(const raft::Notice& notice) override;
  void OnProgress() override;

  absl::Status MakeLog();
  void StageMembers();
  bool LacksMembers(const raft::LogState& state) const;
  void OpenAgain(const std::function<void(std::function<void()>)>& when);
  absl::StatusOr<bool> MustAbstain(const raft::LogState& state) const;
  absl::Status StartReplica(const raft::LogState& state);
  absl::Status LoadSaved(raft::LogIndex* saved_up_to);
  void ApplyOne(const raft::Entry& entry);
  void ApplyLogStart(const raft::Entry& entry);
  void SaveUpTo(raft::LogIndex last);
  AppliedState::Parts AllParts() const;
  void BeginServing();
  void StopServing();
  void Settle();
  static raft::Flush FlushOf(const TopicConfig& config);
  bool alone() const { return replicas_.size() == 1; }

  void AppendSettled(ValidBatch batch, const AppendOptions& options, AppendDone done);
  bool Refuses(const BatchHeader& header, int64_t bytes, const AppendOptions& options, AppendOutcome* outcome) const;
  void RefuseConfirmed(AppendOutcome outcome, AppendDone done);
  void RefuseIfLeading(AppendOutcome outcome, AppendDone done);
  bool CheckEpoch(int32_t expected, ErrorFrame* error) const;
  bool WasGivenOut(int64_t producer_id, ErrorFrame* error) const;
  bool HasItsName(const BatchHeader& header, ErrorFrame* error) const;
  bool CheckProducer(const BatchHeader& header, AppendOutcome* outcome) const;
  absl::Status ProposeLogStart(raft::Offset to);
  Durability DurabilityReached(Acks acks) const;
  void Complete(AppendOutcome outcome, const AppendDone& done) const;
  void CompletePending();
  void LogDamaged(raft::LogIndex entry, const std::string& status) const;
  void NotifyWaiters();
  ErrorFrame GoneError() const;
  ErrorFrame NotLeaderError() const;
  ErrorFrame LostLeadershipError() const;

  // Set at construction.
  const PartitionName name_;
  const raft::GroupId group_;
  const std::vector<raft::ReplicaId> replicas_;
  const Host host_;

  std::atomic<std::shared_ptr<const TopicConfig>> config_;
  std::atomic<int64_t> leader_epoch_ = 0;
  Lost may_have_lost_;
  bool members_staged_ = false;
  bool opening_ = false;  // what has to be written first is on its way
  bool open_ = false;
  bool closed_ = false;
  bool read_only_ = false;
  absl::Status open_error_;
  MultiRaft::Group* replica_ = nullptr;  // once open, unless read_only_
  raft::Term serving_;                   // the term in which this replica serves; 0: it does not
  raft::Offset log_start_;
  raft::Offset log_start_proposed_;  // on its way through the log
  raft::Offset high_watermark_;      // log_start_ <= high_watermark_ <= log_end()
  raft::LogIndex applied_;
  raft::LogIndex state_up_to_;  // what came as a snapshot holds entries up to it, ahead of the log's
  ProducerState producers_;
  std::unique_ptr<AppliedState> state_;
  // Entries with records, and their bytes, that what is saved does not cover.
  int64_t unsaved_entries_ = 0;
  int64_t unsaved_bytes_ = 0;
  std::vector<std::function<void()>> unsettled_;
  std::deque<Pending> pending_;                                     // rising index
  std::deque<Pending> local_;                                       // wait for this replica's disk alone; rising index
  std::map<uint64_t, std::function<void(bool leads)>> confirming_;  // by the number of the read
  uint64_t last_read_ = 0;
  std::vector<std::shared_ptr<Waiter>> waiters_;
};

}  // namespace millrace::server
