// A batch of one partition on its way from Send() to its ack.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "client/control.h"
#include "millrace/producer.h"
#include "millrace/record.h"
#include "proto/wire/record_batch.h"

namespace millrace::client {

struct PartitionQueue;

class ProducerBatch {
 public:
  // reserve: bytes to allocate at once for records.
  ProducerBatch(PartitionQueue* partition, Codec codec, std::chrono::nanoseconds created, uint64_t flush_epoch,
                size_t reserve)
      : partition(partition), created(created), flush_epoch(flush_epoch), codec_(codec), builder_(reserve) {}

  void Add(const RecordView& record, DeliveryCallback* callback) {
    if (callback != nullptr && *callback) callbacks_.push_back({builder_.record_count(), std::move(*callback)});
    builder_.Add(record);
  }

  // While records are added.
  int64_t payload_bytes() const { return static_cast<int64_t>(builder_.payload_bytes()); }

  // No more records. Takes long: not under a lock. SetStamp() does it where it was not done.
  void Compress();

  // Its place in what the producer sends to the partition.
  struct Stamp {
    control::ProducerIdentity producer;
    int32_t base_sequence = 0;
    bool operator==(const Stamp&) const = default;
  };
  // Gives the batch its place and makes its bytes. May be called again, with another one.
  void SetStamp(Stamp stamp);

  int32_t record_count() const { return record_count_ != 0 ? record_count_ : builder_.record_count(); }
  const absl::Cord& bytes() const { return bytes_; }            // after SetStamp
  const std::vector<Stamp>& stamps() const { return stamps_; }  // all that it had, the present one last

  // Calls the callbacks: `stored` with the offset of the first record, or an error. True if every record had a
  // callback.
  bool Deliver(const absl::StatusOr<RecordMetadata>& stored);

  PartitionQueue* const partition;
  const std::chrono::nanoseconds created;  // first record
  const uint64_t flush_epoch;              // see RecordAccumulator

  // Guarded by the accumulator's mutex until the batch is taken.
  int64_t buffered_bytes = 0;  // counted in buffer.memory
  bool ready = false;          // full, and compressed if it is to be

  // I/O thread only.
  bool in_flight = false;
  bool maybe_stored = false;  // it was sent, and no answer has ruled out that it was stored
  int attempts = 0;

 private:
  struct Callback {
    int32_t index;  // of the record
    DeliveryCallback call;
  };

  const Codec codec_;
  BatchBuilder builder_;
  std::vector<Callback> callbacks_;
  int32_t record_count_ = 0;  // once the builder is empty
  absl::Cord bytes_;
  std::vector<Stamp> stamps_;
};

}  // namespace millrace::client
