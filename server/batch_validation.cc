#include "server/batch_validation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "raft/damage.h"
#include "server/errors.h"

namespace millrace::server {
namespace {

using v1::Error;

ErrorFrame CheckHeader(const BatchHeader& header, const TopicConfig& config, UnixMillis now) {
  if (header.record_count < 1) {
    return MakeError(Error::CORRUPT_MESSAGE,
                     absl::StrCat("record_count is ", header.record_count, "; a batch holds at least one record"));
  }
  if (header.codec != static_cast<int32_t>(Codec::kNone) && header.codec != static_cast<int32_t>(Codec::kLz4) &&
      header.codec != static_cast<int32_t>(Codec::kZstd)) {
    return MakeError(Error::UNSUPPORTED_COMPRESSION_TYPE,
                     absl::StrCat("codec ", header.codec, " is not known; send 0 (none), 3 (lz4) or 4 (zstd)"));
  }
  if (header.payload_format != 0 && header.payload_format != 1) {
    return MakeError(Error::UNSUPPORTED_VERSION,
                     absl::StrCat("payload_format ", header.payload_format, " is not known; send 1"));
  }
  if (header.ttl_ms != 0 || header.deliver_at != 0 || header.transaction_id != 0 || header.schema_id != 0) {
    return MakeError(Error::UNSUPPORTED_VERSION,
                     "ttl_ms, deliver_at, transaction_id and schema_id are for later releases; leave them 0");
  }
  if (header.producer_id < 0 || header.producer_epoch < 0 || header.base_sequence < 0 ||
      header.uncompressed_bytes < 0) {
    return MakeError(Error::INVALID_REQUEST,
                     "producer_id, producer_epoch, base_sequence and uncompressed_bytes must not be negative");
  }
  const int64_t newest = header.EffectiveMaxTimestamp();
  if (header.base_timestamp < 0 || header.max_timestamp < 0) {
    return MakeError(Error::INVALID_TIMESTAMP, "timestamps are milliseconds since 1970 and not negative");
  }
  if (config.timestamp_type == TimestampType::kCreateTime && config.timestamp_after_max_ms >= 0 &&
      newest - now > config.timestamp_after_max_ms) {
    return MakeError(
        Error::INVALID_TIMESTAMP,
        absl::StrCat("timestamp ", newest, " is ", newest - now,
                     " ms ahead of the broker's clock; the topic's "
                     "message.timestamp.after.max.ms is ",
                     config.timestamp_after_max_ms, ". Timestamps are in milliseconds; is one in microseconds?"));
  }
  return {};
}

}  // namespace

bool ValidateBatch(absl::Cord bytes, const TopicConfig& config, UnixMillis now, ValidBatch* valid, ErrorFrame* error) {
  if (static_cast<int64_t>(bytes.size()) > config.max_message_bytes) {
    *error = MakeError(Error::MESSAGE_TOO_LARGE,
                       absl::StrCat("the batch has ", bytes.size(), " bytes, the topic's max.message.bytes is ",
                                    config.max_message_bytes, "; send smaller batches or raise the setting (up to ",
                                    kMaxMessageBytesLimit, ")"));
    error->limit = config.max_message_bytes;
    error->size = static_cast<int64_t>(bytes.size());
    return false;
  }
  absl::StatusOr<BatchView> batch = ParseBatch(bytes);
  if (!batch.ok()) {
    *error = MakeError(Error::CORRUPT_MESSAGE, absl::StrCat("not a RecordBatch: ", batch.status().message()));
    return false;
  }
  *error = CheckHeader(batch->header, config, now);
  if (!error->ok()) return false;
  const uint32_t crc = ComputeBatchCrc(batch->header, batch->payload);
  if (batch->header.crc32c && *batch->header.crc32c != crc) {
    *error = MakeError(
        Error::CORRUPT_MESSAGE,
        absl::StrCat("crc32c says ", *batch->header.crc32c, ", the bytes received give ", crc,
                     "; the batch was damaged on its way, or its checksum is not of the layout in record.proto"));
    return false;
  }
  if (batch->header.codec == static_cast<int32_t>(Codec::kNone)) {
    absl::StatusOr<int64_t> count = CountRecords(batch->payload);
    if (!count.ok() || *count != batch->header.record_count) {
      *error = MakeError(
          Error::CORRUPT_MESSAGE,
          count.ok() ? absl::StrCat("record_count says ", batch->header.record_count, ", the payload holds ", *count)
                     : absl::StrCat("the payload is not a Records message: ", count.status().message()));
      return false;
    }
  }
  valid->crc_computed = !batch->header.crc32c.has_value();
  valid->bytes = valid->crc_computed ? AppendCrc(bytes, crc) : std::move(bytes);
  valid->header = std::move(batch->header);
  valid->crc = crc;
  return true;
}

bool IsIntact(const raft::Entry& entry) {
  if (entry.header.type != raft::EntryType::kRecords) return true;
  const absl::StatusOr<BatchView> batch = ParseBatch(entry.payload);
  return batch.ok() && ComputeBatchCrc(batch->header, batch->payload) == entry.header.payload_crc;
}

absl::StatusOr<std::vector<raft::Entry>> IntactEntries(absl::StatusOr<std::vector<raft::Entry>> entries,
                                                       bool (*is_intact)(const raft::Entry&)) {
  if (!entries.ok()) return entries;
  const auto damaged = std::find_if_not(entries->begin(), entries->end(), is_intact);
  if (damaged == entries->end()) return entries;
  if (damaged == entries->begin()) {
    const raft::EntryHeader& header = damaged->header;
    return raft::DamagedEntry(absl::StrCat("entry ", header.index.value(), ": its payload does not match its checksum"),
                              {header.base_offset, header.end_offset()});
  }
  entries->erase(damaged, entries->end());
  return entries;
}

}  // namespace millrace::server
