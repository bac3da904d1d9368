// Who this broker says it is, and whose links it takes.
//
//     PeerGate gate(self, std::move(secret), presence, random);
//     if (auto refusal = gate.Check(hello, nonce)) …
//     gate.SetCluster(id, self);                        // once there is one
//
// Any thread. `random` is used under a lock of the gate's: nobody else may use it at the time, unless it bears that.
#pragma once

#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/internal/v1/peer.pb.h"
#include "proto/wire/runtime.h"
#include "server/broker_info.h"
#include "server/peer_identity.h"
#include "server/peer_presence.h"
#include "server/peer_secret.h"

namespace millrace::server {

class PeerGate {
 public:
  PeerGate(PeerIdentity self, PeerSecret secret, PeerPresence& presence, Random& random);

  // The replica may have been given its number only now.
  void SetCluster(std::string cluster_id, raft::ReplicaId self);
  // Those that the metadata knows.
  void SetBrokers(std::vector<BrokerInfo> brokers);
  PeerIdentity self() const;
  const PeerSecret& secret() const { return secret_; }
  PeerPresence& presence() { return presence_; }

  // What a link's challenge asks to be proved.
  std::string NewNonce();

  // Why the sender of `hello` is not let in; nothing: it is.
  std::optional<internal::v1::Refusal> Check(const internal::v1::Hello& hello, std::string_view nonce) const;

  // A peer was refused, again and again until somebody mends it: logged once, until a peer is let in.
  void LogRefusal(const internal::v1::Refusal& refusal);
  void ForgetRefusals();

 private:
  const PeerSecret secret_;
  PeerPresence& presence_;
  mutable std::mutex mutex_;
  PeerIdentity self_;                // guarded by mutex_
  std::vector<BrokerInfo> brokers_;  // guarded by mutex_
  Random& random_;                   // guarded by mutex_
  std::set<std::string> logged_;     // guarded by mutex_; sentences
};

}  // namespace millrace::server
