// The sending end of a link in the hands of a test, in generated code: what no PeerLinks would say.
//
//     ScriptedPeer peer(executor, network, node.address());
//     peer.Say(peer.HelloTo(node));                      // answers the challenge
//     EXPECT_EQ(peer.refusal.reason(), …);
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "millrace/internal/v1/peer.pb.h"
#include "server/peer_gate.h"
#include "tests/server/peers/peer_node.h"

namespace millrace::server {

class ScriptedPeer : private StreamHandler {
 public:
  ScriptedPeer(SimExecutor& executor, SimNetwork& network, const std::string& address) : executor_(executor) {
    stream_ = network.OpenStream(address, "/millrace.internal.v1.Peer/Link", this);
    stream_->Read();
    executor_.RunUntilIdle();
  }

  // A good one of broker 9, to be spoilt.
  internal::v1::Hello HelloTo(const PeerNode& node, const PeerSecret& secret = {}) const {
    internal::v1::Hello hello;
    hello.set_protocol_min(kPeerProtocolMin);
    hello.set_protocol_max(kPeerProtocolMax);
    hello.set_cluster_id(node.identity().cluster_id);
    *hello.mutable_from() = ToProto({raft::BrokerId(9), 9});
    *hello.mutable_to() = ToProto({node.replica().broker, 0});
    hello.set_lane(internal::v1::LANE_CONTROL);
    hello.set_session(99);
    hello.set_build("scripted");
    hello.set_proof(secret.ProofOf(hello, nonce));
    return hello;
  }

  void Say(const internal::v1::Hello& hello) {
    internal::v1::PeerFrame frame;
    *frame.mutable_hello() = hello;
    Say(frame);
  }
  void Say(const internal::v1::PeerFrame& frame) { Say(frame.SerializeAsString()); }
  void Say(const std::string& bytes) {
    stream_->Write(absl::Cord(bytes));
    executor_.RunUntilIdle();
  }
  void Close() { stream_.reset(); }

  std::string nonce;
  bool welcome = false;
  internal::v1::Refusal refusal;
  bool closed = false;
  absl::Status status;

 private:
  void OnMessage(absl::Cord message) override {
    internal::v1::PeerAnswer answer;
    ASSERT_TRUE(answer.ParseFromString(std::string(message)));
    if (answer.has_challenge()) nonce = answer.challenge().nonce();
    if (answer.has_welcome()) welcome = true;
    if (answer.has_refusal()) refusal = answer.refusal();
    stream_->Read();
  }
  void OnWritten() override {}
  void OnClosed(CallEnd end) override {
    closed = true;
    status = end.status;
  }

  SimExecutor& executor_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace millrace::server
