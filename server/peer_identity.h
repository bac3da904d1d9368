// Who a broker is to the others.
#pragma once

#include <cstdint>
#include <string>

#include "millrace/internal/v1/peer.pb.h"
#include "raft/types.h"

namespace millrace::server {

// Versions of the peer protocol that this release speaks (proto/millrace/internal/v1/peer.proto).
inline constexpr uint32_t kPeerProtocolMin = 1;
inline constexpr uint32_t kPeerProtocolMax = 1;

// A replica between a start and an end of its process.
struct PeerLife {
  raft::ReplicaId replica;
  uint64_t session = 0;  // drawn at the start

  bool operator==(const PeerLife&) const = default;
};

struct PeerIdentity {
  PeerLife life;
  std::string cluster_id;  // empty: it belongs to no cluster yet
  uint32_t protocol_min = kPeerProtocolMin;
  uint32_t protocol_max = kPeerProtocolMax;
  std::string build;    // for logs
  std::string address;  // HOST:PORT for peers
  uint64_t starts = 0;  // of the data directory (BrokerInfo)
};

raft::ReplicaId FromProto(const internal::v1::ReplicaId& replica);
internal::v1::ReplicaId ToProto(raft::ReplicaId replica);

}  // namespace millrace::server
