#include "server/producer_state.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>

namespace millrace::server {
namespace {

constexpr std::string_view kKeyPrefix = "producer/";

// Sequences wrap from 2^31 - 1 to 0.
int32_t Advance(int32_t sequence, int64_t by) {
  return static_cast<int32_t>((static_cast<int64_t>(sequence) + by) & std::numeric_limits<int32_t>::max());
}

void Put(std::string& out, int64_t value) {
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
}

int64_t Take(std::string_view& in) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value |= static_cast<uint64_t>(static_cast<uint8_t>(in[i])) << (8 * i);
  in.remove_prefix(8);
  return static_cast<int64_t>(value);
}

}  // namespace

ProducerTable::Verdict ProducerTable::Check(const BatchHeader& header) const {
  Verdict verdict;
  auto it = producers_.find(header.producer_id);
  if (it == producers_.end()) {
    if (header.base_sequence != 0) verdict.kind = Verdict::kUnknown;
    return verdict;
  }
  const Producer& producer = it->second;
  verdict.current_epoch = producer.epoch;
  if (header.producer_epoch < producer.epoch) {
    verdict.kind = Verdict::kFenced;
    return verdict;
  }
  if (header.producer_epoch > producer.epoch) {
    if (header.base_sequence != 0) verdict.kind = Verdict::kOutOfOrder;
    return verdict;
  }
  verdict.expected_sequence = Advance(producer.batches.back().last_sequence, 1);
  if (header.base_sequence == verdict.expected_sequence) return verdict;
  const int32_t last = Advance(header.base_sequence, header.record_count - 1);
  for (const Batch& batch : producer.batches) {
    if (batch.base_sequence == header.base_sequence && batch.last_sequence == last) {
      verdict.kind = Verdict::kDuplicate;
      verdict.base_offset = batch.base_offset;
      verdict.append_time = batch.append_time;
      return verdict;
    }
  }
  // Behind the window in sequence arithmetic: it was stored once, but where is not known any more.
  const int64_t ahead = Advance(header.base_sequence, -static_cast<int64_t>(verdict.expected_sequence));
  verdict.kind = ahead > std::numeric_limits<int32_t>::max() / 2 ? Verdict::kOldDuplicate : Verdict::kOutOfOrder;
  return verdict;
}

void ProducerTable::Update(const BatchHeader& header, raft::Offset base_offset, int64_t append_time) {
  Producer& producer = producers_[header.producer_id];
  if (header.producer_epoch != producer.epoch) {
    producer.epoch = header.producer_epoch;
    producer.batches.clear();
  }
  producer.batches.push_back(
      {header.base_sequence, Advance(header.base_sequence, header.record_count - 1), base_offset, append_time});
  if (producer.batches.size() > kBatchesKept) producer.batches.pop_front();
  changed_.insert(header.producer_id);
  if (producers_.size() > kProducersMax) ForgetSilent();
}

// A tenth at a time, so that the search for the most silent is paid rarely.
void ProducerTable::ForgetSilent() {
  std::vector<std::pair<int64_t, int64_t>> by_time;
  by_time.reserve(producers_.size());
  for (const auto& [id, producer] : producers_) by_time.emplace_back(producer.batches.back().append_time, id);
  const size_t count = kProducersMax / 10;
  std::nth_element(by_time.begin(), by_time.begin() + count, by_time.end());
  for (size_t i = 0; i < count; ++i) {
    producers_.erase(by_time[i].second);
    changed_.insert(by_time[i].second);
  }
}

std::vector<std::pair<std::string, std::string>> ProducerTable::TakeChanges() {
  std::vector<std::pair<std::string, std::string>> changes;
  changes.reserve(changed_.size());
  for (int64_t id : changed_) {
    std::string value;
    if (auto it = producers_.find(id); it != producers_.end()) {
      Put(value, it->second.epoch);
      for (const Batch& batch : it->second.batches) {
        Put(value, batch.base_sequence);
        Put(value, batch.last_sequence);
        Put(value, batch.base_offset.value());
        Put(value, batch.append_time);
      }
    }
    changes.emplace_back(std::string(kKeyPrefix) + std::to_string(id), std::move(value));
  }
  changed_.clear();
  return changes;
}

bool ProducerTable::IsKey(std::string_view key) { return key.substr(0, kKeyPrefix.size()) == kKeyPrefix; }

bool ProducerTable::Load(std::string_view key, std::string_view value) {
  if (!IsKey(key) || value.size() < 40 || (value.size() - 8) % 32 != 0) return false;
  int64_t id = 0;
  const char* end = key.data() + key.size();
  if (std::from_chars(key.data() + kKeyPrefix.size(), end, id).ptr != end) return false;
  Producer producer;
  producer.epoch = static_cast<int32_t>(Take(value));
  while (!value.empty()) {
    Batch batch;
    batch.base_sequence = static_cast<int32_t>(Take(value));
    batch.last_sequence = static_cast<int32_t>(Take(value));
    batch.base_offset = raft::Offset(Take(value));
    batch.append_time = Take(value);
    producer.batches.push_back(batch);
  }
  producers_[id] = std::move(producer);
  return true;
}

}  // namespace millrace::server
