// A Produce stream to the leader of partitions, for clients that this broker serves in its place.
//
//     ForwardStream stream(transport, executor, "10.0.0.2:9470");
//     stream.Append(batch, acks, [](const AppendOutcome& outcome) { … });
//
// Opened by the first append, and anew by the next one after it broke. Batches of a partition keep their order.
// Lives on the executor. Errors: LEADER_NOT_AVAILABLE when the stream broke: `may_have_happened` tells whether what was under way
// may be stored.
// Memory: batches until they are answered; their number is bounded by who appends.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>

#include "proto/wire/frames.h"
#include "proto/wire/runtime.h"
#include "proto/wire/transport.h"
#include "server/partition.h"

namespace millrace::server {

class ForwardStream : private StreamHandler {
 public:
  ForwardStream(ClientTransport& transport, Executor& executor, std::string address);
  ~ForwardStream() override;

  // `cost`: what it counts for in bytes().
  void Append(PartitionBatchFrame batch, Acks acks, int64_t cost, Partition::AppendDone done);
  // Of the batches that are not answered.
  int64_t bytes() const { return bytes_; }

  // Ends what is under way. Not from a callback of an append.
  void Break(const std::string& why);

 private:
  struct Waiting {
    PartitionBatchFrame batch;
    Acks acks;
  };
  struct Unanswered {
    int64_t cost;
    Partition::AppendDone done;
  };

  void OnMessage(absl::Cord message) override;
  void OnWritten() override;
  void OnClosed(CallEnd end) override;
  void ScheduleSend();
  void Send();
  ProduceRequestFrame NextRequest();
  void FailAll(const std::string& why, bool may_have_happened);

  ClientTransport& transport_;
  Executor& executor_;
  const std::string address_;
  std::unique_ptr<Stream> stream_;
  std::deque<Waiting> waiting_;
  std::unordered_map<uint64_t, Unanswered> unanswered_;  // by the id that it has on this stream
  int64_t bytes_ = 0;
  uint64_t last_id_ = 0;
  bool writing_ = false;
  bool send_scheduled_ = false;
  std::shared_ptr<ForwardStream*> self_;
};

}  // namespace millrace::server
