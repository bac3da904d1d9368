// millrace.internal.v1.Peer: what a broker serves to its peers, on the port that clients use.
//
//     AddPeerService(gate, [&](Executor& executor) -> PeerSink& { return runtime.SinkOf(executor); }, services);
//     Identify(transport, "10.0.0.2:9470", secret, random, std::chrono::seconds(1), [](absl::StatusOr<PeerIdentity> who) { … });
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "proto/wire/transport.h"
#include "server/call.h"
#include "server/peer_call.h"
#include "server/peer_gate.h"

namespace millrace::server {

// `gate` and the sinks outlive the calls.
void AddPeerService(PeerGate& gate, std::function<PeerSink&(Executor&)> sink_of, ServiceRegistry& services);

// Asks the broker at `address` who it is. `done` is called once, on the transport's executor. kUnauthenticated: one of the two
// does not know the other's secret; other errors are the call's.
void Identify(ClientTransport& transport, const std::string& address, const PeerSecret& secret, Random& random,
              std::chrono::nanoseconds timeout, std::function<void(absl::StatusOr<PeerIdentity>)> done);

}  // namespace millrace::server
