// Real brokers that form one cluster, each a process with a data directory of its own (broker_process.h).
//
//     ClusterProcesses cluster;                    // of three, numbered from 1
//     ASSERT_NO_FATAL_FAILURE(cluster.Start());    // back once all are ready
//     cluster.Kill(2);                             // kill -9
//     ... cluster.addresses() ...
//     ASSERT_NO_FATAL_FAILURE(cluster.Start(2));   // same data, same address
//     cluster.Pause(3);                            // SIGSTOP: its connections stay, nothing is answered
//     cluster.Resume(3);
//
// Start from the test's main thread, as there.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/integration/broker_process.h"
#include "tests/integration/test_network.h"

namespace millrace {

class ClusterProcesses {
 public:
  struct Options {
    int brokers = 3;
    std::vector<std::string> arguments;    // of each broker, besides those that make it a member
    const TestNetwork* network = nullptr;  // each on the host of its number, known by that host's name; null: all here
  };

  ClusterProcesses() : ClusterProcesses(Options()) {}
  explicit ClusterProcesses(const Options& options);

  // All of them; a fatal failure of the test if one ends instead of becoming ready.
  void Start();

  // One that does not run.
  void Start(int broker) { at(broker).Start(); }
  void Kill(int broker) { at(broker).Kill(); }
  // SIGTERM; its exit code.
  int Stop(int broker) { return at(broker).Stop(); }
  void Pause(int broker);
  void Resume(int broker);

  BrokerProcess& at(int broker) { return *brokers_.at(static_cast<size_t>(broker - 1)); }
  int size() const { return static_cast<int>(brokers_.size()); }
  // HOST:PORT,… of all, whether they run or not.
  std::string addresses() const;

 private:
  std::vector<std::unique_ptr<BrokerProcess>> brokers_;
};

}  // namespace millrace
