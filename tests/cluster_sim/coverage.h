// How often each rare state was reached. A simulation that never sees a batch forwarded proves nothing about it, so a long run
// fails when one of these stays at 0.
//
//     coverage.Saw(Rare::kForwardedAppend);
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace millrace::sim {

// name, what is said of it
#define MILLRACE_FAULTS(X)                                  \
  X(kProcessCrash, "a broker's process dies")               \
  X(kPowerCut, "a broker's machine goes down")              \
  X(kStop, "a broker is ended in order")                    \
  X(kAllCrash, "all brokers go down at once")               \
  X(kFreeze, "a broker stands still")                       \
  X(kFreezeClient, "a client stands still")                 \
  X(kCutBoth, "two cannot reach each other")                \
  X(kCutOneWay, "one cannot reach another that reaches it") \
  X(kIsolate, "a broker is cut off from all others")        \
  X(kBreak, "connections between two break")                \
  X(kSlowLink, "messages between two take long")            \
  X(kStall, "a store takes no writes")                      \
  X(kSlowSync, "a disk takes long to sync")                 \
  X(kSyncFails, "a disk fails to sync, once")               \
  X(kColdCache, "a store has to read from its disk")        \
  X(kClockJump, "a broker's clock jumps")                   \
  X(kTrim, "a partition is trimmed")                        \
  X(kAlter, "a topic's settings change")                    \
  X(kAddPartitions, "a topic grows")                        \
  X(kDelete, "a topic is deleted and made anew")

#define MILLRACE_RARE_EVENTS(X)                                                       \
  X(kElection, "a partition changes its leader")                                      \
  X(kControllerFailover, "another broker becomes the controller")                     \
  X(kLeaderDiesWithUnacked, "a leader dies with batches that nobody has acked")       \
  X(kNotLeader, "a client is told who leads")                                         \
  X(kNoLeader, "a client is told that nobody leads")                                  \
  X(kForwardedAppend, "a batch is appended for a client of another broker")           \
  X(kForwardedRead, "records are read for a client of another broker")                \
  X(kDuplicateAnswered, "a batch that was stored before is acked again")              \
  X(kTruncated, "a replica cuts off what another leader does not have")               \
  X(kSnapshotInstalled, "a replica begins anew behind the start of the leader's log") \
  X(kGapRead, "a consumer is told of a gap")                                          \
  X(kDeliveryFailed, "a delivery fails in time")                                      \
  X(kUnknownOutcome, "a failed delivery may have happened")                           \
  X(kUnknownStored, "a failed delivery has happened")                                 \
  X(kDeletedTopicRefused, "a producer is told that its topic was deleted")            \
  X(kAbstained, "a replica abstains after its machine went down")                     \
  X(kLoadedUnderFaults, "a broker catches up while others are gone")                  \
  X(kProducerFenced, "a producer is fenced by a later one of its name")               \
  X(kMemberLeft, "a member leaves its group")                                         \
  X(kMemberDied, "a member dies")                                                     \
  X(kMemberLost, "a member is told that it is none any more, or finds it out")        \
  X(kPartitionMoved, "a partition goes to another member")                            \
  X(kInstanceBack, "a member comes back under its instance id")                       \
  X(kOffsetReset, "a group's offset is reset")                                        \
  X(kHandledAgain, "a record is given out again, not being committed")

enum class Fault : uint8_t {
#define MILLRACE_NAME(name, text) name,
  MILLRACE_FAULTS(MILLRACE_NAME)
#undef MILLRACE_NAME
      kCount,
};

enum class Rare : uint8_t {
#define MILLRACE_NAME(name, text) name,
  MILLRACE_RARE_EVENTS(MILLRACE_NAME)
#undef MILLRACE_NAME
      kCount,
};

inline constexpr size_t kFaultCount = static_cast<size_t>(Fault::kCount);
inline constexpr size_t kRareCount = static_cast<size_t>(Rare::kCount);

// Plain numbers, so that processes can share one.
struct Coverage {
  std::array<uint64_t, kFaultCount> faults{};
  std::array<uint64_t, kRareCount> rare{};
  uint64_t seeds = 0;
  uint64_t messages = 0;
  uint64_t simulated_ms = 0;
  uint64_t sent = 0;
  uint64_t acked = 0;
  uint64_t read = 0;

  void Injected(Fault fault) { ++faults[static_cast<size_t>(fault)]; }
  void Saw(Rare state) { ++rare[static_cast<size_t>(state)]; }
  void Add(const Coverage& other);
  bool Complete() const;
  std::string Table() const;
};

std::string_view Text(Fault fault);

}  // namespace millrace::sim
