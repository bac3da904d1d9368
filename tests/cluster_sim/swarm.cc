#include "tests/cluster_sim/swarm.h"

#include "absl/strings/str_cat.h"
#include "tests/cluster_sim/dice.h"

namespace millrace::sim {

Swarm DrawSwarm(uint64_t seed) {
  Dice dice(seed ^ 0x5eed);
  Swarm swarm{.seed = seed};
  const int64_t share = dice.UpTo(8);  // none, all, or some of the faults
  for (size_t fault = 0; fault < kFaultCount; ++fault) {
    swarm.faults.set(fault, share == 7 || (share > 0 && dice.OneIn(share < 4 ? 2 : 5)));
  }
  swarm.producers = static_cast<int>(dice.Between(1, 3));
  swarm.consumers = static_cast<int>(dice.Between(1, 2));
  swarm.topics = static_cast<int>(dice.Between(1, 2));
  swarm.partitions = static_cast<int>(dice.Between(1, 3));
  swarm.brokers = dice.OneIn(6) ? 5 : 3;
  swarm.steps = static_cast<int>(dice.Between(100, 900));
  swarm.step_ms = static_cast<int>(dice.Between(5, 60));
  swarm.sends = static_cast<int>(dice.Between(1, 6));
  swarm.value_bytes = dice.OneIn(2) ? 200 : static_cast<int>(dice.Between(500, 4000));
  swarm.idle_one_in = dice.OneIn(2) ? 1'000'000 : static_cast<int>(dice.Between(10, 100));
  swarm.change_one_in = static_cast<int>(dice.Between(2, 30));
  swarm.travel_us = static_cast<int>(dice.LongTail(300));
  swarm.sync_us = static_cast<int>(dice.LongTail(1000));
  swarm.fault_one_in = static_cast<int>(dice.Between(2, 30));
  swarm.down_max = static_cast<int>(dice.Between(1, 3));
  swarm.async = dice.OneIn(4);
  swarm.short_delivery = dice.OneIn(5);
  swarm.lone_topic = dice.OneIn(3);
  swarm.vanishing_topic = swarm.Has(Fault::kDelete);
  swarm.one_way_client = dice.OneIn(2);
  swarm.members = dice.OneIn(2) ? 0 : static_cast<int>(dice.Between(1, 3));
  swarm.member_one_in = static_cast<int>(dice.Between(5, 100));
  swarm.pattern = dice.OneIn(3);
  swarm.instances = dice.OneIn(3);
  swarm.resets = dice.OneIn(3);
  swarm.named_producer = dice.OneIn(3);
  return swarm;
}

std::string ToString(const Swarm& swarm) {
  std::string text = absl::StrCat(
      "seed ", swarm.seed, ": ", swarm.producers, " producers, ", swarm.brokers, " brokers, ", swarm.consumers,
      " consumers, ", swarm.members, " members", swarm.pattern ? " by a pattern" : "",
      swarm.instances ? " with instance ids" : "", swarm.resets ? " with resets" : "", ", ", swarm.topics,
      " topics of ", swarm.partitions, ", ", swarm.steps, " steps of ", swarm.step_ms, " ms, values to ",
      swarm.value_bytes, " bytes, travel ", swarm.travel_us, " us, sync ", swarm.sync_us, " us, at most ",
      swarm.down_max, " down", swarm.async ? ", async" : "", swarm.short_delivery ? ", short deliveries" : "",
      swarm.lone_topic ? ", a topic without replicas" : "", swarm.vanishing_topic ? ", a topic that is deleted" : "",
      swarm.one_way_client ? ", a client that reaches one broker" : "",
      swarm.named_producer ? ", a producer with a name" : "", "\nfaults (one in ", swarm.fault_one_in, " steps):");
  for (size_t fault = 0; fault < kFaultCount; ++fault) {
    if (swarm.faults.test(fault)) absl::StrAppend(&text, "\n  ", std::string(Text(static_cast<Fault>(fault))));
  }
  return text;
}

}  // namespace millrace::sim
