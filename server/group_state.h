// Consumer groups as their log tells: members, who has which partition, committed offsets. Replaying records in order is the only thing
// that changes them, live and after a start.
//
//     GroupTable table;
//     std::vector<ErrorCode> refused = table.Replay("payments", record);
//     if (const GroupState* group = table.Find("payments")) … group->members …
//
// Commits are checked here, when they are replayed: by then every earlier change of the group is known, so that a commit of a member
// that has lost its partition meanwhile never counts, however fast commits and changes follow each other.
//
// Saved as one part for each group (AppliedState): key "group/" and its name, value a SavedGroup; that of no name has the last epoch.
// Not thread-safe.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "millrace/internal/v1/group.pb.h"
#include "server/applied_state.h"
#include "server/errors.h"

namespace millrace::server {

struct PartitionId {
  uint64_t topic_id = 0;
  int32_t partition = 0;

  auto operator<=>(const PartitionId&) const = default;
};

// A partition in a member's hands.
struct Holding {
  int32_t epoch = 0;      // of the group, when the member got it, or its position was reset
  bool revoking = false;  // it was told to let go of it

  bool operator==(const Holding&) const = default;
};

struct MemberState {
  std::string instance_id;
  std::string client_id;
  std::string host;
  std::string rack;
  int32_t session_timeout_ms = 0;
  std::vector<std::string> topics;  // sorted
  std::string topic_pattern;
  int32_t assignor = 0;
  int32_t epoch = 0;   // of what it is told: the holdings that are not being revoked
  int32_t joined = 0;  // the group's epoch with which it came
  std::map<PartitionId, Holding> holdings;

  bool operator==(const MemberState&) const = default;
};

struct CommittedOffset {
  int64_t offset = 0;
  int32_t leader_epoch = 0;
  std::string metadata;
  int64_t commit_time = 0;
  int32_t epoch = 0;      // of the holding of who committed it
  uint64_t sequence = 0;  // among its commits

  bool operator==(const CommittedOffset&) const = default;
};

struct GroupState {
  int32_t epoch = 0;
  int64_t metadata_version = 0;                // all its topics are in, or were
  std::map<std::string, MemberState> members;  // by id
  std::map<PartitionId, CommittedOffset> offsets;

  // Who holds it, revoked or not; nullptr: nobody.
  const std::string* HolderOf(PartitionId partition) const;
  bool operator==(const GroupState&) const = default;
};

void Fill(internal::v1::Member& out, const std::string& id, const MemberState& member);
internal::v1::CommittedOffset StubOf(PartitionId partition, const CommittedOffset& offset);

class GroupTable {
 public:
  using Groups = std::map<std::string, GroupState, std::less<>>;

  // Of an OffsetsCommit: what became of each offset, NONE for those that were taken.
  std::vector<ErrorCode> Replay(const std::string& group, const internal::v1::GroupRecord& record);

  const GroupState* Find(std::string_view group) const;
  // Where a group begins that is not there: no group of this partition has had an epoch above it, nor one that is gone.
  int32_t last_epoch() const { return last_epoch_; }
  const Groups& groups() const { return groups_; }

  // As AppliedState has them.
  static bool IsKey(std::string_view key);
  AppliedState::Parts TakeChanges();
  AppliedState::Parts All() const;
  absl::Status Load(std::string_view key, std::string_view value);
  void Clear();

 private:
  static void ReplayChange(const internal::v1::GroupChange& change, GroupState& group);
  static std::vector<ErrorCode> ReplayCommit(const internal::v1::OffsetsCommit& commit, GroupState& group);

  Groups groups_;
  int32_t last_epoch_ = 0;
  std::set<std::string> changed_;
};

}  // namespace millrace::server
