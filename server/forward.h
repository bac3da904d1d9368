// What this broker asks of the leader of a partition that it does not lead, for clients that reach only this one (ARCHITECTURE
// D12). One for each shard.
//
//     forward.Append(*leader, batch, acks, done);
//     forward.Read(address, partition, from, bytes_max, wait, done);
//
// Lives on the shard's executor, where all callbacks come. Errors: what the leader says, LEADER_NOT_AVAILABLE when it cannot be
// reached. Memory: what a client's call holds while it waits; nothing is kept here besides.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "proto/wire/transport.h"
#include "server/forward_stream.h"
#include "server/metrics.h"
#include "server/partition.h"
#include "server/read_outcome.h"

namespace millrace::server {

class Forward {
 public:
  // For an answer that has to wait for nothing but the other broker.
  static constexpr std::chrono::seconds kTimeout{10};

  Forward(ClientTransport& transport, Executor& executor) : transport_(transport), executor_(executor) {}

  // Ends what is under way; there must be no more calls.
  void Stop() { streams_.clear(); }

  void Append(const std::string& address, PartitionBatchFrame batch, Acks acks, Partition::AppendDone done);

  // At the high watermark the leader waits so long for more, and then gives nothing.
  void Read(const std::string& address, const PartitionName& name, raft::Offset from, size_t bytes_max,
            std::chrono::milliseconds wait, std::function<void(ReadOutcome)> done);
  void Resolve(const std::string& address, const PartitionName& name, PositionSpec spec,
               std::function<void(PositionOutcome)> done);

  // A whole unary call, as it came in. The marked form of `method` is never handed on again; see AddForwardable.
  void Call(const std::string& address, const std::string& method, const std::string& request,
            std::chrono::milliseconds timeout, std::function<void(ErrorFrame, std::string reply)> done);

  // Batches and calls that were handed on. Any thread.
  uint64_t handed_on() const { return handed_on_.Value(); }

 private:
  ClientTransport& transport_;
  Executor& executor_;
  std::map<std::string, std::unique_ptr<ForwardStream>> streams_;  // by address
  Counter handed_on_;
};

// What was handed on once.
inline constexpr char kForwardedPrefix[] = "/millrace.internal.v1.Forwarded";

}  // namespace millrace::server
