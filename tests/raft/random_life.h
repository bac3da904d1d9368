// A cluster of four brokers, drawn from a seed: disks are late, stall and forget, brokers are cut off, die, drop what was applied
// long ago and cannot read, the network is a BadMail; members come and go, leadership is handed over. In a life whose machines go
// down, topics are flush=async for a time, at each broker for another, and a replica whose disk says that it may have lost what it
// acked comes back abstaining.
//
//     RandomLife life({.seed = 7, .machines_go_down = true});
//     life.Run();
//     life.counts().at("restarts");
//
// Adds test failures: what a Witness sees, a replica that stops, logs that are not equal at the end.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "raft/group_driver.h"
#include "tests/raft/bad_mail.h"
#include "tests/raft/memory_disks.h"
#include "tests/raft/witness.h"
#include "tests/support/test_cluster.h"

namespace millrace {

class RandomLife {
 public:
  struct Options {
    uint64_t seed;
    bool machines_go_down;
  };
  // How often it has come to what is rare, by its name.
  using Counts = std::map<std::string, int>;

  explicit RandomLife(const Options& options);

  void Run();
  const Counts& counts() const { return counts_; }

 private:
  static constexpr int kBrokers = 4;

  struct Transfer {
    int to;
    raft::Term from;
  };

  bool OneIn(int n) { return random_.UpTo(n) == 0; }
  TestReplica& replica(int broker) { return cluster_.replica(broker); }
  raft::Core& core(int broker) { return replica(broker).core(); }

  void Disturb();
  void DisturbDisk(int broker);
  void DisturbNetwork(int broker);
  void TellOthers(int unreachable);
  void AskLeader();
  void Propose(raft::Core& leader);
  void ChangeMembership(raft::Core& leader);
  void HandOver(raft::Core& leader);
  void Restart(int broker);
  bool MayAbstain(int broker);
  void SwitchFlush(int broker);
  void SetFlush(int broker, bool is_async);
  void DropApplied(int broker);
  void Pass();
  void AnswerReads(int broker);

  void OnSent(int broker, const raft::Message& message);
  void HearAnswers(int broker);
  void Check();
  bool IsOnDisksOfMost(const raft::ReplicaSet& voters, raft::LogIndex index) const;
  void Recover();
  void CheckEnd();

  const Options options_;
  raft::SeededRandom random_;
  Counts counts_;
  BadMail mail_{random_, counts_};
  MemoryDisks disks_;
  Witness witness_{counts_};
  std::map<int, size_t> answers_heard_;
  std::map<int, bool> is_async_;
  std::optional<Transfer> transfer_;
  int texts_ = 0;
  TestCluster cluster_;
};

}  // namespace millrace
