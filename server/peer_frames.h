// The frames that brokers send each other (proto/millrace/internal/v1/peer.proto), read and written without generated code: the
// payloads of entries stay slices of what the producer sent, from the socket to the store and from there to every peer.
//
//     PeerFrameWriter frame(sequence);
//     frame.Add(group, message);                                   // as many as there are
//     stream->Write(std::move(frame).Finish(stalled));
//
//     absl::StatusOr<PeerFrame> frame = ParsePeerFrame(bytes);     // payloads share the memory of `bytes`
//
// Bytes are protobuf's own, both ways. Unknown fields are skipped, and so are messages whose body is none that is known here.
// Errors: kInvalidArgument for bytes that are no such frame, or that say more than kElementsMax things of a kind.
// Values only; not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "proto/wire/frame_writer.h"
#include "raft/messages.h"
#include "raft/types.h"

namespace millrace::server {

// Of one frame: the largest batch there may be fits into it twice.
inline constexpr size_t kPeerFrameBytesMax = 128 << 20;

struct GroupMessage {
  raft::GroupId group;
  raft::Message message;  // without `from` and `to` where the frame named none
};

// Who leads a group, as its leader tells every broker; -1: the sender leads no more.
struct GroupLeader {
  raft::GroupId group;
  raft::Term term;
  raft::BrokerId broker;

  bool operator==(const GroupLeader&) const = default;
};

struct PeerFrame {
  std::optional<absl::Cord> hello;  // a serialized internal.v1.Hello
  uint64_t sequence = 0;
  int64_t sent_at = 0;
  bool stalled = false;
  std::vector<GroupLeader> leaders;
  std::vector<GroupMessage> messages;
};

absl::StatusOr<PeerFrame> ParsePeerFrame(const absl::Cord& bytes);

class PeerFrameWriter {
 public:
  explicit PeerFrameWriter(uint64_t sequence) { out_.Integer(2, static_cast<int64_t>(sequence)); }

  // `from` and `to` are left out where they are kNoReplica.
  void Add(raft::GroupId group, const raft::Message& message);
  void Add(const GroupLeader& leader);

  size_t bytes() const { return out_.bytes(); }
  // Messages, leaders and entries, each.
  size_t elements() const { return elements_; }

  // `sent_at` 0: it does not say.
  absl::Cord Finish(bool stalled, int64_t sent_at = 0) &&;

 private:
  internal::FrameWriter out_;
  size_t elements_ = 0;
};

}  // namespace millrace::server
