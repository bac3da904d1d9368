// A broker in memory: the real broker logic on a fake store, network and clock, all in the calling thread.
//
//     SimExecutor executor; SimNetwork network(executor); FakeLogStore disk;
//     SimBroker broker(executor, network, disk);              // alone, at "broker:9470"
//     broker.Crash(FakeLogStore::kLoseUnsynced); broker.Start();
//
// Or one of a cluster, which has to be waited for:
//
//     SimBroker broker(executor, network, disk, options);     // with founders
//     executor.Advance(…); … broker.loaded();
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "server/broker.h"
#include "server/call.h"
#include "server/metrics.h"
#include "server/peer_gate.h"
#include "tests/support/fake_log_store.h"
#include "tests/support/sim_executor.h"
#include "tests/support/sim_network.h"
#include "tests/support/sim_process.h"

namespace millrace {

class SimBroker {
 public:
  SimBroker(SimExecutor& executor, SimNetwork& network, FakeLogStore& disk,
            server::Broker::Options options = DefaultOptions(), uint64_t seed = 7);
  ~SimBroker();

  static server::Broker::Options DefaultOptions();

  // After Crash.
  void Start();
  // The process is gone; of the writes that were not synced, the disk keeps the first so many. All of them, and the process died
  // alone; else the machine did.
  void Crash(size_t unsynced_writes_kept);

  // As when it is asked to end; once stopped(), Crash() ends it.
  void Stop();
  bool stopped() const { return stopped_; }

  // Its disk has failed, and it has said that it ends; Crash() ends it.
  bool failed() const { return failed_; }

  bool running() const { return broker_ != nullptr; }
  // Nothing: not yet.
  const std::optional<absl::Status>& loaded() const { return loaded_; }
  // What a crash of the machine may have cost is not dealt with.
  bool power_lost() const { return power_lost_; }
  server::Broker& broker() { return *broker_; }
  const server::Metrics& metrics() const { return *metrics_; }
  SimProcess& process() { return process_; }
  const std::string& address() const { return options_.address; }

 private:
  class InlinePool;

  bool alone() const { return options_.founders.size() == 1; }
  void OnLoaded(const absl::StatusOr<size_t>& not_started);

  SimExecutor& executor_;
  SimNetwork& network_;
  FakeLogStore& disk_;
  const server::Broker::Options options_;
  SimRandom random_;
  SimProcess process_;
  const std::unique_ptr<ClientTransport> way_out_;
  bool power_lost_ = false;
  std::optional<absl::Status> loaded_;
  bool stopped_ = false;
  bool failed_ = false;
  std::unique_ptr<server::WorkPool> pool_;
  std::unique_ptr<server::Metrics> metrics_;
  std::unique_ptr<server::ServiceRegistry> services_loading_;  // until it has caught up
  std::unique_ptr<server::ServiceRegistry> services_;
  std::unique_ptr<server::PeerPresence> presence_;
  std::unique_ptr<server::PeerGate> gate_;
  std::unique_ptr<server::Broker> broker_;
};

}  // namespace millrace
