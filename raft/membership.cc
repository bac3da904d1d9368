#include "raft/membership.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "raft/fixed_int.h"

namespace millrace::raft {
namespace {

void Insert(ReplicaSet& set, ReplicaId id) {
  const auto at = std::lower_bound(set.begin(), set.end(), id);
  if (at == set.end() || *at != id) set.insert(at, id);
}

void Erase(ReplicaSet& set, ReplicaId id) {
  const auto at = std::lower_bound(set.begin(), set.end(), id);
  if (at != set.end() && *at == id) set.erase(at);
}

bool IsSorted(const ReplicaSet& set) {
  return std::adjacent_find(set.begin(), set.end(), [](ReplicaId a, ReplicaId b) { return a >= b; }) == set.end();
}

bool Disjoint(const ReplicaSet& a, const ReplicaSet& b) {
  return std::none_of(a.begin(), a.end(), [&](ReplicaId id) { return Contains(b, id); });
}

bool Subset(const ReplicaSet& a, const ReplicaSet& b) {
  return std::all_of(a.begin(), a.end(), [&](ReplicaId id) { return Contains(b, id); });
}

void Remove(Membership& m, ReplicaId id) {
  for (ReplicaSet* set : {&m.voters, &m.learners, &m.learners_next, &m.promote}) Erase(*set, id);
}

void Apply(Membership& m, const MembershipChange& change) {
  switch (change.kind) {
    case MembershipChange::kAddVoter:
      Remove(m, change.id);
      Insert(m.voters, change.id);
      return;
    case MembershipChange::kAddLearner:
      Remove(m, change.id);
      // Until the joint configuration is left it still votes among the outgoing, and nobody is voter and learner at once.
      Insert(Contains(m.outgoing, change.id) ? m.learners_next : m.learners, change.id);
      if (change.promote && m.IsLearner(change.id)) Insert(m.promote, change.id);
      return;
    case MembershipChange::kRemove:
      Remove(m, change.id);
      return;
  }
}

absl::StatusOr<Membership> ApplyAll(Membership m, const std::vector<MembershipChange>& changes) {
  const bool demotes_to_promote = std::any_of(changes.begin(), changes.end(), [&](const MembershipChange& change) {
    return change.kind == MembershipChange::kAddLearner && change.promote && m.IsVoter(change.id);
  });
  if (demotes_to_promote) return absl::InvalidArgumentError("a voter cannot become a learner that is to be promoted");
  for (const MembershipChange& change : changes) Apply(m, change);
  if (m.voters.empty())
    return absl::InvalidArgumentError("the change would remove all voters; a group needs one at least");
  return m;
}

size_t SymmetricDifference(const ReplicaSet& a, const ReplicaSet& b) {
  ReplicaSet difference;
  std::set_symmetric_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(difference));
  return difference.size();
}

constexpr char kVersion = 1;
constexpr char kAutoLeave = 1;
constexpr size_t kIdBytes = 16;

bool Get(std::string_view& in, ReplicaSet& set) {
  const auto count = GetInt<uint16_t>(in);
  if (!count || in.size() < *count * kIdBytes) return false;
  for (int i = 0; i < *count; ++i) {
    const auto broker = GetInt<int64_t>(in);
    const auto incarnation = GetInt<uint64_t>(in);
    set.push_back({BrokerId(*broker), *incarnation});
  }
  return true;
}

// What all of Membership's sets are, in the order in which they are stored.
template <typename M>
auto Sets(M& m) {
  return std::array{&m.voters, &m.outgoing, &m.learners, &m.learners_next, &m.promote};
}

}  // namespace

bool Contains(const ReplicaSet& set, ReplicaId id) { return std::binary_search(set.begin(), set.end(), id); }

ReplicaSet Membership::Members() const {
  ReplicaSet all = voters;
  for (const ReplicaSet* set : {&outgoing, &learners}) {
    for (ReplicaId id : *set) Insert(all, id);
  }
  return all;
}

absl::Status Validate(const Membership& m) {
  for (const ReplicaSet* set : Sets(m)) {
    if (!IsSorted(*set)) return absl::InvalidArgumentError("a set of replicas is not sorted or has doubles");
  }
  if (m.voters.empty()) return absl::InvalidArgumentError("a membership has no voters");
  if (!Disjoint(m.learners, m.voters) || !Disjoint(m.learners, m.outgoing)) {
    return absl::InvalidArgumentError("a replica is both voter and learner");
  }
  if (!Subset(m.learners_next, m.outgoing) || !Disjoint(m.learners_next, m.voters)) {
    return absl::InvalidArgumentError("a voter is to become a learner and is not on its way out");
  }
  if (!Subset(m.promote, m.learners))
    return absl::InvalidArgumentError("a replica is to be promoted and is no learner");
  if (m.auto_leave && !m.joint()) return absl::InvalidArgumentError("a membership that is not joint is to be left");
  return absl::OkStatus();
}

absl::StatusOr<Membership> ChangeSimply(const Membership& m, const std::vector<MembershipChange>& changes) {
  if (m.joint()) return absl::FailedPreconditionError("the configuration is joint; it has to be left first");
  absl::StatusOr<Membership> changed = ApplyAll(m, changes);
  if (changed.ok() && SymmetricDifference(m.voters, changed->voters) > 1) {
    return absl::FailedPreconditionError("more than one voter would change without a joint configuration");
  }
  return changed;
}

absl::StatusOr<Membership> EnterJoint(const Membership& m, const std::vector<MembershipChange>& changes,
                                      bool auto_leave) {
  if (m.joint()) return absl::FailedPreconditionError("the configuration is joint already");
  if (m.voters.empty()) return absl::InvalidArgumentError("there are no voters to join new ones with");
  Membership joint = m;
  joint.outgoing = m.voters;
  joint.auto_leave = auto_leave;
  return ApplyAll(std::move(joint), changes);
}

absl::StatusOr<Membership> LeaveJoint(const Membership& m) {
  if (!m.joint()) return absl::FailedPreconditionError("the configuration is not joint");
  Membership left = m;
  left.outgoing.clear();
  left.learners_next.clear();
  left.auto_leave = false;
  for (ReplicaId id : m.learners_next) Insert(left.learners, id);
  return left;
}

std::string Encode(const Membership& m) {
  std::string out = {kVersion, m.auto_leave ? kAutoLeave : char{0}};
  for (const ReplicaSet* set : Sets(m)) {
    PutInt<uint16_t>(out, set->size());
    for (ReplicaId id : *set) {
      PutInt<int64_t>(out, id.broker.value());
      PutInt<uint64_t>(out, id.incarnation);
    }
  }
  return out;
}

absl::StatusOr<Membership> DecodeMembership(std::string_view bytes) {
  const auto damaged = [&](absl::string_view what) {
    return absl::DataLossError(absl::StrCat("a stored membership of ", bytes.size(), " bytes is damaged: ", what));
  };
  std::string_view in = bytes;
  const auto version = GetInt<char>(in);
  const auto flags = GetInt<char>(in);
  if (!flags || *version != kVersion || (*flags & ~kAutoLeave) != 0)
    return damaged("its version or flags are not known");
  Membership m;
  m.auto_leave = *flags == kAutoLeave;
  for (ReplicaSet* set : Sets(m)) {
    if (!Get(in, *set)) return damaged("it is too short");
  }
  if (!in.empty()) return damaged("it is too long");
  if (absl::Status valid = Validate(m); !valid.ok()) return damaged(valid.message());
  return m;
}

std::string ToString(const Membership& m) {
  std::string text;
  const auto add = [&](const char* name, const ReplicaSet& set) {
    if (set.empty()) return;
    absl::StrAppend(&text, text.empty() ? "" : " ", name, "=(");
    for (size_t i = 0; i < set.size(); ++i) {
      absl::StrAppend(&text, i == 0 ? "" : " ", set[i].broker.value(), "/", set[i].incarnation);
    }
    text += ")";
  };
  add("voters", m.voters);
  add("outgoing", m.outgoing);
  add("learners", m.learners);
  add("learners_next", m.learners_next);
  add("promote", m.promote);
  if (m.auto_leave) text += " auto_leave";
  return text;
}

}  // namespace millrace::raft
