#include "server/group_description.h"

#include <map>
#include <utility>

namespace millrace::server {
namespace {

using Place = std::pair<std::string, int32_t>;  // topic and partition

const char* StateOf(const GroupState& group, bool stable) {
  if (group.members.empty()) return "Empty";
  return stable ? "Stable" : "Assigning";
}

void AddOffset(v1::FetchOffsetsResponse& response, const std::string& topic, int32_t partition,
               const CommittedOffset* offset) {
  v1::CommittedOffset& out = *response.add_offsets();
  out.set_topic(topic);
  out.set_partition(partition);
  out.set_offset(offset == nullptr ? -1 : offset->offset);
  if (offset == nullptr) return;
  out.set_leader_epoch(offset->leader_epoch);
  out.set_metadata(offset->metadata);
  out.set_commit_time(offset->commit_time);
}

std::map<Place, const CommittedOffset*> CommittedByName(const GroupState& group, const MetadataImage& image) {
  std::map<Place, const CommittedOffset*> offsets;
  for (const auto& [partition, offset] : group.offsets) {
    if (const auto topic = image.FindTopic(partition.topic_id)) offsets[{topic->name, partition.partition}] = &offset;
  }
  return offsets;
}

void AddMember(const std::string& id, const MemberState& member, const MetadataImage& image,
               v1::DescribeGroupResponse& response, std::map<Place, std::string>& holders) {
  v1::GroupMember& out = *response.add_members();
  out.set_member_id(id);
  out.set_instance_id(member.instance_id);
  out.set_client_id(member.client_id);
  out.set_host(member.host);
  out.set_rack(member.rack);
  out.set_epoch(member.epoch);
  out.mutable_topics()->Assign(member.topics.begin(), member.topics.end());
  out.set_topic_pattern(member.topic_pattern);
  for (const auto& [partition, holding] : member.holdings) {
    const auto topic = image.FindTopic(partition.topic_id);
    if (topic == nullptr) continue;
    v1::TopicPartition& assigned = *out.add_assigned();
    assigned.set_topic(topic->name);
    assigned.set_partition(partition.partition);
    holders[{topic->name, partition.partition}] = id;
  }
}

void AddPartition(const Place& place, const CommittedOffset* offset, const std::string& holder,
                  v1::DescribeGroupResponse& response) {
  v1::GroupPartition& out = *response.add_partitions();
  out.set_topic(place.first);
  out.set_partition(place.second);
  out.set_committed(offset == nullptr ? -1 : offset->offset);
  if (offset != nullptr) out.set_metadata(offset->metadata);
  out.set_member_id(holder);
  out.set_high_watermark(-1);
  out.set_lag(-1);
  out.set_lag_ms(-1);
}

}  // namespace

v1::FetchOffsetsResponse OffsetsOf(const GroupState* group, const v1::FetchOffsetsRequest& request,
                                   const MetadataImage& image) {
  v1::FetchOffsetsResponse response;
  const GroupState none;
  const auto offsets = CommittedByName(group == nullptr ? none : *group, image);
  for (const v1::TopicPartition& asked : request.partitions()) {
    const auto found = offsets.find({asked.topic(), asked.partition()});
    AddOffset(response, asked.topic(), asked.partition(), found == offsets.end() ? nullptr : found->second);
  }
  if (!request.partitions().empty()) return response;
  for (const auto& [place, offset] : offsets) AddOffset(response, place.first, place.second, offset);
  return response;
}

v1::GroupSummary SummaryOf(const std::string& name, const GroupState& group, bool stable) {
  v1::GroupSummary summary;
  summary.set_group(name);
  summary.set_members(static_cast<int32_t>(group.members.size()));
  summary.set_state(StateOf(group, stable));
  return summary;
}

v1::DescribeGroupResponse DescriptionOf(const std::string& name, const GroupState& group, bool stable,
                                        const MetadataImage& image) {
  v1::DescribeGroupResponse response;
  response.set_group(name);
  response.set_epoch(group.epoch);
  response.set_state(StateOf(group, stable));
  response.set_assignor(static_cast<v1::Assignor>(AssignorOf(group)));
  std::map<Place, std::string> holders;
  for (const auto& [id, member] : group.members) AddMember(id, member, image, response, holders);
  auto offsets = CommittedByName(group, image);
  for (const auto& [place, id] : holders) offsets.emplace(place, nullptr);
  for (const auto& [place, offset] : offsets) {
    const auto holder = holders.find(place);
    AddPartition(place, offset, holder == holders.end() ? "" : holder->second, response);
  }
  return response;
}

}  // namespace millrace::server
