// What a set of voters has decided: the arithmetic of majorities, alone and joint (Raft thesis 3.4, 3.6, 4.3).
//
//     LogIndex commit = CommittedIndex(membership, [&](ReplicaId id) { return progress.at(id).match; });
//     if (Tally(membership, votes) == VoteResult::kWon) BecomeLeader();
//
// Pure functions. A group without voters has decided everything (so that the empty half of a configuration that is not joint
// never holds the other up).
#pragma once

#include <optional>

#include "absl/functional/function_ref.h"
#include "raft/membership.h"
#include "raft/types.h"

namespace millrace::raft {

enum class VoteResult : uint8_t { kPending, kLost, kWon };

// The largest index that a majority has acked. LogIndex::max for no voters.
LogIndex CommittedIndex(const ReplicaSet& voters, absl::FunctionRef<LogIndex(ReplicaId)> acked);
// Of both halves, the smaller.
LogIndex CommittedIndex(const Membership& m, absl::FunctionRef<LogIndex(ReplicaId)> acked);

// nullopt: has not answered yet.
VoteResult Tally(const ReplicaSet& voters, absl::FunctionRef<std::optional<bool>(ReplicaId)> vote);
// Won when both halves are, lost when one is.
VoteResult Tally(const Membership& m, absl::FunctionRef<std::optional<bool>(ReplicaId)> vote);

}  // namespace millrace::raft
