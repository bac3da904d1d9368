// Runs a transcript and holds our nodes against etcd's: what raft-log, raft-state and status print where they stand, and the
// state of every node, as far as the transcript tells it, whenever a `stabilize` has left nothing to do and at the end.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/conformance/differences.h"

namespace millrace::conformance {

// `file` is the name for errors and differences. kInvalidArgument, with file and line: a command that cannot be carried out.
absl::StatusOr<std::vector<Difference>> CheckTranscript(const std::string& file, std::string_view text);

}  // namespace millrace::conformance
