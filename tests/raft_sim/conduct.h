// How one replica has to behave where no log is at stake, but availability: pre-votes change nothing, live leaders are not
// disturbed, a leader that hears no quorum or whose disk stands still gives up, and no membership is changed before the leader has
// committed in its term. A group under faults may well recover without any of these; so they are checked one by one.
#pragma once

#include <array>
#include <cstdint>

#include "raft/core.h"
#include "tests/raft_sim/network.h"
#include "tests/raft_sim/trace.h"

namespace millrace::raft::sim {

struct World;

class Conduct {
 public:
  explicit Conduct(World& world) : world_(world) {}

  void Reset() { *this = Conduct(world_); }
  // Around each message that the core takes.
  void BeforeStep(const Core& core, const Brief& message);
  void AfterStep(const Core& core, const Brief& message);
  void OnUnreachable() { since_leader_ = kLong; }
  // After each tick that the core was given.
  void AfterTick(const Core& core);
  void OnRoundBegins(bool of_readies) { round_ticks_ = of_readies ? 0 : -1; }
  void OnRoundEnds() { round_ticks_ = -1; }
  void OnLeaderAppends(const Core& core, const Entry& entry);

  Conduct& operator=(const Conduct& other);

 private:
  static constexpr int kLong = 1'000'000;

  void Fail(const Core& core, const char* what);
  bool HearsQuorum(const Core& core) const;
  void OnQuietLeader(const Core& leader);

  World& world_;
  int since_leader_ = kLong;  // ticks since a message of the leader
  int round_ticks_ = -1;      // since the disk began to write what Readies gave; -1: it does not
  int ticks_ = 0;
  Term led_;                              // the term that `heard_` is about
  std::array<int, kBrokersMax> heard_{};  // by broker: when anything of it came
  Term term_before_;
  bool protected_ = false;
};

}  // namespace millrace::raft::sim
