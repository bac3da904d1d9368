// A broker's state and the way from a topic's name to its partitions. Everything below the RPC surface hangs on it; it knows
// neither gRPC nor RocksDB, and takes clock, randomness, store and executors from outside.
//
// Partitions are spread over shards, one executor each. The controller lives on the first.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/wire/runtime.h"
#include "raft/log_store.h"
#include "server/census.h"
#include "server/cluster_view.h"
#include "server/group_lags.h"
#include "server/metadata_replica.h"
#include "server/metrics.h"
#include "server/partition.h"
#include "server/peer_gate.h"
#include "server/peer_service.h"
#include "server/shard.h"
#include "server/work_pool.h"

namespace millrace::server {

class LagWatch;

class Broker {
 public:
  struct Options {
    raft::ReplicaId self{raft::BrokerId(1), 1};
    raft::ReplicaSet founders{self};   // of the cluster
    std::vector<ListedBroker> listed;  // --cluster
    std::string address;               // advertised HOST:PORT
    std::string rack;
    TopicConfig topic_defaults;
    int64_t memory_limit = 256 << 20;
    int64_t start_time = 0;  // ms since 1970
    std::function<DiskSpace()> disk_space = [] { return DiskSpace{}; };
    int64_t disk_free_floor = 0;
    // Told, for people, what it waits for until it is loaded; on the first executor.
    std::function<void(const std::string&)> on_waiting = [](const std::string&) {};
  };

  // An executor that partitions are spread over, and its ways to other brokers: for links, which want connections of their own, and
  // for calls.
  struct Loop {
    Executor& executor;
    ClientTransport& links;
    ClientTransport& calls;
  };

  // `gate`: who this broker is to its peers; it knows the cluster. All that is given by reference outlives the broker.
  Broker(Options options, raft::LogStore& store, Clock& clock, Random& random, WorkPool& pool, Metrics& metrics,
         PeerGate& gate, const std::vector<Loop>& loops, LogWriter::FatalHandler on_fatal);
  ~Broker();
  Broker(const Broker&) = delete;

  // Reads the metadata and catches up with the cluster; on the first executor. `may_have_lost`: what the last stop may have cost.
  // `done` is called there once this broker can serve, all its partitions have been started, and what they wrote is on the disk; with
  // how many could not be started: unless it is none, what was lost must not be forgotten. Or with why it failed. Peers' calls have
  // to come in meanwhile.
  using LoadDone = std::function<void(absl::StatusOr<size_t> not_started)>;
  void Load(Partition::Lost may_have_lost, LoadDone done);

  // Gives its leaderships to others, as far as others take them within a moment, and calls `done`. Any thread.
  void HandOver(std::function<void()> done);

  // Ends what goes to other brokers, for good, and calls `done` when nothing does any more. Any thread.
  void Disconnect(std::function<void()> done);

  // Removes what retention no longer covers, from now on. Any thread. Stopped before the executors end.
  void StartRetention();
  void StopRetention();

  // Saves what the next start would have to read again, and calls `done` once that is written. Serving may go on. Any thread.
  void SavePartitions(std::function<void()> done);

  // nullptr with an error when there is no such partition. topic_id 0: any. Any thread.
  std::shared_ptr<Partition> FindPartition(const std::string& topic, int32_t partition, uint64_t topic_id,
                                           ErrorFrame* error) const;

  // The current image; null before the first. Any thread.
  std::shared_ptr<const MetadataImage> image() const { return view_.image(); }
  const ClusterView& view() const { return view_; }
  const PeerPresence& presence() const { return gate_.presence(); }
  const GroupLags& group_lags() const { return group_lags_; }

  // First executor only.
  MetadataReplica& metadata() { return metadata_; }
  Executor& control_executor() { return shards_.front()->executor; }

  // Where peers' frames go that come in on this executor.
  PeerSink& PeerSinkOf(const Executor& executor) { return ShardOf(executor).peers; }

  // Counts and logs an error that a client is sent. `error` without a code: nothing happens. Executor's thread.
  void NoteFailure(const Executor& executor, const ErrorFrame& error);

  Shard& ShardOf(const Executor& executor);
  // The metadata lives on the first.
  Shard& ShardOf(raft::GroupId group) {
    return *shards_[group == kMetadataGroup ? 0 : static_cast<size_t>(group.value()) % shards_.size()];
  }
  const std::vector<std::unique_ptr<Shard>>& shards() const { return shards_; }

  const Options& options() const { return options_; }
  raft::LogStore& store() { return store_; }
  Clock& clock() { return clock_; }
  WorkPool& pool() { return pool_; }
  DiskFloor& disk_floor() { return disk_floor_; }

 private:
  struct TopicEntry {
    std::shared_ptr<const TopicInfo> info;
    std::vector<std::shared_ptr<Partition>> partitions;
  };
  using Directory = std::unordered_map<std::string, std::shared_ptr<const TopicEntry>>;

  // Over the partitions of one executor as they are now.
  Retention::Walk WalkPartitions(const Executor& executor) const;
  void TellCoordinators() const;
  static void LogChanges(const Directory& old, const Directory& next);
  void OnImage(std::shared_ptr<const MetadataImage> image);
  void OnCaughtUp(LoadDone done);
  void AwaitStarts(LoadDone done);
  void ApplyImage(const MetadataImage& image);
  void ConnectTo(const MetadataImage* image);
  void OnPresence(raft::BrokerId peer, bool alive);
  std::shared_ptr<const TopicEntry> MakeEntry(const std::shared_ptr<const TopicInfo>& info, const TopicEntry* old);
  void RemoveTopic(const std::shared_ptr<const TopicEntry>& entry);
  // On a shard's executor. What a stall refuses is tried again.
  void RemoveLogs(std::vector<raft::GroupId> groups, Shard& shard);
  void RemoveOrphans(std::vector<raft::GroupId> groups);

  const Options options_;
  raft::LogStore& store_;
  Clock& clock_;
  WorkPool& pool_;
  DiskFloor disk_floor_;
  ClusterView view_;
  Partition::Lost may_have_lost_ = Partition::Lost::kNothing;
  std::unordered_set<raft::GroupId> found_at_start_;  // logs, until it has caught up
  bool caught_up_ = false;                            // first executor
  std::map<raft::BrokerId, PeerAddress> peers_;       // first executor
  std::vector<std::unique_ptr<Shard>> shards_;
  std::unique_ptr<Census> census_;  // first executor; from when it has caught up until it disconnects
  GroupLags group_lags_;
  std::unique_ptr<LagWatch> lag_watch_;  // likewise
  std::atomic<std::shared_ptr<const Directory>> directory_;
  PeerAsker ask_;
  PeerGate& gate_;
  MetadataReplica metadata_;
};

}  // namespace millrace::server
