// What goes wrong: brokers, machines, disks, clocks and ways between them, each for a while.
//
//     Nemesis nemesis(world, cluster, hosts);
//     nemesis.Step();       // undoes what is due, and maybe does something new
//     nemesis.Heal();       // everything works again, but for processes that end by themselves: Tend()
//
// It stays within what the cluster can bear: records of flush=async are on no disk for sure, so that with them only one machine at a
// time goes down, and not before the last one counts again.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/cluster_sim/world.h"

namespace millrace::sim {

class Nemesis {
 public:
  // `clients`: who else has ways to the brokers.
  Nemesis(World& world, SimCluster& cluster, std::vector<std::string> clients);

  // A client that may stand still, until it is forgotten.
  void Know(SimProcess& client) { processes_.push_back(&client); }
  void Forget(SimProcess& client) { std::erase(processes_, &client); }

  void Step();
  void Heal();
  // Undoes what is due, and ends processes that are at their end.
  void Tend();

  std::chrono::nanoseconds TravelTime(const std::string& from, const std::string& to);
  std::chrono::nanoseconds SyncTime(int broker);

  // For ever: this client never reaches that broker.
  void Separate(const std::string& client, int broker);

 private:
  static std::string HostOf(int broker) { return "broker-" + std::to_string(broker); }

  void Strike();
  void Do(Fault fault);
  void Crash(int broker, bool power);
  void Stop(int broker);
  void EndFailed();
  void EndStopped();
  void StartLater(int broker);
  void CrashAll();
  void FreezeClient();
  void Freeze(int broker);
  void Cut(const std::string& from, const std::string& to);
  void CutOff(int broker);
  void Later(std::function<void()> undo, int64_t ms);
  bool MayLosePower(int broker);
  void NoteCrash(int broker);
  int PickBroker();
  std::string PickHost();
  int down() const { return static_cast<int>(down_.size()); }

  World& world_;
  SimCluster& cluster_;
  const std::vector<std::string> clients_;
  std::multimap<std::chrono::nanoseconds, std::function<void()>> undo_;
  std::set<int> down_;      // gone, or standing still
  std::set<int> stopping_;  // of them: on their way
  std::vector<SimProcess*> processes_;
  std::set<std::pair<std::string, std::string>> separated_;
  std::map<std::pair<std::string, std::string>, int64_t> slow_us_;  // ways
  std::map<int, int64_t> slow_sync_us_;                             // disks
};

// What a broker counted, while it lives.
void NoteCounts(SimBroker& broker, Coverage& coverage);

}  // namespace millrace::sim
