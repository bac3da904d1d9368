// Calls between clients and brokers in one thread, without sockets: messages are tasks of a SimExecutor.
//
//     SimNetwork network(executor);
//     network.Attach("broker:9470", services);        // a broker's methods
//     Producer logic(..., network.transport(), ...);
//     network.Detach("broker:9470");                  // crash: every call ends with kUnavailable
//
// A peer's message window is kWindow: writes beyond it complete when the other end reads, as with gRPC's flow control.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "proto/wire/transport.h"
#include "server/call.h"
#include "tests/support/sim_executor.h"

namespace millrace {

class SimNetwork : public ClientTransport {
 public:
  explicit SimNetwork(SimExecutor& executor);
  ~SimNetwork() override;

  void Attach(const std::string& address, const server::ServiceRegistry& services);
  void Detach(const std::string& address);
  // Ends every call under way to the address, as a broken connection does; new ones work.
  void Break(const std::string& address);

  std::unique_ptr<Stream> OpenStream(const std::string& address, const std::string& method,
                                     StreamHandler* handler) override;
  void Call(const std::string& address, const std::string& method, absl::Cord request, std::chrono::nanoseconds timeout,
            std::function<void(CallReply)> done) override;

  int64_t messages() const { return messages_; }

 private:
  friend class SimConnection;

  SimExecutor& executor_;
  std::map<std::string, const server::ServiceRegistry*> brokers_;
  std::set<std::shared_ptr<class SimConnection>> connections_;
  int64_t messages_ = 0;
};

}  // namespace millrace
