#include "server/retention_rule.h"

namespace millrace::server {

RetentionDue FindRetentionDue(std::span<const raft::SegmentInfo> segments, const TopicConfig& config,
                              std::optional<UnixMillis> now, raft::Offset committed) {
  int64_t bytes_behind = 0;
  for (const raft::SegmentInfo& segment : segments) bytes_behind += segment.bytes;
  RetentionDue due;
  for (const raft::SegmentInfo& segment : segments) {
    bytes_behind -= segment.bytes;
    const bool too_old =
        now && config.retention_ms != kUnlimited && *now - segment.last_append_time > config.retention_ms;
    const bool too_many = config.retention_bytes != kUnlimited && bytes_behind >= config.retention_bytes;
    if ((!too_old && !too_many) || segment.end_offset > committed) break;
    ++due.segments;
    due.bytes += segment.bytes;
    due.end = segment.end_offset;
    due.by_time = too_old;
  }
  return due;
}

}  // namespace millrace::server
