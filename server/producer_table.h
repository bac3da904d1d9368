// What a partition remembers of its idempotent producers: for each producer id its epoch and its last five batches. A batch
// is accepted when it continues the sequence, answered again when it is one of those five, refused otherwise.
// (Apache Kafka KIP-98; the window of five allows five batches in flight.)
//
// A higher epoch that the producer raised by itself (record.proto) continues the sequence of the one before: so it is refused
// when something of that one came late, which the producer had given up on, and fences it otherwise. (KIP-360 begins at 0 again
// and checks nothing: what comes late is then stored behind what was sent after it, or twice.)
//
//     ProducerTable::Verdict v = table.Check(header);
//     if (v.kind == ProducerTable::Verdict::kAppend) { ...; table.Update(header, base_offset, append_time); }
//
// The table is a function of the log: replaying batch headers in order rebuilds it. So that this need not start at the first
// entry (which retention may have removed), changed producers are saved from time to time beside the log.
//
// Memory: about 200 bytes for each producer of a partition. Bounded by kProducersMax, and by time: who was silent for a day
// of append time is forgotten.
//
// A saved producer: version (1 byte, 1), epoch (4), then for each batch, oldest first, base sequence (4), last sequence (4),
// base offset (8), append time (8); integers little-endian. Its key is "producer/" and the id in decimal.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "proto/wire/record_batch.h"
#include "raft/types.h"

namespace millrace::server {

class ProducerTable {
 public:
  static constexpr size_t kBatchesKept = 5;
  // Producers remembered; beyond, the one that was silent for longest is forgotten.
  static constexpr size_t kProducersMax = 10'000;
  static constexpr int64_t kSilenceMaxMs = 24 * 3600 * 1000;

  struct Verdict {
    enum Kind { kAppend, kDuplicate, kOldDuplicate, kOutOfOrder, kFenced, kUnknown };
    Kind kind = kAppend;
    bool first = false;             // kAppend: nothing was known of this producer
    raft::Offset base_offset;       // kDuplicate: where the batch is
    int64_t append_time = 0;        // kDuplicate
    int32_t expected_sequence = 0;  // of the epoch that is in use
    int32_t current_epoch = 0;
  };

  // header.producer_id != 0.
  Verdict Check(const BatchHeader& header) const;
  void Update(const BatchHeader& header, raft::Offset base_offset, int64_t append_time);

  // Takes over what another table knows of a producer, if anything.
  void CopyFrom(const ProducerTable& other, int64_t producer_id);
  void Erase(int64_t producer_id) {
    producers_.erase(producer_id);
    changed_.erase(producer_id);
  }
  // Whether the producer's batches up to this offset are in the table.
  bool Covers(int64_t producer_id, raft::Offset base_offset) const;

  // Saved form of all producers, as (key, value).
  std::vector<std::pair<std::string, std::string>> All() const;
  // Saved form of the producers changed since the last call: (key, value); an empty value: forgotten.
  std::vector<std::pair<std::string, std::string>> TakeChanges();
  static bool IsKey(std::string_view key);
  // Of a pair that TakeChanges() gave. kDataLoss: not one.
  absl::Status Load(std::string_view key, std::string_view value);

  size_t size() const { return producers_.size(); }

 private:
  struct Batch {
    int32_t base_sequence = 0;
    int32_t last_sequence = 0;
    raft::Offset base_offset;
    int64_t append_time = 0;
  };
  class Producer {
   public:
    void Add(const Batch& batch);
    void Clear() { count_ = 0; }
    std::span<const Batch> batches() const { return {batches_.data(), count_}; }  // oldest first
    const Batch& last() const { return batches_[count_ - 1]; }
    std::string Save() const;

    int32_t epoch = 0;

   private:
    uint32_t count_ = 0;
    std::array<Batch, kBatchesKept> batches_;
  };

  static std::string KeyOf(int64_t id);
  void ForgetSilent(int64_t now);
  void ForgetMostSilent();

  std::unordered_map<int64_t, Producer> producers_;
  std::unordered_set<int64_t> changed_;
  int64_t silence_checked_ = 0;  // append time
};

}  // namespace millrace::server
