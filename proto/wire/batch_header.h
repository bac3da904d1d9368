// The header of a serialized RecordBatch on plain memory; for batches built around a payload that is already in place.
#pragma once

#include <cstddef>

#include "proto/wire/record_batch.h"

namespace millrace::internal {

// 13 varints, crc32c, and the payload's tag and length.
inline constexpr size_t kBatchHeaderBytesMax = 13 * 11 + 5 + 11;

// Writes all that precedes the payload's bytes; returns its end.
char* WriteBatchHeader(char* p, const BatchHeader& header, size_t payload_bytes);

// ComputeBatchCrc for a payload whose own checksum is to be continued from the returned one.
uint32_t BatchHeaderCrc(const BatchHeader& header);

}  // namespace millrace::internal
