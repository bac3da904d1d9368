// Unary calls that one broker can answer: any takes them, and hands on what is not its own (ARCHITECTURE D12: one hop, never two).
//
//     AddControllerMethod(broker, "/millrace.v1.Admin/CreateTopic", on_failure, handler, services);
//     AddForwardable<Request, Response>("/millrace.v1.Admin/TrimPartition", on_failure, handler, services);
//     ...
//     AskLeader(broker, partition, address, leader, method, request, reply, executor);      // in a handler that may
//
// Any thread; handlers run on the call's executor. Errors: LEADER_NOT_AVAILABLE without a leader, or when it did not answer;
// `may_have_happened` tells whether it may have done what it was asked.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "server/broker.h"
#include "server/call.h"
#include "server/errors.h"
#include "server/unary_call.h"

namespace millrace::server {

void AddControllerMethod(Broker& broker, const std::string& method, const UnaryCall::FailureListener& on_failure,
                         const UnaryCall::Handler& handler, ServiceRegistry& services);

// handler(request, reply, executor, routing): what was handed on once comes with LEADER_ONLY.
template <typename Request, typename Response, typename F>
void AddForwardable(const std::string& method, const UnaryCall::FailureListener& on_failure, F handler,
                    ServiceRegistry& services) {
  for (const Routing routing : {Routing::kAny, Routing::kLeaderOnly}) {
    const std::string name = routing == Routing::kAny ? method : kForwardedPrefix + method;
    services.Add(name, Unary<Request, Response>(
                           on_failure, [handler, routing](const Request& request, Reply<Response> reply, Executor& e) {
                             handler(request, std::move(reply), e, routing);
                           }));
  }
}

// `suffix` comes behind the answer.
void HandOn(Broker& broker, const Partition& partition, const std::string& address, const std::string& method,
            std::string request, std::string suffix, RawReply reply, Executor& executor);

// Hands the call on to the leader, which brokers reach at `address`, and its answer back, with the hint whose it is.
template <typename Response>
void AskLeader(Broker& broker, const Partition& partition, const std::string& address, const LeaderHintFrame& leader,
               const std::string& method, std::string request, const Reply<Response>& reply, Executor& executor) {
  // Serialized messages one behind the other are their merger (protobuf's encoding guide, "Last One Wins").
  Response hint;
  *hint.mutable_leader() = StubOf(leader);
  HandOn(broker, partition, address, method, std::move(request), hint.SerializeAsString(), reply.raw(), executor);
}

}  // namespace millrace::server
