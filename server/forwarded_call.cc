#include "server/forwarded_call.h"

#include "server/forward.h"

namespace millrace::server {
namespace {

// On the shard's executor.
void Ask(Shard& shard, const std::string& address, const std::string& method, const std::string& request,
         const std::string& suffix, const RawReply& reply, Executor& executor) {
  const auto on_answer = [suffix, reply, &executor](ErrorFrame error, std::string answer) {
    RunOn(executor, [reply, error = std::move(error), answer = std::move(answer) + suffix] {
      error.ok() ? reply.Send(answer) : reply.Fail(error);
    });
  };
  shard.forward.Call(address, method, request, Forward::kTimeout, on_answer);
}

// On the first executor.
void AskController(Broker& broker, const std::string& method, const std::string& request, const RawReply& reply,
                   Executor& executor) {
  const ErrorFrame not_here = broker.metadata().NotControllerError();
  const std::string address =
      not_here.leader ? broker.view().PeerAddressOf(raft::BrokerId(not_here.leader->broker_id)) : "";
  if (address.empty()) return RunOn(executor, [reply, not_here] { reply.Fail(not_here); });
  Ask(broker.ShardOf(broker.control_executor()), address, method, request, "", reply, executor);
}

}  // namespace

void AddControllerMethod(Broker& broker, const std::string& method, const UnaryCall::FailureListener& on_failure,
                         const UnaryCall::Handler& handler, ServiceRegistry& services) {
  const auto add = [&](const std::string& name, bool may_ask) {
    const UnaryCall::Handler here_or_there =
        [&broker, method, handler, may_ask](const std::string& request, const RawReply& reply, Executor& executor) {
          RunOn(broker.control_executor(), [&broker, method, handler, may_ask, request, reply, &executor] {
            if (broker.metadata().is_controller()) {
              return RunOn(executor, [=, &executor] { handler(request, reply, executor); });
            }
            if (may_ask) return AskController(broker, method, request, reply, executor);
            RunOn(executor, [reply, error = broker.metadata().NotControllerError()] { reply.Fail(error); });
          });
        };
    services.Add(name, [here_or_there, on_failure](Executor& executor) {
      return std::make_unique<UnaryCall>(here_or_there, on_failure, executor);
    });
  };
  add(method, true);
  add(kForwardedPrefix + method, false);
}

void HandOn(Broker& broker, const Partition& partition, const std::string& address, const std::string& method,
            std::string request, std::string suffix, RawReply reply, Executor& executor) {
  Shard& shard = broker.ShardOf(partition.group());
  RunOn(shard.executor,
        [&shard, address, method, request = std::move(request), suffix = std::move(suffix), reply = std::move(reply),
         &executor] { Ask(shard, address, method, request, suffix, reply, executor); });
}

}  // namespace millrace::server
