// One Fetch stream: subscriptions to positions in partitions, and frames pushed while the client's credit lasts.
//
// Where a subscription stands:
//   resolving  its position is being looked up
//   ready      has something to send, or to look for
//   reading    a read from disk, or from a partition on another executor, is under way
//   waiting    at the high watermark; the partition tells it of the next append
// Independent of that it may be paused by the client. A ready one that is not paused is in ready_, once, and served in turn.
// One frame is being written at a time; what became ready meanwhile makes the next.
//
// Memory. A frame being written counts against the loop's fetch budget, what is read ahead against its read-ahead budget. A
// stream that holds nothing may always go on with a small step, so that clients that do not read cost the others speed and
// never progress; one that takes nothing of a frame for a minute is ended.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "server/broker.h"
#include "server/call.h"
#include "server/reads.h"
#include "server/write_deadline.h"

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
  struct Subscription {
    enum class State { kResolving, kReady, kReading, kWaiting };

    FetchSubscriptionFrame request;
    std::shared_ptr<Partition> partition;
    std::shared_ptr<WakeOn> link;
    State state = State::kResolving;
    bool paused = false;
    bool queued = false;  // in ready_
    raft::Offset next;
    std::chrono::nanoseconds ready_since{};
    PartitionBounds bounds;              // as last seen
    std::deque<raft::Entry> read_ahead;  // from `next` on
    int64_t read_ahead_bytes = 0;

    Routing routing() const { return static_cast<Routing>(request.routing); }
  };

  bool Apply(const FetchRequestFrame& request);
  void Subscribe(const FetchSubscriptionFrame& request);
  void OnResolved(uint64_t id, const PositionOutcome& outcome);
  void CheckEpoch(uint64_t id, Subscription& sub);
  void Begin(uint64_t id, Subscription& sub, std::optional<GapFrame> gap);
  void OnAdvanced(uint64_t id);
  void OnRead(uint64_t id, ReadOutcome outcome);

  // What may still go into the frame that is being built.
  struct Room {
    int64_t bytes;
    int64_t bytes_max;                     // of the whole frame
    bool empty;                            // nothing is in it yet
    std::chrono::nanoseconds ready_since;  // of what has waited longest
  };
  // Where a turn of a subscription ended.
  enum class Turn { kMore, kFull, kIdle, kEnded };

  void SchedulePump();
  void Pump();
  bool BuildFrame(FetchResponseFrame* frame, Room* room);
  std::vector<FetchPartitionFrame> TakeNews(Room* room);
  Turn Serve(uint64_t id, Subscription& sub, FetchPartitionFrame* out, Room* room);
  bool Load(uint64_t id, Subscription& sub, std::optional<GapFrame>* gap, int64_t room);
  void StartRead(uint64_t id, Subscription& sub);
  bool Accept(uint64_t id, Subscription& sub, ReadOutcome outcome, std::optional<GapFrame>* gap);
  void TellLeader(uint64_t id, const Subscription& sub);
  bool Fits(const raft::Entry& entry, const Room& room) const;
  Turn Take(uint64_t id, Subscription& sub, FetchPartitionFrame* out, Room* room);
  bool Miss(uint64_t id, Subscription& sub, const std::optional<Loss>& loss, ErrorFrame error,
            std::optional<GapFrame>* gap);
  static bool EndReached(const Subscription& sub);
  bool EndIfReached(uint64_t id, const Subscription& sub);
  void AddReadAhead(Subscription& sub, std::vector<raft::Entry> entries);
  void HoldReadAhead(Subscription& sub, int64_t bytes);
  void ReturnFrame();
  void Enqueue(uint64_t id, Subscription& sub);
  void Pause(Subscription& sub);
  FetchPartitionFrame FrameOf(uint64_t id, const Subscription& sub) const;
  ErrorFrame ReplyTooLarge(const Subscription& sub, const raft::Entry& entry) const;
  void EndWithError(uint64_t id, ErrorFrame error);
  void TellError(uint64_t id, ErrorFrame error);
  void Drop(uint64_t id);
  void CheckInvariants() const;
  void CheckInvariants(const Subscription& sub) const;

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
  int64_t frame_bytes_ = 0;  // of the frame being written
  std::chrono::nanoseconds credit_since_{};
  std::chrono::nanoseconds frame_ready_since_{};
  WriteDeadline write_deadline_;
  int64_t read_ahead_bytes_ = 0;  // of all subscriptions; reads under way count as if done
  uint64_t pong_ = 0;
  std::unordered_map<uint64_t, Subscription> subscriptions_;
  std::deque<uint64_t> ready_;
  std::vector<FetchPartitionFrame> news_;  // beginnings, gaps and errors: sent with the next frame whatever the credit
  std::shared_ptr<FetchCall*> self_;
};

}  // namespace millrace::server
