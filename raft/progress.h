// The leader's picture of one member: how far its log is known to agree, what is on the way to it, whether to send more.
//
// A member is probed (one request at a time, its reply says where the logs agree), then replicated to (a window of requests
// ahead of the acks), or waits for a snapshot because the leader's log begins behind what it needs.
#pragma once

#include <cstdint>
#include <vector>

#include "raft/types.h"

namespace millrace::raft {

// What was sent and not acked, oldest first: a window limited by number and by bytes. (Also what was proposed and is not committed.)
// Keeps its memory until Clear().
class Inflights {
 public:
  void Add(LogIndex last, size_t bytes);
  // Everything up to `match` has arrived.
  void FreeTo(LogIndex match);
  void Clear();
  bool Full(size_t messages_max, size_t bytes_max) const { return count() >= messages_max || bytes_ >= bytes_max; }
  size_t count() const { return requests_.size() - head_; }
  size_t bytes() const { return bytes_; }

 private:
  struct Request {
    LogIndex last;
    size_t bytes;
  };
  std::vector<Request> requests_;
  size_t head_ = 0;  // requests before it are acked
  size_t bytes_ = 0;
};

// Of a member that is to abstain and has not said so yet: those that are drawn are odd (Core::SetAbstaining).
inline constexpr uint64_t kUnnamedAbstention = 2;

struct Progress {
  enum class State : uint8_t { kProbe, kReplicate, kSnapshot };

  explicit Progress(ReplicaId id, LogIndex next) : id(id), next(next) {}

  ReplicaId id;
  State state = State::kProbe;
  LogIndex match;   // the member holds the leader's log up to here, durably; grows only, but for a member that lost it
  LogIndex synced;  // of that, what is on its disk for sure and not only written; <= match
  LogIndex next;    // first entry to send; match < next
  LogIndex commit_sent;     // the highest commit index on its way
  LogIndex snapshot;        // kSnapshot: the index that it will stand at
  uint64_t read_round = 0;  // the newest round of reads it confirmed
  // The first request made after `match` was known: a refusal of this or a later one that names less than `match` proves that
  // the member lost what it had acked (an earlier one may just be late).
  uint64_t match_known_since = 0;
  // Replies to earlier requests are of a life of the member that has ended: what they ack may be lost.
  uint64_t first_request = 0;
  int snapshot_waits = 0;  // kSnapshot: heartbeats it answered meanwhile
  Inflights inflights;
  bool recent_active = false;  // heard of since the last check of the quorum
  bool probe_sent = false;     // kProbe: wait for the reply or the next heartbeat's
  bool nudge = false;          // ask, even without news: what is in flight may be lost
  bool reading = false;        // its next entries are being read from the store
  bool snapshot_requested = false;
  uint64_t abstention = 0;    // holds what it says, but does not count (AppendReply::abstention)
  uint64_t lost_in_life = 0;  // the life that is to abstain, until it says that it does
  LogIndex quiet_at;          // it said that its timers stand still at this index; 0: they run

  void BecomeProbe();
  void BecomeReplicate();
  void BecomeSnapshot(LogIndex index);
  // True if that was news.
  bool Acked(LogIndex index);
};

const char* ToString(Progress::State state);

}  // namespace millrace::raft
