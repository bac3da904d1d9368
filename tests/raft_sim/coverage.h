// How often each rare state was reached. A simulation that never sees a leader removed in a joint configuration proves nothing
// about it, so a long run fails when one of these stays at 0.
//
//     coverage.Saw(Rare::kSplitVote);
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "tests/raft_sim/faults.h"

namespace millrace::raft::sim {

// name, what is said of it
#define MILLRACE_RARE_EVENTS(X)                                                                   \
  X(kLeaderElected, "a leader is elected")                                                        \
  X(kSplitVote, "a candidate's term ends without a leader")                                       \
  X(kCandidateLost, "a candidate gives way to a leader of its term")                              \
  X(kPreCandidateLost, "a pre-candidate becomes a follower again")                                \
  X(kTwoLeadersAtOnce, "a leader is elected while one of an older term still leads")              \
  X(kLeaderOfAllVotes, "a leader is elected by marked votes (possible loss)")                     \
  X(kPreVoteRefusedBySticky, "a pre-vote is refused because a leader is alive")                   \
  X(kVoteRefusedBySticky, "a vote of a higher term is refused because a leader is alive")         \
  X(kTransferOverridesSticky, "a transfer's vote is granted although a leader is alive")          \
  X(kVoteRefusedShortLog, "a vote is refused because the candidate's log is behind")              \
  X(kVoteRefusedGiven, "a vote is refused because it was given to another")                       \
  X(kVoteGrantedAgain, "a vote is granted again to the same candidate")                           \
  X(kVoteMarked, "an abstaining replica grants a marked vote")                                    \
  X(kLearnerVotes, "a replica that is no voter by its own log grants a vote")                     \
  X(kStrangerCampaigns, "a vote request comes from a replica outside of the voter's membership")  \
  X(kAppendRefused, "an append is refused")                                                       \
  X(kAppendRefusedByTerm, "an append is refused with a hint that skips entries")                  \
  X(kAppendBelowCommit, "an append begins below the commit index")                                \
  X(kTruncated, "a conflicting suffix is cut off")                                                \
  X(kMembershipReverted, "a membership is cut off with its entry")                                \
  X(kStaleReply, "a reply to an older term arrives")                                              \
  X(kOlderLeaderAnswered, "a leader of an older term is answered")                                \
  X(kLateAckOfTruncated, "a write is acked whose entries have been cut off since (ABA)")          \
  X(kCommitWithoutOwnDisk, "a leader commits what its own disk does not have yet")                \
  X(kCommitOfOlderTerm, "entries of an older term are committed with one of the leader's own")    \
  X(kOverwritten, "a proposal is lost to another entry at its place")                             \
  X(kProbeRepeated, "a probe is sent again")                                                      \
  X(kWindowFullByCount, "a window is full by count")                                              \
  X(kWindowFullByBytes, "a window is full by bytes")                                              \
  X(kUncommittedLimit, "a proposal is refused because too much is uncommitted")                   \
  X(kRefusedInTransfer, "a proposal is refused because of a transfer")                            \
  X(kEntriesFromStore, "a lagging member is sent entries from the store")                         \
  X(kEntriesLate, "an entry request is answered in another term")                                 \
  X(kEntriesAfterTruncation, "an entry request is answered with entries that were cut off since") \
  X(kEntriesPartly, "an entry request is answered in part")                                       \
  X(kEntriesFailed, "an entry request fails")                                                     \
  X(kSnapshotRequested, "a member is behind the start of the log")                                \
  X(kSnapshotFailed, "a snapshot cannot be made")                                                 \
  X(kSnapshotInstalled, "a snapshot is installed")                                                \
  X(kSnapshotStale, "a snapshot arrives that is behind the commit index")                         \
  X(kRefusedDuringSnapshot, "a refusal arrives while a snapshot is under way")                    \
  X(kTransferDone, "leadership is transferred")                                                   \
  X(kTransferAborted, "a transfer is given up")                                                   \
  X(kLostQuorum, "a leader steps down because it does not hear a quorum")                         \
  X(kStalledLeader, "a leader steps down because its disk stalls")                                \
  X(kLeaderRemoved, "a leader that was removed steps down")                                       \
  X(kLeaderOutgoing, "a leader leads a joint configuration that it is leaving")                   \
  X(kJointEntered, "a joint configuration is entered")                                            \
  X(kJointLeft, "a joint configuration is left automatically")                                    \
  X(kJointLeftByLater, "a joint configuration is left by a later leader")                         \
  X(kPromoted, "a learner is promoted automatically")                                             \
  X(kChangeInFlight, "a change is refused because one is under way")                              \
  X(kChangeBehind, "a change is refused because the new voter is behind")                         \
  X(kAbstainingBegun, "a replica begins to abstain")                                              \
  X(kAbstainingEnded, "a replica counts again after having abstained")                            \
  X(kLostDurability, "a leader notices that a member lost what it had acked")                     \
  X(kCommittedLost, "committed entries are gone with all disks that had them (flush=async)")      \
  X(kQuietEntered, "a replica goes quiet")                                                        \
  X(kQuietWokenByProposal, "a quiet leader is woken by a proposal")                               \
  X(kQuietWokenByMessage, "a quiet replica is woken by a message")                                \
  X(kQuietWokenByUnreachable, "a quiet replica is woken by a silent broker")                      \
  X(kReadFailed, "a read fails because leadership is lost")                                       \
  X(kReadBeforeCommit, "a read comes before the leader's first commit")                           \
  X(kReadReleased, "a read is released")                                                          \
  X(kForeignIncarnation, "a message for a lost incarnation arrives")                              \
  X(kTornBatch, "a crash loses batches that nobody was told of")                                  \
  X(kAckedBatchLost, "a crash of the machine loses acked batches (flush=async)")                  \
  X(kCrashBeforeWrite, "a crash before the write")                                                \
  X(kCrashBeforeSend, "a crash after the write, before what may be sent at once")                 \
  X(kCrashBeforeApply, "a crash after sending, before applying")                                  \
  X(kCrashBeforeReply, "a crash after the sync, before the replies that waited for it")           \
  X(kCrashAfterReply, "a crash after those replies, before the core hears of the sync")           \
  X(kCrashOnceApplied, "a crash after applying")                                                  \
  X(kStrangerWaits, "a new incarnation joins as a learner")

enum class Rare : uint8_t {
#define MILLRACE_RARE(name, text) name,
  MILLRACE_RARE_EVENTS(MILLRACE_RARE)
#undef MILLRACE_RARE
      kCount,
};

inline constexpr size_t kRareCount = static_cast<size_t>(Rare::kCount);

std::string_view Text(Rare rare);

// Plain numbers, so that processes can share one.
struct Coverage {
  std::array<uint64_t, kRareCount> rare{};
  std::array<uint64_t, kFaultCount> faults{};
  uint64_t seeds = 0;
  uint64_t events = 0;
  uint64_t messages = 0;
  uint64_t rounds = 0;
  uint64_t proposals_acked = 0;
  uint64_t reads_answered = 0;

  void Saw(Rare which) { ++rare[static_cast<size_t>(which)]; }
  void Injected(Fault fault) { ++faults[static_cast<size_t>(fault)]; }
  void Add(const Coverage& other);
  bool Complete() const;
  std::string Table() const;
};

}  // namespace millrace::raft::sim
