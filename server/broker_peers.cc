#include <utility>

#include "server/services.h"

namespace millrace::server {

void AddPeerServices(Broker& broker, PeerGate& gate, ServiceRegistry& services) {
  AddPeerService(
      gate, [&broker](Executor& executor) -> PeerSink& { return broker.PeerSinkOf(executor); }, services);
  AddRegisterService(
      gate,
      [&broker](BrokerInfo info, RegisterDone done, Executor& executor) {
        RunOn(broker.control_executor(), [&broker, info = std::move(info), done = std::move(done), &executor] {
          broker.metadata().OnRegister(info, [done, &executor](const ErrorFrame& error, raft::BrokerId id) {
            RunOn(executor, [done, error, id] { done(error, id); });
          });
        });
      },
      services);
}

}  // namespace millrace::server
