#include "server/assignor.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <unordered_map>

#include "millrace/v1/group.pb.h"

namespace millrace::server {
namespace {

// One topic after the other, so that topics of the same size and subscribers are cut in the same places.
Target AssignRange(const AssignorInput& input) {
  Target target;
  for (size_t t = 0; t < input.topics.size(); ++t) {
    std::vector<const Subscriber*> members;
    for (const Subscriber& member : input.members) {
      if (std::find(member.topics.begin(), member.topics.end(), t) != member.topics.end()) members.push_back(&member);
    }
    if (members.empty()) continue;
    std::sort(members.begin(), members.end(), [](const Subscriber* a, const Subscriber* b) {
      return std::tie(a->order, a->id) < std::tie(b->order, b->id);
    });
    const size_t partitions = input.topics[t].racks.size();
    const size_t each = partitions / members.size();
    const size_t one_more = partitions % members.size();
    size_t next = 0;
    for (size_t m = 0; m < members.size(); ++m) {
      for (const size_t end = next + each + (m < one_more ? 1 : 0); next < end; ++next) {
        target[{input.topics[t].topic_id, static_cast<int32_t>(next)}] = members[m]->id;
      }
    }
  }
  return target;
}

class Uniform {
 public:
  explicit Uniform(const AssignorInput& input) : input_(input), members_of_(input.topics.size()) {
    for (size_t m = 0; m < input.members.size(); ++m) {
      owned_.emplace_back();
      for (const size_t t : input.members[m].topics) members_of_[t].push_back(m);
    }
    for (size_t t = 0; t < input.topics.size(); ++t) topic_of_[input.topics[t].topic_id] = t;
  }

  Target Run() {
    Keep();
    Place();
    Level();
    Target target;
    for (size_t m = 0; m < owned_.size(); ++m) {
      for (const PartitionId& partition : owned_[m]) target.emplace(partition, input_.members[m].id);
    }
    return target;
  }

 private:
  bool Exists(PartitionId partition, size_t* topic) const {
    const auto found = topic_of_.find(partition.topic_id);
    if (found == topic_of_.end()) return false;
    *topic = found->second;
    return static_cast<size_t>(partition.partition) < input_.topics[*topic].racks.size();
  }

  bool Subscribes(size_t member, size_t topic) const {
    const auto& topics = input_.members[member].topics;
    return std::find(topics.begin(), topics.end(), topic) != topics.end();
  }

  void Keep() {
    for (size_t m = 0; m < input_.members.size(); ++m) {
      for (const PartitionId& partition : input_.members[m].current) {
        size_t topic = 0;
        if (Exists(partition, &topic) && Subscribes(m, topic) && placed_.insert(partition).second) {
          owned_[m].insert(partition);
        }
      }
    }
  }

  // Topics that few subscribe to first: their members are then known to be busy when the others are placed.
  void Place() {
    std::vector<size_t> topics(input_.topics.size());
    for (size_t t = 0; t < topics.size(); ++t) topics[t] = t;
    std::stable_sort(topics.begin(), topics.end(),
                     [this](size_t a, size_t b) { return members_of_[a].size() < members_of_[b].size(); });
    for (const size_t t : topics) {
      std::set<std::pair<size_t, size_t>> by_load;
      for (const size_t m : members_of_[t]) by_load.emplace(owned_[m].size(), m);
      if (by_load.empty()) continue;
      for (size_t p = 0; p < input_.topics[t].racks.size(); ++p) {
        const PartitionId partition{input_.topics[t].topic_id, static_cast<int32_t>(p)};
        if (!placed_.insert(partition).second) continue;
        auto chosen = by_load.begin();
        const std::string& rack = input_.topics[t].racks[p];
        for (auto each = chosen; !rack.empty() && each != by_load.end() && each->first == chosen->first; ++each) {
          if (input_.members[each->second].rack != rack) continue;
          chosen = each;
          break;
        }
        const size_t member = chosen->second;
        by_load.erase(chosen);
        owned_[member].insert(partition);
        by_load.emplace(owned_[member].size(), member);
      }
    }
  }

  // From those with the most to those with the least, while that makes them more even. Each move lowers the sum of squares: it ends.
  void Level() {
    std::set<std::pair<size_t, size_t>> by_load;
    for (size_t m = 0; m < owned_.size(); ++m) by_load.emplace(owned_[m].size(), m);
    const auto move = [&](size_t member, PartitionId partition, bool takes) {
      by_load.erase({owned_[member].size(), member});
      takes ? (void)owned_[member].insert(partition) : (void)owned_[member].erase(partition);
      by_load.emplace(owned_[member].size(), member);
    };
    for (auto low = by_load.begin(); low != by_load.end();) {
      const size_t taker = low->second;
      const auto [donor, partition] = FindDonor(by_load, taker, low->first);
      if (donor == owned_.size()) {
        ++low;
        continue;
      }
      move(donor, partition, false);
      move(taker, partition, true);
      low = by_load.begin();
    }
  }

  // Who has at least two more and something that `taker` reads.
  std::pair<size_t, PartitionId> FindDonor(const std::set<std::pair<size_t, size_t>>& by_load, size_t taker,
                                           size_t load) {
    for (auto high = by_load.rbegin(); high != by_load.rend() && high->first >= load + 2; ++high) {
      const auto& partitions = owned_[high->second];
      for (auto each = partitions.rbegin(); each != partitions.rend(); ++each) {
        if (Subscribes(taker, topic_of_.at(each->topic_id))) return {high->second, *each};
      }
    }
    return {owned_.size(), {}};
  }

  const AssignorInput& input_;
  std::vector<std::vector<size_t>> members_of_;  // by topic
  std::unordered_map<uint64_t, size_t> topic_of_;
  std::vector<std::set<PartitionId>> owned_;  // by member
  std::set<PartitionId> placed_;
};

}  // namespace

Target Assign(const AssignorInput& input) {
  if (input.assignor == v1::ASSIGNOR_RANGE) return AssignRange(input);
  return Uniform(input).Run();
}

}  // namespace millrace::server
