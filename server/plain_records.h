// Between plain records (Append, Read, Tail) and stored batches. The only place where the broker looks into payloads, apart from
// the hot path.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/strings/cord.h"
#include "millrace/v1/broker.pb.h"
#include "proto/wire/frames.h"
#include "proto/wire/runtime.h"
#include "raft/types.h"

namespace millrace::server {

// One uncompressed batch with checksum. Records without a timestamp get `now`.
absl::Cord BatchFromPlain(const google::protobuf::RepeatedPtrField<v1::PlainRecord>& records, UnixMillis now);

struct PlainLimits {
  int64_t records_bytes_max = 0;  // soft: the first record is taken whatever its size
  int64_t reply_bytes_max = 0;    // hard: of the reply's encoding
};

// Adds records from offset `from` on to the response and sets next_offset. At least one, if it fits the reply at all.
// CORRUPT_MESSAGE: a damaged batch. REPLY_TOO_LARGE: the first record does not fit the reply; limit and size are set.
ErrorFrame PlainFromEntries(const std::vector<raft::Entry>& entries, raft::Offset from, bool log_append_time,
                            const PlainLimits& limits, v1::ReadResponse* response);

}  // namespace millrace::server
