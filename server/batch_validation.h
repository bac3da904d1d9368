// Whether a batch that came from outside may be stored. Nothing is changed by looking.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "proto/wire/frames.h"
#include "proto/wire/record_batch.h"
#include "proto/wire/runtime.h"
#include "raft/types.h"
#include "server/topic_config.h"

namespace millrace::server {

// A batch fit to be stored.
struct ValidBatch {
  absl::Cord bytes;  // as it came, plus a checksum if it came without
  BatchHeader header;
  uint32_t crc = 0;
  bool crc_computed = false;
};

// Checks size, header, checksum, times and (uncompressed payloads) the number of records. On an error returns false and
// fills `error` without topic and partition.
bool ValidateBatch(absl::Cord bytes, const TopicConfig& config, UnixMillis now, ValidBatch* valid, ErrorFrame* error);

// Of a partition's log: whether an entry's payload is still what its checksum was made of. Entries without records have none.
bool IsIntact(const raft::Entry& entry);
// Of what was read from the disk, where it may have changed: the entries before the first that is not intact; if that is the first of
// all, its damage.
absl::StatusOr<std::vector<raft::Entry>> IntactEntries(absl::StatusOr<std::vector<raft::Entry>> entries,
                                                       bool (*is_intact)(const raft::Entry&) = IsIntact);

}  // namespace millrace::server
