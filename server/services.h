// The methods that a broker serves, put into a registry. One function for each service, in a file of its own.
#pragma once

#include <functional>
#include <string>

#include "server/broker.h"
#include "server/call.h"

namespace millrace::server {

// millrace.v1.Broker: streams (produce_call, fetch_call), plain calls, offsets. broker_service.cc
void AddBrokerService(Broker& broker, ServiceRegistry& services);

// millrace.internal.v1.Forward: what other brokers ask in their clients' place. forward_service.cc
void AddForwardService(Broker& broker, ServiceRegistry& services);

// millrace.internal.v1.Peer of a broker that is in its cluster: links and registration. broker_peers.cc
void AddPeerServices(Broker& broker, PeerGate& gate, ServiceRegistry& services);

// millrace.v1.Admin. admin_service.cc
void AddAdminService(Broker& broker, ServiceRegistry& services);

// Whatever else is asked: LEADER_NOT_AVAILABLE, since a broker that starts is not ready, and `why`, on any executor. not_ready_service.cc
void AddNotReady(std::function<std::string()> why, ServiceRegistry& services);

// millrace.v1.Groups, and what brokers ask of each other for it. group_service.cc
void AddGroupService(Broker& broker, ServiceRegistry& services);

// grpc.health.v1.Health. Answers for "" and those of millrace.v1; `serving` may be called on any executor. health_service.cc
void AddHealthService(std::function<bool()> serving, ServiceRegistry& services);

// grpc.reflection.v1 and v1alpha, over the descriptors linked into the process. reflection_service.cc
void AddReflectionService(ServiceRegistry& services);

}  // namespace millrace::server
