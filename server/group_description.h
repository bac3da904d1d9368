// What is told of a group: its state in the words of group.proto. Topics that are gone are left out.
#pragma once

#include <string>

#include "millrace/v1/group.pb.h"
#include "server/group_decision.h"
#include "server/group_state.h"
#include "server/metadata_image.h"

namespace millrace::server {

// `group`: null if there is none; it has committed nothing then.
v1::FetchOffsetsResponse OffsetsOf(const GroupState* group, const v1::FetchOffsetsRequest& request,
                                   const MetadataImage& image);

// Without the coordinator's number. `stable`: each partition is where it should be.
v1::GroupSummary SummaryOf(const std::string& name, const GroupState& group, bool stable);

// The same, and without lag: -1.
v1::DescribeGroupResponse DescriptionOf(const std::string& name, const GroupState& group, bool stable,
                                        const MetadataImage& image);

}  // namespace millrace::server
