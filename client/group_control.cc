#include "client/group_control.h"

#include <algorithm>

#include "client/proto_bytes.h"
#include "client/status.h"
#include "millrace/v1/group.pb.h"

namespace millrace::client::control {
namespace {

absl::Status StatusOf(const v1::Error& error) {
  return error.code() == v1::Error::NONE ? absl::OkStatus() : ToStatus(FromFrame(FrameOf(error)));
}

void Fill(v1::OffsetCommit& out, const OffsetToStore& offset) {
  out.set_topic(offset.topic);
  out.set_topic_id(offset.topic_id);
  out.set_partition(offset.partition);
  out.set_epoch(offset.epoch);
  out.set_offset(offset.offset);
  out.set_leader_epoch(offset.leader_epoch);
  out.set_metadata(offset.metadata);
}

v1::CommitOffsetsRequest CommitOf(const std::string& group, const std::vector<OffsetToStore>& offsets) {
  v1::CommitOffsetsRequest request;
  request.set_group(group);
  for (const OffsetToStore& offset : offsets) Fill(*request.add_offsets(), offset);
  return request;
}

Assignment AssignmentOf(const v1::HeartbeatResponse& from) {
  Assignment assignment{
      .member_epoch = from.member_epoch(), .heartbeat_interval_ms = from.heartbeat_interval_ms(), .partitions = {}};
  for (const v1::AssignedPartition& each : from.assignment()) {
    AssignedPartition& partition = assignment.partitions.emplace_back();
    partition.topic = each.topic();
    partition.topic_id = each.topic_id();
    partition.partition = each.partition();
    partition.epoch = each.epoch();
    if (each.has_committed_offset()) partition.committed_offset = each.committed_offset();
  }
  return assignment;
}

std::vector<ErrorFrame> ErrorsOf(const v1::CommitOffsetsResponse& response) {
  std::vector<ErrorFrame> errors;
  for (const v1::Error& error : response.errors()) errors.push_back(FrameOf(error));
  return errors;
}

}  // namespace

absl::Cord MemberPing(uint64_t ping) {
  v1::MemberRequest request;
  request.set_ping(ping);
  return Bytes(request);
}

absl::Cord MemberHeartbeat(uint64_t id, const Heartbeat& heartbeat) {
  v1::MemberRequest request;
  request.set_id(id);
  v1::HeartbeatRequest& out = *request.mutable_heartbeat();
  out.set_group(heartbeat.group);
  out.set_member_id(heartbeat.member_id);
  out.set_member_epoch(heartbeat.member_epoch);
  out.set_instance_id(heartbeat.instance_id);
  out.set_client_id(heartbeat.client_id);
  out.set_rack(heartbeat.rack);
  out.set_host(heartbeat.host);
  out.set_session_timeout_ms(static_cast<int32_t>(heartbeat.session_timeout_ms));
  out.mutable_topics()->Assign(heartbeat.topics.begin(), heartbeat.topics.end());
  out.set_topic_pattern(heartbeat.topic_pattern);
  out.set_assignor(static_cast<v1::Assignor>(heartbeat.assignor));
  out.set_routing(static_cast<v1::Routing>(heartbeat.routing));
  for (const HeldPartition& held : heartbeat.held) {
    v1::OwnedPartition& owned = *out.add_owned();
    owned.set_topic_id(held.topic_id);
    owned.set_partition(held.partition);
    owned.set_position(held.position);
  }
  return Bytes(request);
}

absl::Cord MemberCommit(uint64_t id, const std::string& group, const std::string& member_id,
                        const std::vector<OffsetToStore>& offsets, Routing routing) {
  v1::MemberRequest request;
  request.set_id(id);
  *request.mutable_commit() = CommitOf(group, offsets);
  request.mutable_commit()->set_member_id(member_id);
  request.mutable_commit()->set_sequence(id);
  request.mutable_commit()->set_routing(static_cast<v1::Routing>(routing));
  return Bytes(request);
}

absl::StatusOr<MemberAnswer> ParseMemberAnswer(const absl::Cord& message) {
  absl::StatusOr<v1::MemberResponse> response = Parse<v1::MemberResponse>(message);
  if (!response.ok()) return response.status();
  MemberAnswer answer{.answers = response->answers(), .ping = response->ping()};
  if (response->has_error()) answer.error = FrameOf(response->error());
  if (response->has_heartbeat()) answer.assignment = AssignmentOf(response->heartbeat());
  if (response->has_commit()) answer.committed = ErrorsOf(response->commit());
  return answer;
}

absl::Cord CommitOffsetsRequest(const std::string& group, const std::vector<OffsetToStore>& offsets) {
  return Bytes(CommitOf(group, offsets));
}

absl::StatusOr<std::vector<ErrorFrame>> ParseCommitOffsets(const absl::Cord& reply) {
  absl::StatusOr<v1::CommitOffsetsResponse> response = Parse<v1::CommitOffsetsResponse>(reply);
  if (!response.ok()) return response.status();
  return ErrorsOf(*response);
}

absl::Cord FetchOffsetsRequest(const std::string& group, const std::vector<TopicPartition>& partitions) {
  v1::FetchOffsetsRequest request;
  request.set_group(group);
  for (const TopicPartition& each : partitions) {
    v1::TopicPartition& partition = *request.add_partitions();
    partition.set_topic(each.topic);
    partition.set_partition(each.partition);
  }
  return Bytes(request);
}

absl::StatusOr<std::vector<CommittedOffset>> ParseFetchOffsets(const absl::Cord& reply) {
  absl::StatusOr<v1::FetchOffsetsResponse> response = Parse<v1::FetchOffsetsResponse>(reply);
  if (!response.ok()) return response.status();
  std::vector<CommittedOffset> offsets;
  for (const v1::CommittedOffset& each : response->offsets()) {
    offsets.push_back({.topic = each.topic(),
                       .partition = each.partition(),
                       .offset = each.offset(),
                       .leader_epoch = each.leader_epoch(),
                       .metadata = each.metadata(),
                       .commit_time = each.commit_time()});
  }
  return offsets;
}

absl::Cord ListGroupsRequest() { return Bytes(v1::ListGroupsRequest()); }

absl::StatusOr<GroupList> ParseListGroups(const absl::Cord& reply) {
  absl::StatusOr<v1::ListGroupsResponse> response = Parse<v1::ListGroupsResponse>(reply);
  if (!response.ok()) return response.status();
  GroupList list{.groups = {}, .incomplete = response->incomplete()};
  for (const v1::GroupSummary& each : response->groups()) {
    list.groups.push_back(
        {.group = each.group(), .state = each.state(), .members = each.members(), .coordinator = each.coordinator()});
  }
  return list;
}

absl::Cord DescribeGroupRequest(const std::string& group) {
  v1::DescribeGroupRequest request;
  request.set_group(group);
  return Bytes(request);
}

absl::StatusOr<GroupDescription> ParseDescribeGroup(const absl::Cord& reply) {
  absl::StatusOr<v1::DescribeGroupResponse> response = Parse<v1::DescribeGroupResponse>(reply);
  if (!response.ok()) return response.status();
  GroupDescription group{.group = response->group(),
                         .state = response->state(),
                         .coordinator = response->coordinator(),
                         .epoch = response->epoch(),
                         .assignor = static_cast<GroupAssignor>(response->assignor())};
  for (const v1::GroupMember& each : response->members()) {
    GroupMember& member = group.members.emplace_back();
    member.member_id = each.member_id();
    member.instance_id = each.instance_id();
    member.client_id = each.client_id();
    member.host = each.host();
    member.rack = each.rack();
    member.epoch = each.epoch();
    member.topics.assign(each.topics().begin(), each.topics().end());
    member.topic_pattern = each.topic_pattern();
    for (const v1::TopicPartition& assigned : each.assigned()) {
      member.assigned.push_back({.topic = assigned.topic(), .partition = assigned.partition()});
    }
  }
  for (const v1::GroupPartition& each : response->partitions()) {
    group.partitions.push_back({.topic = each.topic(),
                                .partition = each.partition(),
                                .committed = each.committed(),
                                .high_watermark = each.high_watermark(),
                                .lag = each.lag(),
                                .lag_ms = each.lag_ms(),
                                .member_id = each.member_id(),
                                .metadata = each.metadata()});
  }
  return group;
}

absl::Cord DeleteGroupRequest(const std::string& group) {
  v1::DeleteGroupRequest request;
  request.set_group(group);
  return Bytes(request);
}

absl::Cord ResetOffsetsRequest(const std::string& group, const std::vector<CommittedOffset>& offsets, DryRun dry_run) {
  v1::ResetOffsetsRequest request;
  request.set_group(group);
  request.set_dry_run(dry_run == DryRun::kYes);
  for (const CommittedOffset& each : offsets) {
    v1::OffsetReset& reset = *request.add_offsets();
    reset.set_topic(each.topic);
    reset.set_partition(each.partition);
    reset.set_offset(each.offset);
    reset.set_metadata(each.metadata);
  }
  return Bytes(request);
}

absl::StatusOr<std::vector<OffsetReset>> ParseResetOffsets(const absl::Cord& reply) {
  absl::StatusOr<v1::ResetOffsetsResponse> response = Parse<v1::ResetOffsetsResponse>(reply);
  if (!response.ok()) return response.status();
  std::vector<OffsetReset> resets;
  for (const v1::OffsetResetResult& each : response->results()) {
    resets.push_back({.topic = each.topic(),
                      .partition = each.partition(),
                      .status = StatusOf(each.error()),
                      .old_offset = each.old_offset(),
                      .new_offset = each.new_offset()});
  }
  return resets;
}

absl::Status FirstNotStored(const std::vector<ErrorFrame>& errors) {
  const auto stored = [](const ErrorFrame& each) { return each.ok(); };
  const auto failed = std::find_if_not(errors.begin(), errors.end(), stored);
  if (failed == errors.end()) return absl::OkStatus();
  Error error = FromFrame(*failed);
  error.may_have_happened |= std::any_of(errors.begin(), errors.end(), stored);
  return ToStatus(error);
}

}  // namespace millrace::client::control
