// The arguments of a transcript's longer commands.
//
//     add-nodes 3 voters=(1,2) learners=(3) index=10 prevote=true
//     propose-conf-change 1 transition=explicit
//     v2 r1
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "tests/conformance/datadriven.h"
#include "tests/conformance/mail.h"
#include "tests/conformance/node.h"

namespace millrace::conformance {

struct NewNodes {
  int64_t count = 0;
  NodeOptions options;
  NodeStart start;
};

absl::StatusOr<NewNodes> ReadNewNodes(const Directive& d);
absl::StatusOr<Proposal> ReadChangeProposal(const Directive& d);

// debug, info, warn, error, fatal or none, in any case.
bool IsLogLevel(std::string_view name);

}  // namespace millrace::conformance
