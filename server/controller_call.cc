#include "server/controller_call.h"

#include <chrono>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"

namespace millrace::server {
namespace {

using v1::Error;

// What was handed on once is not handed on again: a broker that is no longer the controller says so.
constexpr char kForwarded[] = "/millrace.internal.v1.Forwarded";
constexpr std::chrono::seconds kTimeout{10};

ErrorFrame NotAnswered(const CallReply& reply) {
  if (reply.end.error.code != 0) return reply.end.error;
  ErrorFrame error =
      MakeError(reply.end.never_sent ? Error::LEADER_NOT_AVAILABLE : Error::REQUEST_TIMED_OUT,
                absl::StrCat("the controller did not answer: ", ToStdString(reply.end.status.message())));
  error.may_have_happened = !reply.end.never_sent;
  return error;
}

// On the first executor.
void Forward(Broker& broker, const std::string& method, const std::string& request, const RawReply& reply,
             Executor& executor) {
  const ErrorFrame not_here = broker.metadata().NotControllerError();
  const std::string address =
      not_here.has_leader ? broker.view().PeerAddressOf(raft::BrokerId(not_here.leader_id)) : "";
  if (address.empty()) return RunOn(executor, [reply, not_here] { reply.Fail(not_here); });
  broker.ShardOf(broker.control_executor())
      .calls.Call(
          address, kForwarded + method, absl::Cord(request), kTimeout, [reply, &executor](const CallReply& answer) {
            RunOn(executor, [reply, answer] {
              answer.end.status.ok() ? reply.Send(std::string(answer.message)) : reply.Fail(NotAnswered(answer));
            });
          });
}

}  // namespace

void AddControllerMethod(Broker& broker, const std::string& method, const UnaryCall::FailureListener& on_failure,
                         const UnaryCall::Handler& handler, ServiceRegistry& services) {
  const auto add = [&](const std::string& name, bool forwards) {
    const UnaryCall::Handler here_or_there = [&broker, method, handler, forwards](std::string request, RawReply reply,
                                                                                  Executor& executor) {
      RunOn(broker.control_executor(),
            [&broker, method, handler, forwards, request = std::move(request), reply = std::move(reply), &executor] {
              if (broker.metadata().is_controller())
                return RunOn(executor, [=, &executor] { handler(request, reply, executor); });
              if (forwards) return Forward(broker, method, request, reply, executor);
              RunOn(executor, [reply, error = broker.metadata().NotControllerError()] { reply.Fail(error); });
            });
    };
    services.Add(name, [here_or_there, on_failure](Executor& executor) {
      return std::make_unique<UnaryCall>(here_or_there, on_failure, executor);
    });
  };
  add(method, true);
  add(kForwarded + method, false);
}

}  // namespace millrace::server
