// How etcd/raft writes things down, for comparing text with text. Its node ids are numbers from 1; 0 is nobody. Here node n is
// ReplicaId{BrokerId(n), 0}.
//
//     ToEtcdText(membership)  // "voters=(1 2 3)&&(1) learners=(4) autoleave"
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "raft/core.h"
#include "raft/membership.h"
#include "raft/types.h"

namespace millrace::conformance {

raft::ReplicaId NodeId(int64_t node);
// 0 for kNoReplica.
int64_t NodeNumber(raft::ReplicaId id);

std::string ToEtcdText(const raft::ReplicaSet& set);
std::string ToEtcdText(const raft::Membership& m);
const char* ToEtcdText(raft::Role role);
const char* ToEtcdText(raft::Progress::State state);
// Go's %q, as far as it goes for printable text.
std::string Quoted(std::string_view data);

// One of "v1" (voter), "l2" (learner), "r3" (remove), "u4" (update: nothing to Raft).
struct EtcdChange {
  char kind = 'v';
  int64_t node = 0;
};

// kInvalidArgument with etcd's words.
absl::StatusOr<std::vector<EtcdChange>> ParseEtcdChanges(std::string_view text);
// As Raft sees them: etcd does nothing for updates and for node 0, so neither gets as far as the product.
std::vector<raft::MembershipChange> ToMembershipChanges(const std::vector<EtcdChange>& changes);

}  // namespace millrace::conformance
