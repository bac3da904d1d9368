#include "server/peer_identity.h"

namespace millrace::server {

raft::ReplicaId FromProto(const internal::v1::ReplicaId& replica) {
  return {.broker = raft::BrokerId(replica.broker_id()), .incarnation = replica.incarnation()};
}

internal::v1::ReplicaId ToProto(raft::ReplicaId replica) {
  internal::v1::ReplicaId proto;
  proto.set_broker_id(replica.broker.value());
  proto.set_incarnation(replica.incarnation);
  return proto;
}

}  // namespace millrace::server
