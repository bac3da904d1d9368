// Calls between clients and brokers in one thread, without sockets: messages are tasks of a SimExecutor.
//
//     SimNetwork network(executor);
//     network.Attach("broker:9470", services);        // a broker's methods
//     Producer logic(..., network, ...);
//     network.Detach("broker:9470");                  // crash: every call ends with kUnavailable
//
// Between processes that have names it can be as bad as a real one:
//
//     auto way_out = network.WayOutOf(process);                    // of a broker or a client
//     network.Attach("broker-1:9470", services, process);
//     network.SetTravelTime([&](from, to) { return 1ms; });        // of each message; order in a call is kept
//     network.Cut("broker-1", "broker-2");                         // that way alone; what is sent waits for Heal(), as TCP's does
//     network.Kill(process, SimNetwork::Death::kSilent);           // a power cut: nobody is told before its name is attached again
//
// A peer's message window is kWindow: writes beyond it complete when the other end reads, as with gRPC's flow control.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "proto/wire/transport.h"
#include "server/call.h"
#include "tests/support/sim_executor.h"
#include "tests/support/sim_process.h"

namespace millrace {

class SimNetwork : public ClientTransport {
 public:
  using OpenListener = std::function<void(const std::string& from, const std::string& method)>;
  using TravelTime = std::function<std::chrono::nanoseconds(const std::string& from, const std::string& to)>;
  // How a process ends: with its connections closed by the system, or with the machine.
  enum class Death { kTold, kSilent };

  // Until a call of a process is connected.
  static constexpr std::chrono::seconds kConnectTimeout{2};

  explicit SimNetwork(SimExecutor& executor);
  ~SimNetwork() override;

  void Attach(const std::string& address, const server::ServiceRegistry& services);
  void Attach(const std::string& address, const server::ServiceRegistry& services, SimProcess& process);
  void Detach(const std::string& address);
  // Ends every call under way to the address, as a broken connection does; new ones work.
  void Break(const std::string& address);

  std::unique_ptr<ClientTransport> WayOutOf(SimProcess& process);
  void SetTravelTime(TravelTime travel_time) { travel_time_ = std::move(travel_time); }
  // Told of every call that a process begins.
  void OnOpen(OpenListener on_open) { on_open_ = std::move(on_open); }
  void Cut(const std::string& from, const std::string& to) { cuts_.insert({from, to}); }
  void Heal(const std::string& from, const std::string& to);
  // Of the calls between the two, both ends hear that they broke.
  void BreakBetween(const std::string& one, const std::string& other);
  // The process's calls end, at its own end at once. Its address takes no more.
  void Kill(SimProcess& process, Death death);

  std::unique_ptr<Stream> OpenStream(const std::string& address, const std::string& method,
                                     StreamHandler* handler) override;
  void Call(const std::string& address, const std::string& method, absl::Cord request, std::chrono::nanoseconds timeout,
            std::function<void(CallReply)> done) override;

  int64_t messages() const { return messages_; }
  // Of all that has arrived anywhere.
  int64_t bytes() const { return bytes_; }
  // Of all that has arrived anywhere, and when.
  uint64_t hash() const { return hash_; }

 private:
  friend class SimConnection;
  class WayOut;
  struct Listener {
    const server::ServiceRegistry* services = nullptr;
    SimProcess* process = nullptr;
  };

  std::unique_ptr<Stream> Open(SimProcess* from, const std::string& address, const std::string& method,
                               StreamHandler* handler);
  void CallFrom(SimProcess* from, const std::string& address, const std::string& method, absl::Cord request,
                std::chrono::nanoseconds timeout, std::function<void(CallReply)> done);
  void NoteArrival(uint64_t connection, bool from_client, const absl::Cord& message);

  SimExecutor& executor_;
  std::map<std::string, Listener> listeners_;
  std::map<std::string, std::string> hosts_;                              // by address, once attached
  std::map<uint64_t, std::shared_ptr<class SimConnection>> connections_;  // by age
  uint64_t last_connection_ = 0;
  TravelTime travel_time_;
  OpenListener on_open_;
  std::set<std::pair<std::string, std::string>> cuts_;
  int64_t messages_ = 0;
  int64_t bytes_ = 0;
  uint64_t hash_ = 0;
};

}  // namespace millrace
