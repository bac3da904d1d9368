#include "storage/log_image.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"

namespace millrace::storage {

using raft::LogIndex;
using raft::Offset;

raft::LogState LogImage::ToState() const {
  return {.begin = start.before.ToBegin(),
          .first_index = first_index(),
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

std::optional<std::string> LogImage::Contradiction() const {
  const int64_t last_index = last.index.value();
  if (start.before.index > last.index || start.before.end_offset > last.end_offset) {
    return absl::StrCat("it begins behind entry ", start.before.index.value(), " and ends with ", last_index);
  }
  if (start.offset > last.end_offset) {
    return absl::StrCat("its log start ", start.offset.value(), " is above its end ", last.end_offset.value());
  }
  if (!read_only && term_and_vote.commit_index > last.index) {
    return absl::StrCat("entry ", term_and_vote.commit_index.value(), " is committed, ", last_index, " is the last");
  }
  if (active.has_value() != (last.index >= first_index()) || (!active && !sealed->empty())) {
    return absl::StrCat("its segments are not of its entries, which are ", first_index().value(), " to ", last_index);
  }
  if (!active) return std::nullopt;
  const LogIndex first_segment = sealed->empty() ? active->first_index() : sealed->front().first_index();
  if (first_segment != first_index()) {
    return absl::StrCat("its first entry is ", first_index().value(), ", its first segment begins with ",
                        first_segment.value());
  }
  if (!sealed->empty() && active->before.index != sealed->back().last.index) {
    return absl::StrCat("the segment that begins with ", active->first_index().value(), " follows one that ends with ",
                        sealed->back().last.index.value());
  }
  if (active->last.index != last.index || interval.last_index != last.index ||
      interval.first_index < active->first_index()) {
    return absl::StrCat("its last segment or interval does not end with its last entry ", last_index);
  }
  return std::nullopt;
}

void LogImage::CheckInvariants() const {
  const std::optional<std::string> contradiction = Contradiction();
  MILLRACE_CHECK(!contradiction) << *contradiction;
}

}  // namespace millrace::storage
