// What a replica finds in its store when it starts, and how its memberships lie there.
//
//     StageMemberships(*round, group, {{LogIndex(0), first_members}});    // once, when the group is made
//     ...
//     absl::StatusOr<PersistedState> state = LoadPersistedState(store, group);
//
// Pure functions over the store.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "raft/core.h"
#include "raft/log_store.h"

namespace millrace::raft {

// The value beside a group's log that holds its memberships.
inline constexpr std::string_view kMembershipsKey = "raft.memberships";
// There: acks may be unsynced. Its value says nothing.
inline constexpr std::string_view kUnsyncedAcksKey = "raft.unsynced-acks";

// Opens the log and reads what a Core starts from; may block. Terms are found by a search that gallops over TermAt: a log of one
// term costs none, each further term a few. kNotFound: no such log. kDataLoss: a value is damaged, or they contradict each other;
// the replica cannot start from them. kFailedPrecondition: the log's end is damaged (LogState::read_only).
absl::StatusOr<PersistedState> LoadPersistedState(LogStore& store, GroupId group);

// Of a replica that may have lost what it acked (ARCHITECTURE D9): it will start abstaining (raft/core.h). The log is open and no
// driver runs it; the round has to be written and synced before it is forgotten why.
void StageAbstaining(LogStore& store, Round& round, GroupId group);

// Beside the log lies whether acks may leave before what they ack is synced. The driver stages it.
void StageUnsyncedAcks(Round& round, GroupId group, bool unsynced);
// Whether a crash of the machine may have taken what this replica acked (ARCHITECTURE D9), at whatever level its topic is now. The
// log is open; may block.
absl::StatusOr<bool> MayLackAcked(LogStore& store, GroupId group);

void StageMemberships(Round& round, GroupId group, const std::vector<MembershipAt>& memberships);

// Little-endian: a version byte (1), a 16-bit count, then each membership as its index (8), the length of its encoding (4) and
// Encode(membership). A length of 0 stands for a membership without anybody: of a replica that is not a member yet.
std::string EncodeMemberships(const std::vector<MembershipAt>& memberships);
// kDataLoss when the bytes are not what EncodeMemberships makes, with indexes that rise. Takes any bytes.
absl::StatusOr<std::vector<MembershipAt>> DecodeMemberships(std::string_view bytes);

}  // namespace millrace::raft
