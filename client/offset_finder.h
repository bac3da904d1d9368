// Positions to offsets.
//
// Brokers know offsets by time only to the batch; the exact record is found by reading on from there, as far as batches
// are whole.
#pragma once

#include <chrono>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "client/control_client.h"
#include "millrace/admin.h"

namespace millrace::client {

using OffsetsFound = std::function<void(absl::StatusOr<std::vector<OffsetAnswer>>)>;

// One answer for each query, in order. `now`: what Ago counts from. `control` must outlive the search, or end it by
// being destroyed. On control's executor.
void FindOffsets(ControlClient& control, std::vector<OffsetQuery> queries, int64_t now,
                 std::chrono::nanoseconds timeout, OffsetsFound done);

}  // namespace millrace::client
