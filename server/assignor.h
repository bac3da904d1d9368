// Who should have which partition of a group's topics: the target, a function of what is known, without regard to when anybody lets go.
//
//     Target target = Assign({.topics = …, .members = …, .assignor = v1::ASSIGNOR_UNIFORM});
//     target.at({topic_id, 3}) == "member-7"
//
// Uniform: no member has two partitions more than another that could take one of them; a partition stays where it is as far as that
// allows; one that has to go somewhere goes to a member in its rack among those with the fewest. Range: of each topic a
// contiguous part to each of its members, in their order; the first ones get one more.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "server/group_state.h"

namespace millrace::server {

struct SubscribedTopic {
  uint64_t topic_id = 0;
  std::vector<std::string> racks;  // of each partition's preferred leader; empty: not known
};

struct Subscriber {
  std::string id;
  std::string order;  // of the range assignor; instance or member id
  std::string rack;
  std::vector<size_t> topics;        // indices
  std::vector<PartitionId> current;  // what it has and may keep
};

struct AssignorInput {
  std::vector<SubscribedTopic> topics;
  std::vector<Subscriber> members;
  int32_t assignor = 0;
};

using Target = std::map<PartitionId, std::string>;  // to member ids; partitions that nobody subscribes to are not in it

Target Assign(const AssignorInput& input);

}  // namespace millrace::server
