#include <algorithm>

#include "proto/wire/batch_header.h"
#include "proto/wire/crc32c.h"
#include "proto/wire/record_batch.h"
#include "proto/wire/varint.h"

namespace millrace {

using internal::BytesFieldBytes;
using internal::kBytes;
using internal::kTagBytes;
using internal::kVarint;
using internal::kVarintBytesMax;
using internal::Tag;
using internal::VarintBytes;
using internal::WriteBytes;
using internal::WriteVarint;

namespace {

// A record that is written where no cache has the memory waits for each of its lines; the next one is taken to be as large.
constexpr size_t kPrefetchBytesMax = 2048;

size_t HeaderBytes(const HeaderView& header) {
  return (header.key.empty() ? 0 : BytesFieldBytes(header.key.size())) +
         (header.value ? BytesFieldBytes(header.value->size()) : 0);
}

char* WriteHeader(char* p, const HeaderView& header) {
  *p++ = static_cast<char>(Tag(4, kBytes));
  p = WriteVarint(p, HeaderBytes(header));
  if (!header.key.empty()) p = WriteBytes(p, 1, header.key);
  if (header.value) p = WriteBytes(p, 2, *header.value);
  return p;
}

// Of the fields of a Record, without its own tag and length.
size_t RecordBytes(const RecordView& record, uint64_t timestamp_delta) {
  size_t bytes = timestamp_delta == 0 ? 0 : kTagBytes + VarintBytes(timestamp_delta);
  if (record.key) bytes += BytesFieldBytes(record.key->size());
  if (record.value) bytes += BytesFieldBytes(record.value->size());
  for (const HeaderView& header : record.headers) bytes += BytesFieldBytes(HeaderBytes(header));
  return bytes;
}

char* WriteRecord(char* p, const RecordView& record, uint64_t timestamp_delta, size_t record_bytes) {
  *p++ = static_cast<char>(Tag(1, kBytes));
  p = WriteVarint(p, record_bytes);
  if (timestamp_delta != 0) {
    *p++ = static_cast<char>(Tag(1, kVarint));
    p = WriteVarint(p, timestamp_delta);
  }
  if (record.key) p = WriteBytes(p, 2, *record.key);
  if (record.value) p = WriteBytes(p, 3, *record.value);
  for (const HeaderView& header : record.headers) p = WriteHeader(p, header);
  return p;
}

}  // namespace

BatchBuilder::BatchBuilder(size_t reserve) : reserve_(reserve) {
  static_assert(kHeaderRoomBytes >= internal::kBatchHeaderBytesMax);
}

size_t BatchBuilder::SizeBound(const RecordView& record) {
  return kTagBytes + kVarintBytesMax + RecordBytes(record, UINT64_MAX);
}

void BatchBuilder::Add(const RecordView& record) {
  if (record_count_ == 0) {
    buffer_.Reserve(kHeaderRoomBytes + reserve_);
    buffer_.SetEnd(buffer_.data() + kHeaderRoomBytes);
    base_timestamp_ = max_timestamp_ = record.timestamp;
  }
  // Unsigned, so that times at the ends of the range wrap here and back again in the reader.
  const uint64_t delta = internal::ZigZag(
      static_cast<int64_t>(static_cast<uint64_t>(record.timestamp) - static_cast<uint64_t>(base_timestamp_)));
  const size_t record_bytes = RecordBytes(record, delta);
  char* p = buffer_.Reserve(BytesFieldBytes(record_bytes));
  buffer_.SetEnd(WriteRecord(p, record, delta, record_bytes));
  max_timestamp_ = std::max(max_timestamp_, record.timestamp);
  ++record_count_;
  buffer_.PrefetchEnd(std::min(BytesFieldBytes(record_bytes), kPrefetchBytesMax));
}

absl::Cord BatchBuilder::Finish(const Options& options) {
  MILLRACE_CHECK(!empty()) << "a record batch has at least one record";
  BatchHeader header{.base_timestamp = base_timestamp_,
                     .max_timestamp = max_timestamp_,
                     .record_count = record_count_,
                     .payload_format = 1,
                     .producer_id = options.producer_id,
                     .producer_epoch = options.producer_epoch,
                     .base_sequence = options.base_sequence};
  record_count_ = 0;
  const std::string_view payload = buffer_.view().substr(kHeaderRoomBytes);

  if (options.codec != Codec::kNone) {
    // Looks at the buffer while it stays ours; nothing is released.
    absl::Cord compressed =
        Compress(options.codec, absl::MakeCordFromExternal(absl::string_view(payload.data(), payload.size()), [] {}));
    if (compressed.size() < payload.size()) {
      header.codec = static_cast<int32_t>(options.codec);
      header.uncompressed_bytes = static_cast<int64_t>(payload.size());
      header.crc32c = ComputeBatchCrc(header, compressed);
      buffer_.Clear();
      return SerializeBatch(header, compressed);
    }
  }

  header.crc32c = Crc32c(internal::BatchHeaderCrc(header), payload);
  char bytes[internal::kBatchHeaderBytesMax];
  const size_t header_bytes = static_cast<size_t>(internal::WriteBatchHeader(bytes, header, payload.size()) - bytes);
  const size_t begin = kHeaderRoomBytes - header_bytes;
  std::memcpy(buffer_.data() + begin, bytes, header_bytes);

  if (buffer_.size() < buffer_.capacity() / 2) {
    absl::Cord batch = internal::WriteBuffer::CopyToCord(buffer_.view().substr(begin));
    buffer_.Clear();
    return batch;
  }
  return std::move(buffer_).ToCord(begin);
}

}  // namespace millrace
