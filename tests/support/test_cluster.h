// Brokers under test with one replica each of the same group, and a network that loses what the test says.
//
//     TestCluster cluster(3, {}, [](int broker) { return ...; });    // where its log lies; called again at each restart
//     TestReplica& leader = cluster.AwaitLeader();
//     cluster.Propose(leader, "text");
//     cluster.Settle();
//
// One thread; equal calls do equal things.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "raft/group_driver.h"
#include "tests/support/test_broker.h"
#include "tests/support/test_replica.h"

namespace millrace {

class TestCluster {
 public:
  static constexpr raft::GroupId kGroup{7};

  struct Disk {
    std::shared_ptr<raft::LogStore> store;
    std::function<void()> complete_syncs;  // all that wait
  };
  using OpenDisk = std::function<Disk(int broker)>;
  struct Options {
    raft::Flush flush = raft::Flush::kCommit;
    raft::Config config;
    int voters = 3;  // of the first membership; the others are not members
    uint64_t seed = 1;
    std::function<void(int broker, const raft::Entry&)> on_applied;
    std::function<void(int broker, const raft::Message&)> on_sent;
  };

  // Brokers 1 to `brokers`, each with an empty log, running.
  TestCluster(int brokers, const Options& options, OpenDisk open_disk);

  static raft::ReplicaId Id(int broker) { return {raft::BrokerId(broker), 100 + static_cast<uint64_t>(broker)}; }
  TestReplica& replica(int broker) { return *nodes_[broker - 1].replica; }
  raft::LogStore& store(int broker) { return *nodes_[broker - 1].disk.store; }
  TestBroker& loop(int broker) { return *nodes_[broker - 1].loop; }
  int BrokerOf(const TestReplica& replica) const;

  int brokers() const { return static_cast<int>(nodes_.size()); }

  // Everybody's loop turns once; what was sent is under way then. Syncs complete where `completes` says so. Whether anything
  // happened.
  bool Turn(const std::function<bool(int broker)>& completes);
  // For the test to change: what Deliver() delivers.
  std::vector<raft::Message>& under_way() { return under_way_; }
  bool Deliver();
  // Until nobody has anything to do and no message is under way.
  void Settle();
  void Tick(int ticks = 1);
  // Ticks until one of those that are not cut off leads, and has committed an entry of its term.
  TestReplica& AwaitLeader();
  // At a leader; one record each. Not settled.
  void Propose(TestReplica& leader, const std::string& text, int count = 1);
  // Whatever is sent to or by it is lost.
  void CutOff(int broker) { cut_off_.insert(broker); }
  void Heal() { cut_off_.clear(); }
  // The broker dies. `crash` does to its disk what the crash does; then it is opened and the replica starts: abstaining if its machine
  // went down and its disk says that it may lack what it acked.
  void Stop(int broker);
  void Restart(int broker, const std::function<void()>& crash = nullptr, bool machine = false);

  // Has failures added when the logs of these brokers, which have settled, are not equal from the later beginning on.
  void ExpectEqual(const std::vector<int>& brokers);

 private:
  struct Node {
    Disk disk;
    std::unique_ptr<TestReplica> replica;
    std::unique_ptr<TestBroker> loop;
  };

  TestReplica::Options OptionsOf(int broker) const;

  const Options options_;
  const OpenDisk open_disk_;
  std::vector<Node> nodes_;
  std::set<int> cut_off_;
  std::vector<raft::Message> under_way_;
};

}  // namespace millrace
