// etcd's cases of membership changes, one after the other, carried out by raft/membership.h:
//
//     enter-joint autoleave=true
//     v2 l1
//     ----
//     voters=(2)&&(1) learners_next=(1) autoleave
//     1: StateProbe match=0 next=1
//     2: StateProbe match=0 next=1
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "raft/membership.h"
#include "tests/conformance/datadriven.h"
#include "tests/conformance/etcd_text.h"

namespace millrace::conformance {

class ConfChangeVectors {
 public:
  // Carries one command out. The output is the membership after it, or etcd's words for why there was none.
  absl::StatusOr<std::string> Answer(const Directive& directive);

 private:
  absl::StatusOr<raft::Membership> Change(const std::string& command, const std::vector<EtcdChange>& changes,
                                          bool auto_leave) const;
  std::string Refusal(const std::string& command, const absl::Status& status) const;
  void FollowProgress(const std::vector<EtcdChange>& changes, const raft::Membership& after);
  std::string Describe() const;

  raft::Membership membership_;
  // What etcd's leader would know of each member: nothing, except since which command it is one.
  std::map<raft::ReplicaId, int64_t> next_;
  int64_t last_index_ = 0;  // one up with each command, as in etcd's runner
};

}  // namespace millrace::conformance
