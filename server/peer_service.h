// millrace.internal.v1.Peer: what a broker serves to other brokers, on the port that clients use, and how it asks them.
//
//     AddPeerService(gate, [&](Executor& executor) -> PeerSink& { return broker.ShardOf(executor).peers; }, services);
//     AddIntroduceService(gate.secret(), executor, [&](const Introduction& asker) { return formation.Introduce(); }, services);
//     AddRegisterService(gate, [&](BrokerInfo broker, auto done, Executor& executor) { … }, services);
//
//     PeerAsker ask(transport, secret, random);
//     ask.Introduce("10.0.0.2:9470", mine, [](absl::StatusOr<Introduction> theirs) { … });
//     ask.Register("10.0.0.2:9470", cluster_id, info, [](const ErrorFrame& error, raft::BrokerId id) { … });
//
// Whoever does not know the secret is refused: CLUSTER_AUTHORIZATION_FAILED, kUnauthenticated.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "proto/wire/transport.h"
#include "server/call.h"
#include "server/introduction.h"
#include "server/metadata_image.h"
#include "server/peer_call.h"
#include "server/peer_gate.h"

namespace millrace::server {

// `gate` and the sinks outlive the calls.
void AddPeerService(PeerGate& gate, std::function<PeerSink&(Executor&)> sink_of, ServiceRegistry& services);

// `answer`: what this broker says of itself to whoever introduced itself. Called on `home`.
void AddIntroduceService(PeerSecret secret, Executor& home,
                         std::function<Introduction(const Introduction& asker)> answer, ServiceRegistry& services);

using RegisterDone = std::function<void(const ErrorFrame&, raft::BrokerId)>;
// `done` is called on the executor given.
using RegisterHandler = std::function<void(BrokerInfo broker, RegisterDone done, Executor& executor)>;
void AddRegisterService(PeerGate& gate, RegisterHandler handler, ServiceRegistry& services);

// Of a registration: trying again would not end otherwise.
bool IsFinal(const ErrorFrame& refusal);

// Lives on the transport's executor, where `done` is called, once.
class PeerAsker {
 public:
  static constexpr std::chrono::seconds kTimeout{1};

  // `transport` and `random` outlive it.
  PeerAsker(ClientTransport& transport, PeerSecret secret, Random& random)
      : transport_(transport), secret_(std::move(secret)), random_(random) {}

  void Introduce(const std::string& address, const Introduction& mine,
                 std::function<void(absl::StatusOr<Introduction>)> done);
  // Errors as Controller::RegisterBroker, NOT_LEADER_OR_FOLLOWER with a hint, and those of the call.
  void Register(const std::string& address, const std::string& cluster_id, const BrokerInfo& broker, RegisterDone done);

 private:
  std::string NewNonce();

  ClientTransport& transport_;
  const PeerSecret secret_;
  Random& random_;
};

}  // namespace millrace::server
