// Calls that only the controller answers: any broker takes them, and hands those that are not its own to the one that is
// (ARCHITECTURE D12: one hop, never two).
//
//     AddControllerMethod(broker, "/millrace.v1.Admin/CreateTopic", on_failure, handler, services);
//
// Any thread; the handler runs on the call's executor. Errors: LEADER_NOT_AVAILABLE without a controller, REQUEST_TIMED_OUT when
// it did not answer: then it may have happened.
#pragma once

#include <string>

#include "server/broker.h"
#include "server/call.h"
#include "server/unary_call.h"

namespace millrace::server {

void AddControllerMethod(Broker& broker, const std::string& method, const UnaryCall::FailureListener& on_failure,
                         const UnaryCall::Handler& handler, ServiceRegistry& services);

}  // namespace millrace::server
