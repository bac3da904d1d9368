// The receiving end of one link of a peer: lets it in or says why not, and hands on what it sends.
//
//     AddPeerService(gate, [&](Executor& executor) -> PeerSink& { return runtime.SinkOf(executor); }, services);
//
// Lives on its call's executor, as do the calls to its sink. Whatever a peer sends that makes no sense ends its link with a
// sentence, and nothing else.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/call.h"
#include "server/peer_frames.h"
#include "server/peer_gate.h"

namespace millrace::server {

// Who takes what peers send. Outlives the calls.
class PeerSink {
 public:
  virtual ~PeerSink() = default;

  // All messages of a frame. Each names `from` as its sender; its receiver may be a replica that this broker was once.
  virtual void OnMessages(raft::ReplicaId from, std::vector<GroupMessage> messages) = 0;
  virtual void OnLeaders(raft::ReplicaId from, std::vector<GroupLeader> leaders) = 0;

  // Back-pressure: calls `read` when entries may come again, now or later on the same executor. What never waits behind
  // entries is read all the time.
  virtual void WhenReady(std::function<void()> read) { read(); }
};

// A link's first frame is at most so large: whoever sends it has proved nothing yet.
inline constexpr size_t kHelloBytesMax = 16 << 10;

class PeerCall : public Call {
 public:
  PeerCall(PeerGate& gate, PeerSink& sink);
  ~PeerCall() override;

  void Start(Stream& stream) override;
  void OnMessage(absl::Cord message) override;
  void OnWritten() override;
  void OnReadsDone() override;
  void OnClosed(CallEnd end) override;

 private:
  void OnHello(const absl::Cord& message);
  void OnFrame(const absl::Cord& message);
  void Deliver(PeerFrame frame);
  void ReadNext();
  void Say(const internal::v1::PeerAnswer& answer);
  void Refuse(internal::v1::Refusal refusal);
  void Refuse(internal::v1::Refusal::Reason reason, std::string message);

  PeerGate& gate_;
  PeerSink& sink_;
  Stream* stream_ = nullptr;
  std::string nonce_;
  PeerLife peer_;  // these three once it is let in
  raft::ReplicaId self_;
  internal::v1::Lane lane_ = internal::v1::LANE_UNSPECIFIED;
  uint64_t sequence_ = 0;
  std::unique_ptr<PeerPresence::Visit> visit_;  // once it is let in
  bool writing_ = false;
  absl::Cord unsent_;              // an answer that waits for the one before it
  std::optional<CallEnd> ending_;  // once everything was said
  // What the sink calls back finds out through this whether the call still exists.
  std::shared_ptr<PeerCall*> self_pointer_;
};

}  // namespace millrace::server
