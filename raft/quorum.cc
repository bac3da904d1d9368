#include "raft/quorum.h"

#include <algorithm>
#include <limits>

#include "absl/container/inlined_vector.h"

namespace millrace::raft {

LogIndex CommittedIndex(const ReplicaSet& voters, absl::FunctionRef<LogIndex(ReplicaId)> acked) {
  if (voters.empty()) return LogIndex(std::numeric_limits<int64_t>::max());
  absl::InlinedVector<LogIndex, 8> indexes;
  for (ReplicaId id : voters) indexes.push_back(acked(id));
  // The smallest of the largest majority: of 4 voters the second smallest, of 5 the third.
  const auto at = indexes.begin() + (indexes.size() - 1) / 2;
  std::nth_element(indexes.begin(), at, indexes.end());
  return *at;
}

LogIndex CommittedIndex(const Membership& m, absl::FunctionRef<LogIndex(ReplicaId)> acked) {
  return std::min(CommittedIndex(m.voters, acked), CommittedIndex(m.outgoing, acked));
}

VoteResult Tally(const ReplicaSet& voters, absl::FunctionRef<std::optional<bool>(ReplicaId)> vote) {
  if (voters.empty()) return VoteResult::kWon;
  const size_t majority = voters.size() / 2 + 1;
  size_t granted = 0, pending = 0;
  for (ReplicaId id : voters) {
    const std::optional<bool> answer = vote(id);
    if (!answer) ++pending;
    if (answer.value_or(false)) ++granted;
  }
  if (granted >= majority) return VoteResult::kWon;
  return granted + pending >= majority ? VoteResult::kPending : VoteResult::kLost;
}

VoteResult Tally(const Membership& m, absl::FunctionRef<std::optional<bool>(ReplicaId)> vote) {
  const VoteResult incoming = Tally(m.voters, vote), outgoing = Tally(m.outgoing, vote);
  if (incoming == outgoing) return incoming;
  const bool lost = incoming == VoteResult::kLost || outgoing == VoteResult::kLost;
  return lost ? VoteResult::kLost : VoteResult::kPending;
}

}  // namespace millrace::raft
