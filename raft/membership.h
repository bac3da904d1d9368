// Who holds copies of a group's log, and how that changes (Raft thesis, chapter 4).
//
// A change either touches one voter ("simple": old and new majorities overlap) or goes through a joint configuration, in which
// elections and commits need a majority of both the old and the new voters (thesis 4.3):
//
//     absl::StatusOr<Membership> joint = EnterJoint(m, {{MembershipChange::kAddVoter, a}, {MembershipChange::kRemove, b}}, true);
//     absl::StatusOr<Membership> after = LeaveJoint(*joint);
//
// A membership entry of the log holds the whole new Membership, not the change: it takes effect when it is appended, and when it
// is cut off again, the one before it is in force again. Activation on apply was rejected: it has had a bug in each
// implementation that tried (etcd #7625, #11284), since a leader and a follower then count by different rules at one index.
//
// Plain values; not thread-safe. Sets are sorted vectors without doubles.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "raft/types.h"

namespace millrace::raft {

// Sorted, no doubles.
using ReplicaSet = std::vector<ReplicaId>;

bool Contains(const ReplicaSet& set, ReplicaId id);

struct MembershipChange {
  enum Kind : uint8_t {
    kAddVoter = 1,
    kAddLearner = 2,  // a voter becomes a learner; in a joint configuration only when that is left
    kRemove = 3,
  };
  Kind kind = kAddVoter;
  ReplicaId id;
  // With kAddLearner, of who is no voter: the leader makes it a voter by itself once it has caught up.
  bool promote = false;
};

struct Membership {
  ReplicaSet voters;         // the incoming ones while joint
  ReplicaSet outgoing;       // the old voters; not empty exactly while joint
  ReplicaSet learners;       // get the log, count nowhere; never also a voter
  ReplicaSet learners_next;  // outgoing voters that become learners when the joint configuration is left
  ReplicaSet promote;        // those of the learners that become voters once they have caught up
  bool auto_leave = false;   // while joint: the leader leaves it as soon as it is committed

  bool joint() const { return !outgoing.empty(); }
  bool IsVoter(ReplicaId id) const { return Contains(voters, id) || Contains(outgoing, id); }
  bool IsLearner(ReplicaId id) const { return Contains(learners, id); }
  // Everyone the leader replicates to, each once.
  ReplicaSet Members() const;

  bool operator==(const Membership&) const = default;
};

// A membership and the index of the entry that brought it; 0 is the one the group was made with.
struct MembershipAt {
  LogIndex index;
  Membership membership;

  bool operator==(const MembershipAt&) const = default;
};

// kInvalidArgument: `m` breaks one of the rules above or has no voter.
absl::Status Validate(const Membership& m);

// Changes that touch at most one voter in all. kFailedPrecondition while joint or when more than one voter would change,
// kInvalidArgument when no voter would be left or one is to be promoted. Adding what is there and removing what is not changes nothing.
absl::StatusOr<Membership> ChangeSimply(const Membership& m, const std::vector<MembershipChange>& changes);
// Any changes. kFailedPrecondition while joint, kInvalidArgument when there is no voter before or after, or one is to be promoted.
absl::StatusOr<Membership> EnterJoint(const Membership& m, const std::vector<MembershipChange>& changes,
                                      bool auto_leave);
// kFailedPrecondition when not joint.
absl::StatusOr<Membership> LeaveJoint(const Membership& m);

// The payload of a membership entry, and what is kept beside the log. Little-endian: a version byte (1), a byte of flags
// (1: auto_leave), then the five sets in the order of the struct, each as a 16-bit count and 16 bytes an id (broker,
// incarnation).
std::string Encode(const Membership& m);
// kDataLoss when the bytes are not what Encode makes of a valid membership. Takes any bytes.
absl::StatusOr<Membership> DecodeMembership(std::string_view bytes);

// "voters=(1/a 2/b) outgoing=(…) learners=(…)": for logs and dumps.
std::string ToString(const Membership& m);

}  // namespace millrace::raft
