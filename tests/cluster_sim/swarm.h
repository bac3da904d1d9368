// What a seed draws before anything happens: how large everything is, which faults there are, how often.
//
//     Swarm swarm = DrawSwarm(seed);
#pragma once

#include <bitset>
#include <cstdint>
#include <string>

#include "tests/cluster_sim/coverage.h"

namespace millrace::sim {

using FaultSet = std::bitset<kFaultCount>;

struct Swarm {
  uint64_t seed = 0;
  FaultSet faults;
  int brokers = 3;
  int producers = 2;
  int consumers = 1;
  int members = 0;         // of a group, at first; 0: there is none
  int member_one_in = 30;  // steps one comes, leaves or dies
  bool pattern = false;    // they subscribe by one
  bool instances = false;  // they have instance ids, and who dies comes back under its own
  bool resets = false;     // of the group's offsets, while they read
  int topics = 1;
  int partitions = 2;      // of each
  int steps = 300;         // of the time with faults
  int step_ms = 30;        // at most
  int sends = 3;           // a step, at most
  int value_bytes = 200;   // at most
  int idle_one_in = 50;    // steps are pauses of seconds
  int change_one_in = 20;  // steps an operator changes something
  int travel_us = 300;     // typically
  int sync_us = 1000;      // typically
  int fault_one_in = 20;   // steps
  int down_max = 1;        // brokers that are gone or stand still at a time
  bool async = false;      // topics are flush=async
  bool short_delivery = false;
  bool lone_topic = false;       // there is one with a single replica
  bool vanishing_topic = false;  // there is one that is deleted now and then
  bool one_way_client = false;   // a producer and a consumer that reach one broker only
  bool named_producer = false;   // there is one with a name, and now and then another one that fences it

  bool Has(Fault fault) const { return faults.test(static_cast<size_t>(fault)); }
};

Swarm DrawSwarm(uint64_t seed);
std::string ToString(const Swarm& swarm);

}  // namespace millrace::sim
