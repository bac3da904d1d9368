#include "proto/wire/record_batch.h"

#include <array>
#include <cstring>

#include "proto/wire/batch_header.h"
#include "proto/wire/cord_reader.h"
#include "proto/wire/crc32c.h"

namespace millrace {

using internal::CordReader;
using internal::kBytes;
using internal::kFixed32;
using internal::kVarint;
using internal::Tag;

namespace {

// Copies integers one after the other, little-endian as the machine's.
class LayoutWriter {
 public:
  template <typename T>
  LayoutWriter& Put(T value) {
    std::memcpy(bytes_.data() + used_, &value, sizeof(value));
    used_ += sizeof(value);
    return *this;
  }
  std::string_view view() const { return {bytes_.data(), used_}; }

 private:
  std::array<char, 80> bytes_;
  size_t used_ = 0;
};

char* WriteInteger(char* p, uint32_t field, int64_t value) {
  if (value == 0) return p;
  *p++ = static_cast<char>(Tag(field, kVarint));
  return internal::WriteVarint(p, static_cast<uint64_t>(value));
}

char* WriteCrc(char* p, uint32_t crc32c) {
  *p++ = static_cast<char>(Tag(9, kFixed32));
  std::memcpy(p, &crc32c, 4);
  return p + 4;
}

}  // namespace

namespace internal {

char* WriteBatchHeader(char* p, const BatchHeader& header, size_t payload_bytes) {
  p = WriteInteger(p, 1, header.base_timestamp);
  p = WriteInteger(p, 2, header.max_timestamp);
  p = WriteInteger(p, 3, header.record_count);
  p = WriteInteger(p, 4, header.codec);
  p = WriteInteger(p, 5, header.payload_format);
  p = WriteInteger(p, 6, header.producer_id);
  p = WriteInteger(p, 7, header.producer_epoch);
  p = WriteInteger(p, 8, header.base_sequence);
  if (header.crc32c) p = WriteCrc(p, *header.crc32c);
  p = WriteInteger(p, 10, header.ttl_ms);
  p = WriteInteger(p, 11, header.deliver_at);
  p = WriteInteger(p, 12, header.transaction_id);
  p = WriteInteger(p, 13, header.schema_id);
  p = WriteInteger(p, 14, header.uncompressed_bytes);
  if (payload_bytes == 0) return p;
  *p++ = static_cast<char>(Tag(15, kBytes));
  return WriteVarint(p, payload_bytes);
}

uint32_t BatchHeaderCrc(const BatchHeader& header) {
  LayoutWriter layout;
  layout.Put(header.base_timestamp)
      .Put(header.max_timestamp)
      .Put(header.record_count)
      .Put(header.codec)
      .Put(header.payload_format)
      .Put(header.producer_epoch)
      .Put(header.producer_id)
      .Put(header.base_sequence)
      .Put(header.schema_id)
      .Put(header.ttl_ms)
      .Put(header.deliver_at)
      .Put(header.transaction_id)
      .Put(header.uncompressed_bytes);
  MILLRACE_CHECK_EQ(layout.view().size(), 80);
  return Crc32c(0, layout.view());
}

}  // namespace internal

absl::StatusOr<BatchView> ParseBatch(const absl::Cord& bytes) {
  BatchView batch;
  BatchHeader& header = batch.header;
  CordReader in(bytes);
  // One field a line.
  // clang-format off
  while (const uint32_t tag = in.NextTag()) {
    switch (tag) {
      case Tag(1, kVarint): header.base_timestamp = in.Int64(); break;
      case Tag(2, kVarint): header.max_timestamp = in.Int64(); break;
      case Tag(3, kVarint): header.record_count = in.Int32(); break;
      case Tag(4, kVarint): header.codec = in.Int32(); break;
      case Tag(5, kVarint): header.payload_format = in.Int32(); break;
      case Tag(6, kVarint): header.producer_id = in.Int64(); break;
      case Tag(7, kVarint): header.producer_epoch = in.Int32(); break;
      case Tag(8, kVarint): header.base_sequence = in.Int32(); break;
      case Tag(9, kFixed32): header.crc32c = in.Fixed32(); break;
      case Tag(10, kVarint): header.ttl_ms = in.Int64(); break;
      case Tag(11, kVarint): header.deliver_at = in.Int64(); break;
      case Tag(12, kVarint): header.transaction_id = in.Int64(); break;
      case Tag(13, kVarint): header.schema_id = in.Int32(); break;
      case Tag(14, kVarint): header.uncompressed_bytes = in.Int64(); break;
      case Tag(15, kBytes):
        batch.payload.Clear();  // of repeated scalars the last counts
        in.AppendTo(&batch.payload);
        break;
      default: in.Skip(tag);
    }
  }
  // clang-format on
  if (!in.ok()) return in.status("RecordBatch");
  return batch;
}

uint32_t ComputeBatchCrc(const BatchHeader& header, const absl::Cord& payload) {
  return Crc32c(internal::BatchHeaderCrc(header), payload);
}

absl::Cord SerializeBatch(const BatchHeader& header, const absl::Cord& payload) {
  char bytes[internal::kBatchHeaderBytesMax];
  const char* end = internal::WriteBatchHeader(bytes, header, payload.size());
  absl::Cord batch(absl::string_view(bytes, static_cast<size_t>(end - bytes)));
  batch.Append(payload);
  return batch;
}

absl::Cord AppendCrc(const absl::Cord& batch, uint32_t crc32c) {
  char bytes[5];
  WriteCrc(bytes, crc32c);
  absl::Cord result = batch;
  result.Append(absl::string_view(bytes, sizeof(bytes)));
  return result;
}

absl::StatusOr<int64_t> CountRecords(const absl::Cord& payload) {
  int64_t count = 0;
  CordReader in(payload);
  while (const uint32_t tag = in.NextTag()) {
    if (tag == Tag(1, kBytes)) ++count;
    in.Skip(tag);
  }
  if (!in.ok()) return in.status("Records payload");
  return count;
}

}  // namespace millrace
