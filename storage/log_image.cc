#include "storage/log_image.h"

#include <algorithm>

#include "proto/wire/check.h"

namespace millrace::storage {

using raft::LogIndex;
using raft::Offset;

raft::LogState LogImage::ToState() const {
  return {.first_index = first_index(),
          .last_index = last.index,
          .last_term = last.term,
          .log_start = start.offset,
          .log_end = last.end_offset,
          .last_append_time = last.append_time,
          .chain = last.chain,
          .bytes = last.log_bytes - start.before.log_bytes,
          .term_and_vote = term_and_vote,
          .read_only = read_only};
}

const SegmentMeta& LogImage::SegmentOf(LogIndex index) const {
  auto found = std::partition_point(sealed->begin(), sealed->end(),
                                    [index](const SegmentMeta& segment) { return segment.last.index < index; });
  return found != sealed->end() ? *found : active.value();
}

const SegmentMeta& LogImage::SegmentOf(Offset offset) const {
  auto found = std::partition_point(sealed->begin(), sealed->end(),
                                    [offset](const SegmentMeta& segment) { return segment.last.end_offset <= offset; });
  return found != sealed->end() ? *found : active.value();
}

void LogImage::BeginInterval(const LogPosition& position) {
  interval = {.first_index = position.index + 1, .last_index = position.index, .first_offset = position.end_offset};
  interval_begin_bytes = position.log_bytes;
}

void LogImage::CheckInvariants() const {
  MILLRACE_CHECK_LE(start.before.index, last.index);
  MILLRACE_CHECK_LE(start.before.end_offset, last.end_offset);
  MILLRACE_CHECK_LE(start.offset, last.end_offset);
  if (!read_only) MILLRACE_CHECK_LE(term_and_vote.commit_index, last.index);
  MILLRACE_CHECK_EQ(active.has_value(), last.index >= first_index());
  if (!active) {
    MILLRACE_CHECK(sealed->empty());
    return;
  }
  MILLRACE_CHECK_EQ(active->last.index, last.index);
  MILLRACE_CHECK_EQ((sealed->empty() ? active->before : sealed->front().before).index, start.before.index);
  MILLRACE_CHECK_EQ(active->before.index, sealed->empty() ? start.before.index : sealed->back().last.index);
  MILLRACE_CHECK_GE(interval.first_index, active->first_index());
  MILLRACE_CHECK_EQ(interval.last_index, last.index);
}

}  // namespace millrace::storage
