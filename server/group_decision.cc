#include "server/group_decision.h"

#include <re2/re2.h>

#include <algorithm>
#include <utility>

#include "server/assignor.h"

namespace millrace::server {
namespace {

using internal::v1::GroupChange;

// Bounds what one pattern can make a broker hold.
constexpr int64_t kPatternMemoryMax = 1 << 20;
constexpr size_t kPatternsKept = 100;

struct Topics {
  std::vector<std::shared_ptr<const TopicInfo>> infos;
  std::map<std::string, size_t> by_name;

  size_t Add(const std::shared_ptr<const TopicInfo>& info) {
    const auto [it, added] = by_name.emplace(info->name, infos.size());
    if (added) infos.push_back(info);
    return it->second;
  }
};

std::vector<size_t> SubscribedTopics(const MemberState& member, const MetadataImage& image, TopicPatterns& patterns,
                                     Topics& topics) {
  std::set<size_t> found;
  for (const std::string& name : member.topics) {
    if (const auto info = image.FindTopic(name)) found.insert(topics.Add(info));
  }
  if (!member.topic_pattern.empty()) {
    for (const auto& [name, info] : image.topics()) {
      if (patterns.Matches(member.topic_pattern, name)) found.insert(topics.Add(info));
    }
  }
  return {found.begin(), found.end()};
}

std::string RackOf(const PartitionInfo& partition, const MetadataImage& image) {
  const BrokerInfo* broker = image.FindBroker(partition.replicas.front().broker);
  return broker == nullptr ? "" : broker->rack;
}

Target TargetOf(const GroupState& group, const MetadataImage& image, TopicPatterns& patterns) {
  AssignorInput input{.assignor = AssignorOf(group)};
  Topics topics;
  std::map<std::pair<std::vector<std::string>, std::string>, std::vector<size_t>>
      subscribed;  // most members do the same
  for (const auto& [id, member] : group.members) {
    Subscriber& subscriber = input.members.emplace_back();
    subscriber.id = id;
    subscriber.order = member.instance_id.empty() ? id : member.instance_id;
    subscriber.rack = member.rack;
    const auto [same, is_new] = subscribed.try_emplace({member.topics, member.topic_pattern});
    if (is_new) same->second = SubscribedTopics(member, image, patterns, topics);
    subscriber.topics = same->second;
    for (const auto& [partition, holding] : member.holdings) {
      if (!holding.revoking) subscriber.current.push_back(partition);
    }
  }
  for (const auto& info : topics.infos) {
    SubscribedTopic& topic = input.topics.emplace_back();
    topic.topic_id = info->topic_id;
    for (const PartitionInfo& partition : info->partitions) topic.racks.push_back(RackOf(partition, image));
  }
  return Assign(input);
}

// A group on its way from one state to the next. Offsets stay as they were, and are not copied.
class Step {
 public:
  Step(const GroupState& before, const MetadataImage& image)
      : before_(before), next_{.epoch = before.epoch + 1, .members = before.members}, image_(image) {}

  void Remove(const std::string& id) { next_.members.erase(id); }

  void Describe(const std::string& id, const MemberState& described, bool joins) {
    MemberState member = described;
    const auto known = next_.members.find(id);
    member.epoch = joins || known == next_.members.end() ? next_.epoch : known->second.epoch;
    member.joined = known == next_.members.end() ? next_.epoch : known->second.joined;
    if (known != next_.members.end() && !joins) member.holdings = known->second.holdings;
    if (joins && !member.instance_id.empty()) TakeOver(id, member);
    next_.members[id] = std::move(member);
  }

  void LetGo(const std::string& id, const std::set<PartitionId>& partitions) {
    const auto member = next_.members.find(id);
    if (member == next_.members.end()) return;
    for (const PartitionId& partition : partitions) {
      const auto holding = member->second.holdings.find(partition);
      if (holding != member->second.holdings.end() && holding->second.revoking) member->second.holdings.erase(holding);
    }
  }

  // Ids are not used again: what is held of a topic that is gone can be forgotten at once.
  void DropGoneTopics() {
    const auto is_gone = [this](const PartitionId& id) { return image_.FindTopic(id.topic_id) == nullptr; };
    for (auto& [id, member] : next_.members) {
      std::erase_if(member.holdings, [&is_gone](const auto& each) { return is_gone(each.first); });
    }
    for (const auto& [partition, offset] : before_.offsets) {
      if (is_gone(partition)) removed_topics_.insert(partition.topic_id);
    }
  }

  void Reset(PartitionId partition) {
    for (auto& [id, member] : next_.members) {
      const auto holding = member.holdings.find(partition);
      if (holding != member.holdings.end()) holding->second.epoch = next_.epoch;
    }
  }

  void MoveTowards(const Target& target) {
    std::set<PartitionId> held;
    for (auto& [id, member] : next_.members) {
      for (auto& [partition, holding] : member.holdings) {
        held.insert(partition);
        const auto wanted = target.find(partition);
        if (wanted == target.end() || wanted->second != id) holding.revoking = true;
      }
    }
    for (const auto& [partition, id] : target) {
      if (!held.contains(partition)) next_.members.at(id).holdings[partition] = {next_.epoch, false};
    }
  }

  GroupChange Finish(const std::map<PartitionId, CommittedOffset>& resets) {
    GroupChange change;
    change.set_epoch(next_.epoch);
    change.set_metadata_version(image_.version().value());
    for (auto& [id, member] : next_.members) {
      const auto old = before_.members.find(id);
      if (old == before_.members.end() || Told(member) != Told(old->second)) member.epoch = next_.epoch;
      if (old == before_.members.end() || member != old->second) Fill(*change.add_members(), id, member);
    }
    for (const auto& [id, member] : before_.members) {
      if (!next_.members.contains(id)) change.add_removed_members(id);
    }
    for (const auto& [partition, offset] : resets) *change.add_offsets() = StubOf(partition, offset);
    change.mutable_removed_topics()->Assign(removed_topics_.begin(), removed_topics_.end());
    return change;
  }

  const GroupState& next() const { return next_; }

 private:
  // What the last one with this instance id had is this one's at once: that one is fenced.
  void TakeOver(const std::string& id, MemberState& member) {
    for (const auto& [other_id, other] : next_.members) {
      if (other_id == id || other.instance_id != member.instance_id) continue;
      for (const auto& [partition, holding] : other.holdings) {
        if (!holding.revoking) member.holdings[partition] = {next_.epoch, false};
      }
      member.joined = other.joined;
      next_.members.erase(other_id);
      return;
    }
  }

  static std::map<PartitionId, int32_t> Told(const MemberState& member) {
    std::map<PartitionId, int32_t> told;
    for (const auto& [partition, holding] : member.holdings) {
      if (!holding.revoking) told[partition] = holding.epoch;
    }
    return told;
  }

  const GroupState& before_;
  GroupState next_;
  const MetadataImage& image_;
  std::set<uint64_t> removed_topics_;
};

}  // namespace

// ---- Patterns

struct TopicPatterns::Compiled {
  explicit Compiled(const std::string& pattern) : re(pattern, Options()) {}

  static RE2::Options Options() {
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(kPatternMemoryMax);
    return options;
  }

  RE2 re;
};

TopicPatterns::TopicPatterns() = default;
TopicPatterns::~TopicPatterns() = default;

const TopicPatterns::Compiled& TopicPatterns::Compile(const std::string& pattern) {
  if (const auto found = compiled_.find(pattern); found != compiled_.end()) return *found->second;
  if (compiled_.size() >= kPatternsKept) compiled_.clear();
  return *(compiled_[pattern] = std::make_unique<Compiled>(pattern));
}

// Those that nobody subscribes by are not kept.
std::string TopicPatterns::Problem(const std::string& pattern) {
  const auto known = compiled_.find(pattern);
  const Compiled compiled(known == compiled_.end() ? pattern : "");
  const RE2& re = known == compiled_.end() ? compiled.re : known->second->re;
  return re.ok() ? "" : re.error();
}

bool TopicPatterns::Matches(const std::string& pattern, const std::string& topic) {
  if (topic.starts_with("__")) return false;
  const RE2& re = Compile(pattern).re;
  return re.ok() && RE2::FullMatch(topic, re);
}

// ---- Deciding

bool GroupEvents::empty() const {
  return described.empty() && left.empty() && let_go.empty() && resets.empty() && !topics_changed;
}

GroupChange Decide(const GroupState& state, const GroupEvents& events, const MetadataImage& image,
                   TopicPatterns& patterns) {
  Step step(state, image);
  for (const std::string& id : events.left) step.Remove(id);
  for (const auto& [id, partitions] : events.let_go) step.LetGo(id, partitions);
  for (const auto& [id, member] : events.described) step.Describe(id, member, events.joined.contains(id));
  // Who has taken the group over may not have heard of its topics yet.
  if (image.version().value() >= state.metadata_version) step.DropGoneTopics();
  for (const auto& [partition, offset] : events.resets) step.Reset(partition);
  step.MoveTowards(TargetOf(step.next(), image, patterns));
  return step.Finish(events.resets);
}

int32_t AssignorOf(const GroupState& group) {
  const auto oldest = std::ranges::min_element(
      group.members, {}, [](const auto& each) { return std::pair(each.second.joined, each.first); });
  return oldest == group.members.end() ? 0 : oldest->second.assignor;
}

bool IsChange(const GroupChange& change) {
  return change.members_size() + change.removed_members_size() + change.offsets_size() + change.removed_topics_size() >
         0;
}

}  // namespace millrace::server
