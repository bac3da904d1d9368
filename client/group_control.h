// millrace.v1.Groups: requests to bytes and answers from bytes, between the library's own types and generated code. As control.h, for
// consumer groups.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "millrace/admin.h"
#include "millrace/consumer.h"
#include "proto/wire/frames.h"

namespace millrace::client::control {

inline constexpr char kGroupsTopic[] = "__consumer_groups";
inline constexpr char kJoin[] = "/millrace.v1.Groups/Join";
inline constexpr char kCommitOffsets[] = "/millrace.v1.Groups/CommitOffsets";
inline constexpr char kFetchOffsets[] = "/millrace.v1.Groups/FetchOffsets";
inline constexpr char kListGroups[] = "/millrace.v1.Groups/ListGroups";
inline constexpr char kDescribeGroup[] = "/millrace.v1.Groups/DescribeGroup";
inline constexpr char kResetOffsets[] = "/millrace.v1.Groups/ResetOffsets";
inline constexpr char kDeleteGroup[] = "/millrace.v1.Groups/DeleteGroup";

// What members say of their epoch besides what they were given.
inline constexpr int32_t kJoins = 0;
inline constexpr int32_t kLeaves = -1;
inline constexpr int32_t kLeavesForAWhile = -2;

struct HeldPartition {
  uint64_t topic_id = 0;
  int32_t partition = 0;
  int64_t position = -1;

  bool operator==(const HeldPartition&) const = default;
};

struct Heartbeat {
  std::string group;
  std::string member_id;
  int32_t member_epoch = kJoins;
  std::string instance_id;
  std::string client_id;
  std::string rack;
  std::string host;
  int64_t session_timeout_ms = 0;
  std::vector<std::string> topics;
  std::string topic_pattern;
  GroupAssignor assignor = GroupAssignor::kUniform;
  std::vector<HeldPartition> held;
  Routing routing = Routing::kAny;
};

struct AssignedPartition {
  std::string topic;
  uint64_t topic_id = 0;
  int32_t partition = 0;
  int32_t epoch = 0;
  std::optional<int64_t> committed_offset;
};

struct Assignment {
  int32_t member_epoch = 0;
  int64_t heartbeat_interval_ms = 0;
  std::vector<AssignedPartition> partitions;
};

struct OffsetToStore {
  std::string topic;
  uint64_t topic_id = 0;  // 0: any
  int32_t partition = 0;
  int32_t epoch = 0;
  int64_t offset = 0;
  int32_t leader_epoch = 0;
  std::string metadata;
};

// One message of the broker's on the Join stream.
struct MemberAnswer {
  uint64_t answers = 0;  // 0: news
  uint64_t ping = 0;
  ErrorFrame error;
  std::optional<Assignment> assignment;
  std::optional<std::vector<ErrorFrame>> committed;  // see ParseCommitOffsets
};

absl::Cord MemberPing(uint64_t ping);
absl::Cord MemberHeartbeat(uint64_t id, const Heartbeat& heartbeat);
// `id` numbers the requests of a member; it rises, and tells commits in which order they were made.
absl::Cord MemberCommit(uint64_t id, const std::string& group, const std::string& member_id,
                        const std::vector<OffsetToStore>& offsets, Routing routing);
absl::StatusOr<MemberAnswer> ParseMemberAnswer(const absl::Cord& message);

// By somebody who is no member.
absl::Cord CommitOffsetsRequest(const std::string& group, const std::vector<OffsetToStore>& offsets);
// One error for each offset; empty: all were stored.
absl::StatusOr<std::vector<ErrorFrame>> ParseCommitOffsets(const absl::Cord& reply);
// The first of these errors, with may_have_happened if others were stored.
absl::Status FirstNotStored(const std::vector<ErrorFrame>& errors);

// None named: all that are committed.
absl::Cord FetchOffsetsRequest(const std::string& group, const std::vector<TopicPartition>& partitions);
absl::StatusOr<std::vector<CommittedOffset>> ParseFetchOffsets(const absl::Cord& reply);

absl::Cord ListGroupsRequest();
absl::StatusOr<GroupList> ParseListGroups(const absl::Cord& reply);
absl::Cord DescribeGroupRequest(const std::string& group);
absl::StatusOr<GroupDescription> ParseDescribeGroup(const absl::Cord& reply);
absl::Cord DeleteGroupRequest(const std::string& group);

enum class DryRun : bool { kNo, kYes };
absl::Cord ResetOffsetsRequest(const std::string& group, const std::vector<CommittedOffset>& offsets, DryRun dry_run);
absl::StatusOr<std::vector<OffsetReset>> ParseResetOffsets(const absl::Cord& reply);

}  // namespace millrace::client::control
