// What a partition remembers of its idempotent producers: for each producer id its epoch and its last five batches. A batch
// is accepted when it continues the sequence, answered again when it is one of those five, refused otherwise.
// (Apache Kafka KIP-98; the window of five allows five batches in flight.)
//
//     ProducerTable::Verdict v = table.Check(header);
//     if (v.kind == ProducerTable::Verdict::kAppend) { ...; table.Update(header, base_offset); }
//
// The table is a function of the log: replaying batch headers in order rebuilds it. So that this need not start at the first
// entry (which retention may have removed), changed producers are saved from time to time beside the log.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "proto/wire/record_batch.h"
#include "raft/types.h"

namespace millrace::server {

class ProducerTable {
 public:
  static constexpr size_t kBatchesKept = 5;
  // Producers remembered; beyond, the one that was silent for longest is forgotten.
  static constexpr size_t kProducersMax = 10'000;

  struct Verdict {
    enum Kind { kAppend, kDuplicate, kOldDuplicate, kOutOfOrder, kFenced, kUnknown };
    Kind kind = kAppend;
    raft::Offset base_offset;  // kDuplicate: where the batch is
    int64_t append_time = 0;   // kDuplicate
    int32_t expected_sequence = 0;
    int32_t current_epoch = 0;
  };

  // header.producer_id != 0.
  Verdict Check(const BatchHeader& header) const;
  void Update(const BatchHeader& header, raft::Offset base_offset, int64_t append_time);

  // Saved form of the producers changed since the last call: (key, value); an empty value: forgotten.
  std::vector<std::pair<std::string, std::string>> TakeChanges();
  bool changed() const { return !changed_.empty(); }
  // False: not a saved producer.
  bool Load(std::string_view key, std::string_view value);
  static bool IsKey(std::string_view key);

  size_t size() const { return producers_.size(); }

 private:
  struct Batch {
    int32_t base_sequence = 0;
    int32_t last_sequence = 0;
    raft::Offset base_offset;
    int64_t append_time = 0;
  };
  struct Producer {
    int32_t epoch = 0;
    std::deque<Batch> batches;  // oldest first
  };

  void ForgetSilent();

  std::unordered_map<int64_t, Producer> producers_;
  std::unordered_set<int64_t> changed_;
};

}  // namespace millrace::server
