// A broker in memory: the real broker logic on a fake store, network and clock, all in the calling thread.
//
//     SimExecutor executor; SimNetwork network(executor); FakeLogStore disk;
//     SimBroker broker(executor, network, disk);              // at "broker:9470"
//     broker.Crash(FakeLogStore::kLoseUnsynced); broker.Start();
#pragma once

#include <memory>
#include <string>

#include "server/broker.h"
#include "server/call.h"
#include "server/metrics.h"
#include "server/peer_gate.h"
#include "tests/support/fake_log_store.h"
#include "tests/support/sim_executor.h"
#include "tests/support/sim_network.h"

namespace millrace {

class SimBroker {
 public:
  SimBroker(SimExecutor& executor, SimNetwork& network, FakeLogStore& disk,
            server::Broker::Options options = DefaultOptions());
  ~SimBroker();

  static server::Broker::Options DefaultOptions();

  // After Crash.
  void Start();
  // The process is gone; of the writes that were not synced, the disk keeps the first so many.
  void Crash(size_t unsynced_writes_kept);

  server::Broker& broker() { return *broker_; }
  const std::string& address() const { return options_.address; }

 private:
  class InlinePool;

  SimExecutor& executor_;
  SimNetwork& network_;
  FakeLogStore& disk_;
  const server::Broker::Options options_;
  SimRandom random_{7};
  bool power_lost_ = false;
  std::unique_ptr<server::WorkPool> pool_;
  std::unique_ptr<server::Metrics> metrics_;
  std::unique_ptr<server::ServiceRegistry> services_;
  std::unique_ptr<server::PeerPresence> presence_;
  std::unique_ptr<server::PeerGate> gate_;
  std::unique_ptr<server::Broker> broker_;
};

}  // namespace millrace
