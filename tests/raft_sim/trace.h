// The last events of a run, to be read when it fails. Recording is a store of a few words; text is made when asked for.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <type_traits>
#include <variant>

#include "raft/messages.h"
#include "tests/raft_sim/event_queue.h"

namespace millrace::raft::sim {

// Places in Message's variant.
enum MessageKind : uint8_t {
  kAppend,
  kAppendReply,
  kHeartbeat,
  kHeartbeatReply,
  kVoteRequest,
  kVoteReply,
  kSnapshot,
  kTimeoutNow
};
template <MessageKind kKind, class Body>
inline constexpr bool kIsAt = std::is_same_v<std::variant_alternative_t<kKind, decltype(Message::body)>, Body>;
static_assert(kIsAt<kAppend, AppendEntries> && kIsAt<kAppendReply, AppendReply> && kIsAt<kHeartbeat, Heartbeat> &&
              kIsAt<kHeartbeatReply, HeartbeatReply> && kIsAt<kVoteRequest, VoteRequest> &&
              kIsAt<kVoteReply, VoteReply> && kIsAt<kSnapshot, InstallSnapshot> && kIsAt<kTimeoutNow, TimeoutNow>);

// A message in a few words, for the trace and the event hash.
struct Brief {
  uint8_t kind = 0;  // a MessageKind
  uint8_t flags = 0;
  ReplicaId from;
  ReplicaId to;
  Term term;
  // Append: prev and number of entries; its reply: match or rejected, hint; vote request: last; …
  int64_t a = 0;
  int64_t b = 0;
  int64_t c = 0;
};

Brief BriefOf(const Message& message);
std::string ToString(const Brief& brief);

class Trace {
 public:
  static constexpr size_t kLength = 200;

  struct Line {
    uint64_t number = 0;
    int64_t time = 0;
    EventKind kind = EventKind::kTick;
    uint8_t broker = 0;
    Brief message;          // kDeliver
    const char* note = "";  // what came of it, a literal
  };

  Line& Next() { return lines_[next_++ % kLength]; }
  Line& Last() { return lines_[(next_ - 1) % kLength]; }
  std::string Text() const;

 private:
  std::array<Line, kLength> lines_;
  size_t next_ = 0;
};

std::string ToString(const Trace::Line& line);

}  // namespace millrace::raft::sim
