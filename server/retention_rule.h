// Which segments a topic's retention no longer covers.
//
//     RetentionDue due = FindRetentionDue(store.Segments(group), *config, now, high_watermark);
//     if (due.segments > 0) ... the log may start at due.end ...
//
// A segment is due when its newest record is older than retention.ms, or when retention.bytes are kept behind it. Segments go
// whole, oldest first, the active one included once all of it is too old: nothing goes that either setting still asks for.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "proto/wire/runtime.h"
#include "raft/log_store.h"
#include "server/topic_config.h"

namespace millrace::server {

struct RetentionDue {
  size_t segments = 0;   // the oldest so many
  int64_t bytes = 0;     // of their batches
  raft::Offset end;      // of the last of them; meaningless without any
  bool by_time = false;  // the last of them is too old; else retention.bytes are kept behind it
};

// `segments`: oldest first. `now`: unset while the time is in doubt: then retention.ms makes nothing due. `committed`: what is
// not wholly below it stays.
RetentionDue FindRetentionDue(std::span<const raft::SegmentInfo> segments, const TopicConfig& config,
                              std::optional<UnixMillis> now, raft::Offset committed);

}  // namespace millrace::server
