// What this broker asks of the leader of a partition that it does not lead, for clients that reach only this one (ARCHITECTURE
// D12). One for each shard.
//
//     forward.Append(address, batch, acks, cost, done);
//     forward.Read(address, partition, from, bytes_max, wait, done);
//     forward.Renew(address);                // it is up again
//     forward.GiveUp(address);               // it is down: who waits for it is told, and asks again where it leads no more
//
// Lives on the shard's executor, where all callbacks come. Errors: what the leader says, LEADER_NOT_AVAILABLE when it cannot be
// reached or takes nothing. Memory: what a client's call holds while it waits; nothing is kept here besides. Batches that one broker
// does not answer have a bound of their own, so that those for the others go on.
#pragma once

#include <chrono>
#include <cstdint>
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

  // `bytes_max`: of batches that one broker has not answered.
  Forward(ClientTransport& transport, Executor& executor, int64_t bytes_max)
      : transport_(transport), executor_(executor), bytes_max_(bytes_max), self_(std::make_shared<Forward*>(this)) {}
  ~Forward() { *self_ = nullptr; }
  Forward(const Forward&) = delete;

  // `cost`: in bytes, of the bound. What is over it is refused at once.
  void Append(const std::string& address, PartitionBatchFrame batch, Acks acks, int64_t cost,
              Partition::AppendDone done);
  // So much waits for this broker that who has batches there should bring no more before they are answered.
  bool IsCrowded(const std::string& address) const;

  // Ends what is under way to it. Not from a callback of this.
  void GiveUp(const std::string& address);
  // It is back, where it was or elsewhere: what is asked of it next does not wait for an attempt to reach it where it was.
  void Renew(const std::string& address) { transport_.Forget(address); }

  // At the high watermark the leader waits so long for more, and then gives nothing. `bytes_max` 0: no entries in any case, who waits
  // only wants to know.
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
  using CallDone = std::function<void(const CallReply&)>;
  struct Asked {
    std::unique_ptr<ForwardStream> appends;  // null before the first
    std::map<uint64_t, CallDone> calls;      // by age
  };

  void Ask(const std::string& address, const std::string& method, const std::string& request,
           std::chrono::milliseconds timeout, CallDone done);
  void OnReply(const std::string& address, uint64_t call, const CallReply& reply);

  ClientTransport& transport_;
  Executor& executor_;
  const int64_t bytes_max_;
  std::map<std::string, Asked> asked_;  // by address
  uint64_t last_call_ = 0;
  Counter handed_on_;
  // Replies find out through this whether anybody waits for them.
  std::shared_ptr<Forward*> self_;
};

// What was handed on once.
inline constexpr char kForwardedPrefix[] = "/millrace.internal.v1.Forwarded";

}  // namespace millrace::server
