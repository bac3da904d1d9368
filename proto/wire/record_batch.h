// The record batch: header, checksum, payload. Format: proto/millrace/v1/record.proto.
//
// Written by hand instead of generated so that a batch is never copied to be looked at: headers are read out of the buffer that
// the transport delivered, payloads stay absl::Cords that share those buffers.
//
//     BatchBuilder builder;
//     builder.Add({.timestamp = now, .key = "N14228", .value = json});
//     absl::Cord bytes = builder.Finish({.codec = Codec::kLz4, .producer_id = 7, .base_sequence = 0});
//
//     absl::StatusOr<BatchView> batch = ParseBatch(bytes);
//     RecordReader reader(*batch);
//     while (reader.Next()) Use(reader.record());
//     if (!reader.status().ok()) ...
//
// Not thread-safe; no global state. Errors are absl::Status: kInvalidArgument for bytes that are no batch,
// kDataLoss for a wrong checksum or count, kUnimplemented for unknown codecs or payload formats.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "proto/wire/write_buffer.h"

namespace millrace {

enum class Codec : int32_t { kNone = 0, kLz4 = 3, kZstd = 4 };

// From one producer epoch that InitProducer gives out to the next; in between a producer may raise it by itself.
inline constexpr int32_t kEpochsRaised = 1 << 16;

// The fields of a RecordBatch besides its payload. Names and meaning as in record.proto.
struct BatchHeader {
  int64_t base_timestamp = 0;
  int64_t max_timestamp = 0;
  int32_t record_count = 0;
  int32_t codec = 0;  // not an enum: what came from outside may be any number
  int32_t payload_format = 0;
  int64_t producer_id = 0;
  int32_t producer_epoch = 0;
  int32_t base_sequence = 0;
  std::optional<uint32_t> crc32c;
  int64_t ttl_ms = 0;
  int64_t deliver_at = 0;
  int64_t transaction_id = 0;
  int32_t schema_id = 0;
  int64_t uncompressed_bytes = 0;

  // The time that offsets are found by: max_timestamp, or base_timestamp where that is unset.
  int64_t EffectiveMaxTimestamp() const { return max_timestamp != 0 ? max_timestamp : base_timestamp; }
};

struct BatchView {
  BatchHeader header;
  absl::Cord payload;  // shares the parsed buffer
};

// Reads the fields of a serialized RecordBatch, in any order and with unknown fields between them, as every protobuf parser
// does. Looks at nothing inside the payload and checks no checksum.
absl::StatusOr<BatchView> ParseBatch(const absl::Cord& bytes);

// The checksum over the fixed layout in record.proto. `header.crc32c` is ignored.
uint32_t ComputeBatchCrc(const BatchHeader& header, const absl::Cord& payload);

// Serialized RecordBatch; `payload` is shared, not copied.
absl::Cord SerializeBatch(const BatchHeader& header, const absl::Cord& payload);

// Adds a crc32c to a serialized batch that has none, keeping all its other bytes.
absl::Cord AppendCrc(const absl::Cord& batch, uint32_t crc32c);

// Walks the tags of an uncompressed payload, without looking into records: the number of records in it, or kInvalidArgument
// when it is not a well-formed `Records`.
absl::StatusOr<int64_t> CountRecords(const absl::Cord& payload);

struct HeaderView {
  std::string_view key;
  std::optional<std::string_view> value;
};

// A record to be added or just read. Views point into memory of somebody else.
struct RecordView {
  int64_t timestamp = 0;  // absolute, milliseconds
  std::optional<std::string_view> key;
  std::optional<std::string_view> value;
  std::vector<HeaderView> headers;
};

// Decompressed payload. `size_max` bounds the memory it may take: kResourceExhausted above.
// `uncompressed_bytes` is the sender's word: 0 where it gave none; otherwise kDataLoss unless it is the true size.
// kDataLoss for bytes that do not decompress.
absl::StatusOr<absl::Cord> Decompress(int32_t codec, const absl::Cord& payload, int64_t uncompressed_bytes,
                                      size_t size_max);

// Compressed payload, in one chunk; Codec::kNone returns it as it is.
absl::Cord Compress(Codec codec, const absl::Cord& payload);

// Collects records into one payload buffer. One allocation a batch when `reserve` is right; adding a record costs one
// encoding of it in place. An uncompressed batch is handed out in that buffer, as a Cord of one chunk.
class BatchBuilder {
 public:
  // reserve: bytes to allocate at the first record.
  explicit BatchBuilder(size_t reserve = 0);

  // Timestamps are stored relative to the first record's. Header keys must be UTF-8 (see utf8.h): stock parsers refuse the
  // whole batch otherwise.
  void Add(const RecordView& record);

  // Bytes Add(record) would add at most.
  static size_t SizeBound(const RecordView& record);

  int32_t record_count() const { return record_count_; }
  // Before compression.
  size_t payload_bytes() const { return empty() ? 0 : buffer_.size() - kHeaderRoomBytes; }
  bool empty() const { return record_count_ == 0; }

  struct Options {
    Codec codec = Codec::kNone;
    int64_t producer_id = 0;
    int32_t producer_epoch = 0;
    int32_t base_sequence = 0;
  };
  // The serialized batch with checksum; at least one record must have been added. Payloads that compression would not make
  // smaller are left uncompressed. The builder is empty afterwards and keeps its buffer when the batch filled little of it.
  absl::Cord Finish(const Options& options);

 private:
  // Left free before the payload, so that the header can be put there once it is known.
  static constexpr size_t kHeaderRoomBytes = 192;

  size_t reserve_;
  internal::WriteBuffer buffer_;
  int32_t record_count_ = 0;
  int64_t base_timestamp_ = 0;
  int64_t max_timestamp_ = 0;
};

// Iterates over the records of a batch, decompressing if need be. Views returned by record() are valid until the reader is
// destroyed. Checks the checksum first (unless told not to) and the count last: status() is kDataLoss when either is wrong.
class RecordReader {
 public:
  struct Options {
    bool check_crc = true;
    size_t size_max = 256u << 20;  // of the decompressed payload
  };
  explicit RecordReader(const BatchView& batch) : RecordReader(batch, Options{}) {}
  RecordReader(const BatchView& batch, Options options);
  RecordReader(const RecordReader&) = delete;  // views point into the members
  RecordReader& operator=(const RecordReader&) = delete;

  // False at the end or on an error: see status().
  bool Next();
  const RecordView& record() const { return record_; }
  // Place of record() in the batch: its offset is base_offset + index().
  int32_t index() const { return index_; }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status Open(const BatchView& batch, const Options& options);
  bool ReadRecord(const char* p, const char* end);
  bool Fail(absl::Status status);

  const int64_t base_timestamp_;
  const int32_t record_count_;
  absl::Cord payload_;          // decompressed
  internal::WriteBuffer flat_;  // the payload in one piece when the Cord is not
  const char* p_ = nullptr;     // p_ <= end_: what was not read yet
  const char* end_ = nullptr;
  RecordView record_;
  int32_t index_ = -1;
  absl::Status status_;
};

}  // namespace millrace
