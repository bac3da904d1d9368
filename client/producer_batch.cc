#include "client/producer_batch.h"

#include "proto/wire/check.h"

namespace millrace::client {

void ProducerBatch::Compress() {
  record_count_ = builder_.record_count();
  bytes_ = builder_.Finish({.codec = codec_});
}

void ProducerBatch::SetStamp(Stamp stamp) {
  const auto [producer, base_sequence] = stamp;
  std::erase(stamps_, stamp);
  stamps_.push_back(stamp);
  if (!builder_.empty() && codec_ != Codec::kNone) Compress();
  if (!builder_.empty()) {
    record_count_ = builder_.record_count();
    bytes_ =
        builder_.Finish({.producer_id = producer.id, .producer_epoch = producer.epoch, .base_sequence = base_sequence});
    return;
  }
  absl::StatusOr<BatchView> view = ParseBatch(bytes_);
  MILLRACE_CHECK(view.ok()) << "our own batch: " << view.status();
  BatchHeader& header = view->header;
  if (header.producer_id == producer.id && header.producer_epoch == producer.epoch &&
      header.base_sequence == base_sequence) {
    return;
  }
  header.producer_id = producer.id;
  header.producer_epoch = producer.epoch;
  header.base_sequence = base_sequence;
  header.crc32c = ComputeBatchCrc(header, view->payload);
  bytes_ = SerializeBatch(header, view->payload);
}

bool ProducerBatch::Deliver(const absl::StatusOr<RecordMetadata>& stored) {
  if (!callbacks_.empty()) {
    absl::StatusOr<RecordMetadata> result = stored;
    for (Callback& callback : callbacks_) {
      if (stored.ok() && stored->offset >= 0) result->offset = stored->offset + callback.index;
      callback.call(result);
    }
  }
  return static_cast<int32_t>(callbacks_.size()) == record_count();
}

}  // namespace millrace::client
