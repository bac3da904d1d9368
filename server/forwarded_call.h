// Unary calls that one broker can answer: any takes them, and hands on what is not its own (ARCHITECTURE D12: one hop, never two).
//
//     AddControllerMethod(broker, "/millrace.v1.Admin/CreateTopic", on_failure, handler, services);
//     AddForwardable<Request, Response>("/millrace.v1.Admin/TrimPartition", on_failure, handler, services);
//     ...
//     AskLeader(broker, partition, address, method, request, reply, executor);      // in a handler that may
//
// Any thread; handlers run on the call's executor. Errors: LEADER_NOT_AVAILABLE without a leader, or when it did not answer;
// `may_have_happened` tells whether it may have done what it was asked.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "server/broker.h"
#include "server/call.h"
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

// Hands the call on to the broker at `address`, and its answer back.
void AskLeader(Broker& broker, const Partition& partition, const std::string& address, const std::string& method,
               std::string request, RawReply reply, Executor& executor);

}  // namespace millrace::server
