// One link to a peer, from the sender's side: the handshake, and what waits to be sent.
//
//     PeerStream stream(environment, internal::v1::LANE_BULK, bytes_max, owner);
//     stream.Open("10.0.0.2:9470", {.to = to});   // owner.OnWelcome() or owner.OnEnd() follows
//     if (!stream.Add(group, message)) …          // no room: the message is lost
//
// What is added during one turn of the executor, or while a frame is being written, leaves as one frame. One frame is written at
// a time, so whatever a peer does not take waits here, up to a number of bytes: at least one message, however large, fits.
// Lives on the executor. Ownership: messages are encoded at once, payloads shared until they are sent.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "millrace/internal/v1/peer.pb.h"
#include "proto/wire/runtime.h"
#include "proto/wire/transport.h"
#include "server/peer_frames.h"
#include "server/peer_identity.h"
#include "server/peer_secret.h"

namespace millrace::server {

// What the links of a broker have in common. Outlives them.
struct PeerEnvironment {
  PeerIdentity self;
  PeerSecret secret;
  ClientTransport& transport;
  Executor& executor;
  const Clock& clock;
};

class PeerStream : private StreamHandler {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // Frames go out from here on.
    virtual void OnWelcome(const PeerLife& peer, const std::string& build) = 0;
    // Something was sent: there is room for more.
    virtual void OnDrained() = 0;
    // Refused, or broken. The last call.
    virtual void OnEnd(const std::string& reason) = 0;
  };

  PeerStream(const PeerEnvironment& environment, internal::v1::Lane lane, size_t bytes_max, Owner& owner);
  ~PeerStream() override;
  PeerStream(const PeerStream&) = delete;

  struct Greeting {
    raft::ReplicaId to;    // incarnation 0: whatever disk the broker has
    bool stalled = false;  // the storage of this broker makes no progress
    bool unheard = false;  // nothing is heard of the peer
  };
  void Open(const std::string& address, const Greeting& greeting);
  // The owner hears nothing more, and what waits is dropped.
  void Close();

  bool welcome() const { return state_ == State::kWelcome; }

  // Only once welcome. False: there is no room for it.
  bool Add(raft::GroupId group, const raft::Message& message);
  bool Add(const GroupLeader& leader);

  // Says in each frame whether the storage of this broker makes progress; sends one if none was sent since the last call.
  void Beat(bool stalled);

  // Of what waits and of what is being sent.
  size_t bytes() const { return waiting_bytes_ + writing_bytes_; }

 private:
  enum class State { kClosed, kOpen, kHello, kWelcome };

  void OnMessage(absl::Cord message) override;
  void OnWritten() override;
  void OnClosed(CallEnd end) override;

  void SayHello(const std::string& nonce);
  bool HasRoomFor(size_t bytes) const;
  PeerFrameWriter& FrameFor(size_t bytes, size_t elements);
  template <typename... Element>
  bool AddBounded(size_t bytes, size_t elements, const Element&... element);
  void ScheduleFlush();
  void Flush();
  void Write(PeerFrameWriter frame);
  void End(const std::string& reason);

  const PeerEnvironment& environment_;
  const internal::v1::Lane lane_;
  const size_t bytes_max_;
  Owner& owner_;

  State state_ = State::kClosed;
  std::unique_ptr<Stream> stream_;
  Greeting greeting_;
  std::string refusal_;  // what the peer said before it ended the call
  bool stalled_ = false;

  std::deque<PeerFrameWriter> frames_;  // the last one is being filled
  uint64_t sequence_ = 0;               // of the newest frame
  size_t waiting_bytes_ = 0;            // in frames_
  size_t writing_bytes_ = 0;
  bool writing_ = false;
  bool sent_ = false;        // since the last Beat(), and not by it
  bool tells_time_ = false;  // in the next frame
  bool flush_scheduled_ = false;
  // Deferred work finds out through this whether the stream still exists.
  std::shared_ptr<PeerStream*> self_;
};

}  // namespace millrace::server
