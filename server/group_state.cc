#include "server/group_state.h"

#include <algorithm>
#include <utility>

namespace millrace::server {
namespace {

using internal::v1::GroupRecord;
using v1::Error;

constexpr std::string_view kKeyPrefix = "group/";

MemberState MemberOf(const internal::v1::Member& from) {
  MemberState member{.instance_id = from.instance_id(),
                     .client_id = from.client_id(),
                     .host = from.host(),
                     .rack = from.rack(),
                     .session_timeout_ms = from.session_timeout_ms(),
                     .topics = {from.topics().begin(), from.topics().end()},
                     .topic_pattern = from.topic_pattern(),
                     .assignor = from.assignor(),
                     .epoch = from.epoch(),
                     .joined = from.joined(),
                     .holdings = {}};
  for (const auto& each : from.partitions()) {
    member.holdings[{each.topic_id(), each.partition()}] = {each.epoch(), each.revoking()};
  }
  return member;
}

void SetOffset(const internal::v1::CommittedOffset& from, GroupState& group) {
  const PartitionId partition{from.topic_id(), from.partition()};
  if (from.offset() < 0) {
    group.offsets.erase(partition);
  } else {
    group.offsets[partition] = {from.offset(),      from.leader_epoch(), from.metadata(),
                                from.commit_time(), from.epoch(),        from.sequence()};
  }
}

// One that the same member has sent later was here first.
bool IsOvertaken(const internal::v1::CommittedOffset& offset, const GroupState& group) {
  const auto stored = group.offsets.find({offset.topic_id(), offset.partition()});
  return stored != group.offsets.end() && stored->second.epoch == offset.epoch() && offset.sequence() != 0 &&
         offset.sequence() < stored->second.sequence;
}

std::string Save(const GroupState& group) {
  internal::v1::SavedGroup saved;
  saved.set_epoch(group.epoch);
  saved.set_metadata_version(group.metadata_version);
  for (const auto& [id, member] : group.members) Fill(*saved.add_members(), id, member);
  for (const auto& [partition, offset] : group.offsets) *saved.add_offsets() = StubOf(partition, offset);
  return saved.SerializeAsString();
}

}  // namespace

const std::string* GroupState::HolderOf(PartitionId partition) const {
  for (const auto& [id, member] : members) {
    if (member.holdings.contains(partition)) return &id;
  }
  return nullptr;
}

void Fill(internal::v1::Member& out, const std::string& id, const MemberState& member) {
  out.set_member_id(id);
  out.set_instance_id(member.instance_id);
  out.set_client_id(member.client_id);
  out.set_host(member.host);
  out.set_rack(member.rack);
  out.set_session_timeout_ms(member.session_timeout_ms);
  out.mutable_topics()->Assign(member.topics.begin(), member.topics.end());
  out.set_topic_pattern(member.topic_pattern);
  out.set_assignor(member.assignor);
  out.set_epoch(member.epoch);
  out.set_joined(member.joined);
  for (const auto& [partition, holding] : member.holdings) {
    auto& each = *out.add_partitions();
    each.set_topic_id(partition.topic_id);
    each.set_partition(partition.partition);
    each.set_epoch(holding.epoch);
    each.set_revoking(holding.revoking);
  }
}

internal::v1::CommittedOffset StubOf(PartitionId partition, const CommittedOffset& offset) {
  internal::v1::CommittedOffset out;
  out.set_topic_id(partition.topic_id);
  out.set_partition(partition.partition);
  out.set_offset(offset.offset);
  out.set_leader_epoch(offset.leader_epoch);
  out.set_metadata(offset.metadata);
  out.set_commit_time(offset.commit_time);
  out.set_epoch(offset.epoch);
  out.set_sequence(offset.sequence);
  return out;
}

const GroupState* GroupTable::Find(std::string_view group) const {
  const auto found = groups_.find(group);
  return found == groups_.end() ? nullptr : &found->second;
}

std::vector<ErrorCode> GroupTable::Replay(const std::string& group, const GroupRecord& record) {
  changed_.insert(group);
  if (record.change().epoch() > last_epoch_) {
    last_epoch_ = record.change().epoch();
    changed_.insert("");
  }
  if (record.has_removal()) {
    groups_.erase(group);
    return {};
  }
  GroupState& state = groups_.try_emplace(group, GroupState{.epoch = last_epoch_}).first->second;
  state.metadata_version =
      std::max({state.metadata_version, record.change().metadata_version(), record.commit().metadata_version()});
  std::vector<ErrorCode> results;
  if (record.has_change()) ReplayChange(record.change(), state);
  if (record.has_commit()) results = ReplayCommit(record.commit(), state);
  // What holds nothing is not kept; who comes back to it has an id that nobody had.
  if (state.members.empty() && state.offsets.empty()) groups_.erase(group);
  return results;
}

void GroupTable::ReplayChange(const internal::v1::GroupChange& change, GroupState& group) {
  group.epoch = change.epoch();
  for (const std::string& id : change.removed_members()) group.members.erase(id);
  for (const auto& member : change.members()) group.members[member.member_id()] = MemberOf(member);
  for (const auto& offset : change.offsets()) SetOffset(offset, group);
  for (const uint64_t topic_id : change.removed_topics()) {
    std::erase_if(group.offsets, [topic_id](const auto& each) { return each.first.topic_id == topic_id; });
  }
}

std::vector<ErrorCode> GroupTable::ReplayCommit(const internal::v1::OffsetsCommit& commit, GroupState& group) {
  const auto member = group.members.find(commit.member_id());
  const bool known = commit.member_id().empty() ? group.members.empty() : member != group.members.end();
  std::vector<ErrorCode> results;
  results.reserve(static_cast<size_t>(commit.offsets_size()));
  for (const auto& offset : commit.offsets()) {
    if (!known) {
      results.push_back(Error::UNKNOWN_MEMBER_ID);
      continue;
    }
    if (!commit.member_id().empty()) {
      const auto holding = member->second.holdings.find({offset.topic_id(), offset.partition()});
      if (holding == member->second.holdings.end() || holding->second.epoch != offset.epoch()) {
        results.push_back(Error::FENCED_MEMBER_EPOCH);
        continue;
      }
    }
    if (!IsOvertaken(offset, group)) SetOffset(offset, group);
    results.push_back(Error::NONE);
  }
  return results;
}

bool GroupTable::IsKey(std::string_view key) { return key.starts_with(kKeyPrefix); }

AppliedState::Parts GroupTable::TakeChanges() {
  AppliedState::Parts parts;
  for (const std::string& name : changed_) {
    const GroupState* group = Find(name);
    const std::string saved = name.empty() ? Save({.epoch = last_epoch_}) : group == nullptr ? "" : Save(*group);
    parts.emplace_back(std::string(kKeyPrefix) + name, saved);
  }
  changed_.clear();
  return parts;
}

AppliedState::Parts GroupTable::All() const {
  AppliedState::Parts parts{{std::string(kKeyPrefix), Save({.epoch = last_epoch_})}};
  for (const auto& [name, group] : groups_) parts.emplace_back(std::string(kKeyPrefix) + name, Save(group));
  return parts;
}

absl::Status GroupTable::Load(std::string_view key, std::string_view value) {
  internal::v1::SavedGroup saved;
  if (!IsKey(key) || !saved.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return absl::DataLossError("what is saved of a consumer group cannot be read");
  }
  const std::string name(key.substr(kKeyPrefix.size()));
  if (name.empty()) {
    last_epoch_ = std::max(last_epoch_, saved.epoch());
    return absl::OkStatus();
  }
  GroupState& group = groups_[name];
  group.epoch = saved.epoch();
  group.metadata_version = saved.metadata_version();
  for (const auto& member : saved.members()) group.members[member.member_id()] = MemberOf(member);
  for (const auto& offset : saved.offsets()) SetOffset(offset, group);
  return absl::OkStatus();
}

void GroupTable::Clear() {
  groups_.clear();
  changed_.clear();
  last_epoch_ = 0;
}

}  // namespace millrace::server
