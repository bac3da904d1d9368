// Reads of old entries for members that lag behind: only as many as their links take. What a full link drops would be read again
// and, with all that was on its way behind it, sent again.
//
//     reads.Admit(to, bytes, [this](bool connected) { … });    // now, or when the link has room, in order
//     reads.OnHandedOn(to, bytes);                             // what was read is the link's, or nobody wants it any more
//     reads.OnDrained(broker);                                 // its link has sent something, or is gone
//
// What is left of a link's share is for entries that are new.
// Executor's thread only.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "proto/wire/check.h"
#include "raft/types.h"

namespace millrace::server {

class CatchUpReads {
 public:
  // To each member: read, or being read, and not sent.
  static constexpr size_t kUnsentBytesMax = 4 << 20;

  // What waits on the link to a replica; nothing: it is not connected. Asked on the executor's thread.
  using UnsentBytes = std::function<std::optional<size_t>(raft::ReplicaId to)>;
  explicit CatchUpReads(UnsentBytes unsent) : unsent_(std::move(unsent)) {}
  CatchUpReads(const CatchUpReads&) = delete;
  CatchUpReads& operator=(const CatchUpReads&) = delete;

  // false: the member is not connected, nothing is to be read. True: OnHandedOn() follows.
  using Turn = std::function<void(bool connected)>;

  // Whether one would be let through at once.
  bool HasRoom(raft::ReplicaId to) const {
    const auto member = members_.find(to);
    if (member == members_.end()) return HasRoom(to, 0);
    return member->second.waiting.empty() && HasRoom(to, member->second.reading_bytes);
  }

  // `bytes`: what it will read at most.
  void Admit(raft::ReplicaId to, size_t bytes, Turn turn) {
    members_[to].waiting.push_back({bytes, std::move(turn)});
    Run(to);
  }

  void OnHandedOn(raft::ReplicaId to, size_t bytes) {
    Member& member = members_[to];
    MILLRACE_CHECK(member.reading_bytes >= bytes);
    member.reading_bytes -= bytes;
    Run(to);
  }

  void OnDrained(raft::BrokerId broker) {
    const auto first = members_.lower_bound({broker, 0});
    for (auto member = first; member != members_.end() && member->first.broker == broker;) Run((member++)->first);
  }

 private:
  struct Waiting {
    size_t bytes;
    Turn turn;
  };
  struct Member {
    size_t reading_bytes = 0;
    std::deque<Waiting> waiting;
  };

  bool HasRoom(raft::ReplicaId to, size_t reading_bytes) const {
    const std::optional<size_t> unsent = unsent_(to);
    return unsent && *unsent + reading_bytes < kUnsentBytesMax;
  }

  // A turn may ask for more, or hand on at once.
  void Run(raft::ReplicaId to) {
    for (;;) {
      const auto found = members_.find(to);
      if (found == members_.end()) return;
      Member& member = found->second;
      if (member.waiting.empty()) {
        if (member.reading_bytes == 0) members_.erase(found);
        return;
      }
      const bool connected = unsent_(to).has_value();
      if (connected && !HasRoom(to, member.reading_bytes)) return;
      const Waiting next = std::move(member.waiting.front());
      member.waiting.pop_front();
      if (connected) member.reading_bytes += next.bytes;
      next.turn(connected);
    }
  }

  const UnsentBytes unsent_;
  std::map<raft::ReplicaId, Member> members_;  // that something is read for
};

}  // namespace millrace::server
