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
#include "server/reads.h"

namespace millrace::server {

// One uncompressed batch with checksum. Records without a timestamp get `now`.
absl::Cord BatchFromPlain(const google::protobuf::RepeatedPtrField<v1::PlainRecord>& records, UnixMillis now);

struct PlainLimits {
  int64_t records_bytes_max = 0;  // soft: the first record is taken whatever its size
  int64_t reply_bytes_max = 0;    // hard: of the reply's encoding
  int64_t batch_bytes_max = 0;    // hard: of a batch once decompressed
};

// Why a reply holds no record although there are entries.
struct PlainFailure {
  ErrorFrame error;
  std::optional<Loss> loss;  // with CORRUPT_MESSAGE

  bool ok() const { return error.ok(); }
};

// Adds records from offset `from` on to the response and sets next_offset. At least one, if it fits the reply at all and can be
// read: what is wrong further on is told when it comes first. CORRUPT_MESSAGE: a damaged batch. REPLY_TOO_LARGE: the first
// record does not fit the reply, or its batch is too large to be decompressed; limit and size are set. Takes as long as
// decompressing does: not for a thread that serves others.
PlainFailure PlainFromEntries(const PartitionName& name, const std::vector<raft::Entry>& entries, raft::Offset from,
                              bool log_append_time, const PlainLimits& limits, v1::ReadResponse* response);

}  // namespace millrace::server
