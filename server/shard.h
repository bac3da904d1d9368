// What the calls and partitions of one executor share.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "proto/wire/runtime.h"
#include "raft/log_store.h"
#include "server/cold_read_pacer.h"
#include "server/flow_budget.h"
#include "server/forward.h"
#include "server/log_clock.h"
#include "server/log_writer.h"
#include "server/metrics.h"
#include "server/multi_raft.h"
#include "server/retention.h"
#include "server/shard_peers.h"
#include "server/start_queue.h"
#include "server/work_pool.h"

namespace millrace::server {

struct Shard {
  struct Limits {
    int64_t produce_bytes;
    int64_t fetch_bytes;
    int64_t read_ahead_bytes;
  };
  Shard(raft::LogStore& store, Executor& executor, Clock& clock, WorkPool& pool, const ShardPeers::Seams& peers,
        ClientTransport& calls, LoopMetrics& metrics, LogWriter::FatalHandler on_fatal, const Limits& limits,
        uint64_t seed)
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
        forward(calls, executor, limits.produce_bytes / 2),
        groups({store, writer, executor, pool, cold_reads, this->peers, seed}),
        peers(peers),
        starts(executor, clock, [this](std::function<void()> then) { writer.OnDurable(std::move(then)); }) {
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
  Forward forward;
  MultiRaft groups;
  ShardPeers peers;
  StartQueue starts;                     // of partitions
  std::unique_ptr<Retention> retention;  // executor's thread; unset while it does not run
};

}  // namespace millrace::server
