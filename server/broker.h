// A broker's state and the way from a topic's name to its partitions. Everything below the RPC surface hangs on it; it knows
// neither gRPC nor RocksDB, and takes clock, randomness, store and executors from outside.
//
// Partitions are spread over shards, one executor each. The controller lives on the first.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "proto/wire/runtime.h"
#include "raft/log_store.h"
#include "server/cold_read_pacer.h"
#include "server/controller.h"
#include "server/flow_budget.h"
#include "server/log_writer.h"
#include "server/metrics.h"
#include "server/multi_raft.h"
#include "server/partition.h"
#include "server/retention.h"
#include "server/work_pool.h"

namespace millrace::server {

// What the calls and partitions of one executor share.
struct Shard {
  struct Limits {
    int64_t produce_bytes;
    int64_t fetch_bytes;
    int64_t read_ahead_bytes;
  };
  Shard(raft::LogStore& store, Executor& executor, Clock& clock, WorkPool& pool, PeerSender& peers,
        LoopMetrics& metrics, LogWriter::FatalHandler on_fatal, const Limits& limits, uint64_t seed)
      : executor(executor),
        metrics(metrics),
        log_clock(clock),
        produce_budget(limits.produce_bytes),
        writer(store, executor, clock, metrics, produce_budget, std::move(on_fatal)),
        fetch_budget(limits.fetch_bytes),
        read_ahead_budget(limits.read_ahead_bytes),
        cold_reads(executor, clock,
                   [this] {
                     return ColdReadPacer::Written{writer.last_write(), writer.bytes_written()};
                   }),
        groups({store, writer, executor, pool, cold_reads, peers, seed}) {
    writer.OnSyncs([this](std::chrono::nanoseconds elapsed) { cold_reads.OnSync(elapsed); });
  }

  Executor& executor;
  LoopMetrics& metrics;
  LogClock log_clock;
  FlowBudget produce_budget;  // received and not yet acked; closed while the store stalls
  LogWriter writer;
  FlowBudget fetch_budget;       // handed to connections and not yet on the wire
  FlowBudget read_ahead_budget;  // read, or being read, for clients and not yet in a frame
  ColdReadPacer cold_reads;
  MultiRaft groups;
  std::unique_ptr<Retention> retention;  // executor's thread; unset while it does not run
};

class Broker {
 public:
  struct Options {
    int32_t broker_id = 1;
    uint64_t incarnation = 1;  // of its disk
    std::string address;       // advertised HOST:PORT
    std::string rack;
    TopicConfig topic_defaults;
    int64_t memory_limit = 512 << 20;
    UnixMillis start_time = 0;
    std::function<DiskSpace()> disk_space = [] { return DiskSpace{}; };  // of the data directory
    int64_t disk_free_floor = 0;
  };

  // `executors`: at least one; all must outlive the broker. `on_fatal` stops the process.
  Broker(Options options, raft::LogStore& store, Clock& clock, Random& random, WorkPool& pool, Metrics& metrics,
         const std::vector<Executor*>& executors, LogWriter::FatalHandler on_fatal);
  ~Broker();

  // Reads the metadata; on the first executor, before any call. `may_have_lost`: what the last stop may have cost. `done` is called
  // there once what it wrote is on the disk, so that what was lost can be forgotten; or with why it failed.
  void Load(Partition::Lost may_have_lost, std::function<void(absl::Status)> done);

  // Removes what retention no longer covers, from now on. Any thread. Stopped before the executors end.
  void StartRetention();
  void StopRetention();

  // Saves what the next start would have to read again, and calls `done` once that is written. Serving may go on. Any thread.
  void SavePartitions(std::function<void()> done);

  // nullptr with an error when there is no such partition. topic_id 0: any. Any thread.
  std::shared_ptr<Partition> FindPartition(const std::string& topic, int32_t partition, uint64_t topic_id,
                                           ErrorFrame* error) const;

  // The current image. Any thread.
  std::shared_ptr<const MetadataImage> image() const { return image_.load(); }

  // First executor only.
  Controller& controller() { return controller_; }
  Executor& control_executor() { return shards_.front()->executor; }

  // Counts and logs an error that a client is sent. `error` without a code: nothing happens. Executor's thread.
  void NoteFailure(const Executor& executor, const ErrorFrame& error);

  Shard& ShardOf(const Executor& executor);
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
  static void LogChanges(const Directory& old, const Directory& next);
  void OnImage(std::shared_ptr<const MetadataImage> image);
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
  const std::unique_ptr<PeerSender> peers_;
  Partition::Lost may_have_lost_ = Partition::Lost::kNothing;
  std::unordered_set<raft::GroupId> found_at_start_;  // logs, while the metadata is loaded
  std::vector<std::unique_ptr<Shard>> shards_;
  std::atomic<std::shared_ptr<const MetadataImage>> image_;
  std::atomic<std::shared_ptr<const Directory>> directory_;
  Controller controller_;
};

}  // namespace millrace::server
