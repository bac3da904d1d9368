// Members of a consumer group: the SDK's logic, in processes that come, leave, die and stand still; and what the group is promised.
//
//     Crowd crowd(world, cluster, addresses, topics);
//     crowd.Step();         // somebody comes, leaves or dies, maybe
//     crowd.Poll();         // whoever does not stand still takes what has come
//     crowd.Settle(); … crowd.Unfinished();
//     crowd.Check();
//
// Promises: records of a partition are given out under epochs that never fall, and under one epoch by one member; none is given out again
// once an offset behind it was acked as committed; committed offsets never move back, but where they were reset, and no further; in the end
// everything was given out and is
// committed, every member has its share, and all replicas have the same groups.
#pragma once

#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "client/group_consumer.h"
#include "client/group_session.h"
#include "server/group_coordinator.h"
#include "tests/cluster_sim/clients.h"
#include "tests/cluster_sim/nemesis.h"
#include "tests/cluster_sim/world.h"

namespace millrace::sim {

class SimMember : public ClientProcess, private client::ConsumerReader::Core {
 public:
  struct Heard {
    std::function<void(const Place&, int32_t epoch, int64_t offset)> given_out;
    std::function<void(const Place&, int64_t offset)> committed;
    std::function<void()> lost;
  };

  // `instance`: "" for none.
  SimMember(World& world, std::string name, std::string instance, const std::vector<std::string>& bootstrap,
            const std::vector<std::string>& topics, Heard heard);
  ~SimMember() override;

  void Poll();
  // Commits what was handled, and tells the coordinator.
  void Leave();
  bool left() const { return left_; }
  const std::string& instance() const { return options_.group_instance_id; }
  size_t partitions() const { return reader_.progress().size(); }
  std::string Report() const;

 private:
  static ConsumerOptions OptionsFor(World& world, std::string instance, const std::vector<std::string>& bootstrap,
                                    SimMember* member);
  void Commit();

  void Reposition(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation,
                  Position position) override;
  void Halt(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation) override;
  void Add(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation, Position position) override;
  void Remove(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation) override;
  void GrantCredit() override;

  const Heard heard_;
  const ConsumerOptions options_;
  client::FetchQueue queue_;
  client::ConsumerCore core_;
  client::ConsumerReader reader_;
  client::GroupConsumer group_;
  std::unique_ptr<client::GroupSession> session_;
  bool leaving_ = false;
  bool left_ = false;
};

class Crowd {
 public:
  static constexpr char kGroup[] = "g";

  Crowd(World& world, SimCluster& cluster, Nemesis& nemesis, std::vector<std::string> topics);

  void Step();
  void Poll();
  // From now on nobody goes. Whoever stood still goes on.
  void Settle();
  // What the group has not come to yet; empty: nothing.
  std::string Unfinished();
  // Which replicas do not have the same groups; empty: none.
  std::string Unequal();
  void Check();
  std::string Report();

 private:
  struct Handled {
    int32_t epoch = 0;
    std::string member;
    int64_t acked = 0;                                       // committed, as some member was told
    int64_t committed = 0;                                   // as some coordinator has it
    int64_t reset_to = std::numeric_limits<int64_t>::max();  // the lowest that was asked for; maybe it is yet to come
    std::set<int64_t> offsets;
  };

  void Join();
  std::string FreeInstance() const;
  void Reset();
  void RemoveLeft();
  void Watch();
  void OnGivenOut(const std::string& member, const Place& place, int32_t epoch, int64_t offset);
  // Where the group's coordinator leads, unless a newer one has led already; nullptr: nowhere.
  const server::GroupCoordinator* CoordinatorNow();
  const server::GroupState* GroupNow();
  std::string Text(const Place& place) const { return place.topic + "/" + std::to_string(place.partition); }

  World& world_;
  SimCluster& cluster_;
  Nemesis& nemesis_;
  const std::vector<std::string> topics_;
  SimOperator operator_;
  std::vector<std::unique_ptr<SimMember>> members_;
  std::set<std::string> instances_;  // that were in use
  int polls_ = 1;                    // of each, each time
  int last_member_ = 0;
  raft::Term newest_coordinator_;
  std::map<Place, Handled> handled_;
};

}  // namespace millrace::sim
