// etcd's cases of what a quorum has decided, answered by raft/quorum.h:
//
//     committed cfg=(1,2,3) cfgj=(4) idx=(100,_,50,7)
//     vote cfg=(1,2) votes=(y,_)
//
// The ids of cfg, then those of cfgj that are new, take idx and votes in their order; _ is an answer that is not there. cfgj=zero
// is a joint configuration whose second half is empty.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "tests/conformance/datadriven.h"

namespace millrace::conformance {

// The output, with the picture of who holds how much. As in etcd's runner, a line "… <-- via …" stands in it when a calculation
// that must give the same (halves exchanged, joined with itself) gives something else.
absl::StatusOr<std::string> AnswerQuorumVector(const Directive& directive);

}  // namespace millrace::conformance
