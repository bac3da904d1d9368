// A network of the test's own, without which nobody's packets can be lost: each host is a network namespace with one cable to a
// router. Host 0 is the test itself; the others are for processes (BrokerProcess::Options::network).
//
//     TestNetwork network(3);                       // hosts 1 to 3
//     if (!network.made()) GTEST_SKIP() << network.missing();
//     network.Cut(1, 2);                            // what 1 sends to 2 is lost without a word; what 2 sends to 1 arrives
//     network.Heal();                               // of all cuts
//
// Names are known to this test and to what it starts (a hosts file of their own; no name service answers); host N is "host-N.test". Threads stay in
// the network in which they were begun: make it before the process has any, one a process. All of it goes with the process.
//
// Needs root, and `ip` and `nft`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace millrace {

class TestNetwork {
 public:
  explicit TestNetwork(int hosts);
  ~TestNetwork();
  TestNetwork(const TestNetwork&) = delete;
  TestNetwork& operator=(const TestNetwork&) = delete;

  // False where a process may not have a network of its own; missing() says what was refused.
  bool made() const { return missing_.empty(); }
  const std::string& missing() const { return missing_; }

  static std::string Name(int host);
  // The descriptor of its namespace, for setns(2).
  int Namespace(int host) const { return namespaces_.at(static_cast<size_t>(host)); }

  // From `from` to `to`, one way, except through a mapped port.
  void Cut(int from, int to);
  void CutBothWays(int a, int b);
  void Heal();

  // Whoever connects to this port of the router is connected to host:host_port. Returns the router's address with the port.
  std::string MapPort(int port, int host, int host_port);

  // Gives it another address. The old one is nobody's from then on.
  void Renumber(int host);

 private:
  int router() const { return namespaces_.back(); }
  std::string Address(int host) const;
  void WriteHosts() const;
  // A shell's commands in a namespace; whether all went well.
  bool Run(int ns, const std::string& script);
  void Lay(int host);

  std::vector<int> namespaces_;  // the hosts' and the router's
  std::vector<int> numbers_;     // the last part of each host's address
  std::filesystem::path folder_;
  std::string missing_;
};

}  // namespace millrace
