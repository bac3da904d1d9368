// One Fetch stream: subscriptions to positions in partitions, and frames pushed while the client's credit lasts.
//
// A subscription is always in exactly one place:
//   resolving  its position is being looked up
//   ready      has something to send (or to look for); in ready_, served in turn
//   reading    a read from disk, or from a partition on another executor, is under way
//   waiting    at the high watermark; the partition tells it of the next append
//   paused     by the client
// One frame is being written at a time; what became ready meanwhile makes the next.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "server/broker.h"
#include "server/call.h"
#include "server/reads.h"

namespace millrace::server {

class FetchCall : public Call {
 public:
  FetchCall(Broker& broker, Executor& executor);
  ~FetchCall() override;

  void Start(Stream& stream) override;
  void OnMessage(absl::Cord message) override;
  void OnWritten() override;
  void OnReadsDone() override;
  void OnClosed(CallEnd end) override;

 private:
  class Link;
  struct Subscription {
    enum class State { kResolving, kReady, kReading, kWaiting };

    FetchSubscriptionFrame request;
    std::shared_ptr<Partition> partition;
    std::shared_ptr<Link> link;
    State state = State::kResolving;
    bool paused = false;
    bool queued = false;  // in ready_
    raft::Offset next;
    PartitionBounds bounds;              // as last seen
    std::deque<raft::Entry> read_ahead;  // from `next` on
    int64_t read_ahead_bytes = 0;
  };

  bool Apply(const FetchRequestFrame& request);
  void Subscribe(const FetchSubscriptionFrame& request);
  void OnResolved(uint64_t id, const PositionOutcome& outcome);
  void CheckEpoch(uint64_t id, Subscription& sub);
  void Begin(uint64_t id, Subscription& sub, std::optional<GapFrame> gap);
  void OnAdvanced(uint64_t id);
  void OnRead(uint64_t id, ReadOutcome outcome);

  // Where a turn of a subscription ended.
  enum class Turn { kMore, kFull, kIdle, kEnded };

  void SchedulePump();
  void Pump();
  bool BuildFrame(FetchResponseFrame* frame);
  Turn Serve(uint64_t id, Subscription& sub, FetchPartitionFrame* out, int64_t* room);
  bool Load(uint64_t id, Subscription& sub);
  int64_t ReadBytes() const;
  void StartRead(uint64_t id, Subscription& sub);
  Turn Take(uint64_t id, Subscription& sub, FetchPartitionFrame* out, int64_t* room);
  bool CheckRange(uint64_t id, Subscription& sub, std::optional<GapFrame>* gap);
  void AddReadAhead(Subscription& sub, std::vector<raft::Entry> entries);
  void HoldReadAhead(Subscription& sub, int64_t bytes);
  void Enqueue(uint64_t id, Subscription& sub);
  void Pause(Subscription& sub);
  FetchPartitionFrame FrameOf(uint64_t id, const Subscription& sub) const;
  void EndWithError(uint64_t id, ErrorFrame error);
  void Drop(uint64_t id);

  Broker& broker_;
  Executor& executor_;
  Shard& shard_;
  Stream* stream_ = nullptr;
  bool first_message_ = true;
  bool reads_done_ = false;
  bool writing_ = false;
  bool pump_scheduled_ = false;
  int64_t reply_bytes_max_;
  int64_t credit_ = 0;
  int64_t frame_bytes_ = 0;      // of the frame being written
  int64_t frame_bytes_max_ = 0;  // of the frame being built
  std::chrono::nanoseconds write_started_{};
  int64_t read_ahead_bytes_ = 0;  // of all subscriptions; reads under way count as if done
  uint64_t pong_ = 0;
  std::unordered_map<uint64_t, Subscription> subscriptions_;
  std::deque<uint64_t> ready_;
  std::vector<FetchPartitionFrame> news_;  // beginnings, gaps and errors: sent with the next frame whatever the credit
  std::shared_ptr<FetchCall*> self_;
};

}  // namespace millrace::server
