#include "server/producer_table.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "absl/strings/str_cat.h"
#include "storage/little_endian.h"

namespace millrace::server {
namespace {

constexpr std::string_view kKeyPrefix = "producer/";
constexpr uint8_t kVersion = 1;
constexpr size_t kProducerBytes = 1 + 4;
constexpr size_t kBatchBytes = 4 + 4 + 8 + 8;
// How often, in append time, those who fell silent are looked for.
constexpr int64_t kSilenceCheckMs = 3600 * 1000;

// Sequences wrap from 2^31 - 1 to 0.
int32_t Advance(int32_t sequence, int64_t by) {
  return static_cast<int32_t>((static_cast<int64_t>(sequence) + by) & std::numeric_limits<int32_t>::max());
}

}  // namespace

ProducerTable::Verdict ProducerTable::Check(const BatchHeader& header) const {
  Verdict verdict;
  auto it = producers_.find(header.producer_id);
  if (it == producers_.end()) {
    if (header.base_sequence != 0) verdict.kind = Verdict::kUnknown;
    verdict.first = true;
    return verdict;
  }
  const Producer& producer = it->second;
  verdict.current_epoch = producer.epoch;
  verdict.expected_sequence = Advance(producer.last().last_sequence, 1);
  if (header.producer_epoch < producer.epoch) {
    verdict.kind = Verdict::kFenced;
    return verdict;
  }
  if (header.producer_epoch > producer.epoch) {
    const bool given_out = header.producer_epoch / kEpochsRaised != producer.epoch / kEpochsRaised;
    if (header.base_sequence != (given_out ? 0 : verdict.expected_sequence)) verdict.kind = Verdict::kOutOfOrder;
    return verdict;
  }
  if (header.base_sequence == verdict.expected_sequence) return verdict;
  const int32_t last = Advance(header.base_sequence, header.record_count - 1);
  for (const Batch& batch : producer.batches()) {
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

void ProducerTable::Producer::Add(const Batch& batch) {
  if (count_ == kBatchesKept) {
    std::move(batches_.begin() + 1, batches_.end(), batches_.begin());
    --count_;
  }
  batches_[count_++] = batch;
}

void ProducerTable::Update(const BatchHeader& header, raft::Offset base_offset, int64_t append_time) {
  Producer& producer = producers_[header.producer_id];
  if (header.producer_epoch != producer.epoch) {
    producer.epoch = header.producer_epoch;
    producer.Clear();
  }
  producer.Add(
      {header.base_sequence, Advance(header.base_sequence, header.record_count - 1), base_offset, append_time});
  changed_.insert(header.producer_id);
  if (append_time - silence_checked_ >= kSilenceCheckMs) ForgetSilent(append_time);
  if (producers_.size() > kProducersMax) ForgetMostSilent();
}

void ProducerTable::ForgetSilent(int64_t now) {
  silence_checked_ = now;
  std::erase_if(producers_, [this, now](const auto& entry) {
    const bool silent = now - entry.second.last().append_time > kSilenceMaxMs;
    if (silent) changed_.insert(entry.first);
    return silent;
  });
}

// A tenth at a time, so that the search for the most silent is paid rarely.
void ProducerTable::ForgetMostSilent() {
  std::vector<std::pair<int64_t, int64_t>> by_time;
  by_time.reserve(producers_.size());
  for (const auto& [id, producer] : producers_) by_time.emplace_back(producer.last().append_time, id);
  const size_t count = kProducersMax / 10;
  std::nth_element(by_time.begin(), by_time.begin() + count, by_time.end());
  for (size_t i = 0; i < count; ++i) {
    producers_.erase(by_time[i].second);
    changed_.insert(by_time[i].second);
  }
}

void ProducerTable::CopyFrom(const ProducerTable& other, int64_t producer_id) {
  const auto known = other.producers_.find(producer_id);
  if (known != other.producers_.end()) producers_[producer_id] = known->second;
}

bool ProducerTable::Covers(int64_t producer_id, raft::Offset base_offset) const {
  const auto known = producers_.find(producer_id);
  return known != producers_.end() && base_offset <= known->second.last().base_offset;
}

std::string ProducerTable::KeyOf(int64_t id) { return std::string(kKeyPrefix) + std::to_string(id); }

std::string ProducerTable::Producer::Save() const {
  std::string value(kProducerBytes + batches().size() * kBatchBytes, '\0');
  storage::LittleEndianWriter out(value.data());
  out.Put<uint8_t>(kVersion).Put<int32_t>(epoch);
  for (const Batch& batch : batches()) {
    out.Put<int32_t>(batch.base_sequence)
        .Put<int32_t>(batch.last_sequence)
        .Put<int64_t>(batch.base_offset.value())
        .Put<int64_t>(batch.append_time);
  }
  return value;
}

std::vector<std::pair<std::string, std::string>> ProducerTable::All() const {
  std::vector<std::pair<std::string, std::string>> all;
  all.reserve(producers_.size());
  for (const auto& [id, producer] : producers_) all.emplace_back(KeyOf(id), producer.Save());
  return all;
}

std::vector<std::pair<std::string, std::string>> ProducerTable::TakeChanges() {
  std::vector<std::pair<std::string, std::string>> changes;
  changes.reserve(changed_.size());
  for (int64_t id : changed_) {
    const auto it = producers_.find(id);
    changes.emplace_back(KeyOf(id), it == producers_.end() ? std::string() : it->second.Save());
  }
  changed_.clear();
  return changes;
}

bool ProducerTable::IsKey(std::string_view key) { return key.starts_with(kKeyPrefix); }

absl::Status ProducerTable::Load(std::string_view key, std::string_view value) {
  int64_t id = 0;
  const char* end = key.data() + key.size();
  const bool named = IsKey(key) && std::from_chars(key.data() + kKeyPrefix.size(), end, id).ptr == end;
  storage::LittleEndianReader in(value);
  const auto version = in.Get<uint8_t>();
  Producer producer;
  producer.epoch = in.Get<int32_t>();
  const size_t batches = (value.size() - std::min(value.size(), kProducerBytes)) / kBatchBytes;
  if (!named || version != kVersion || batches < 1 || batches > kBatchesKept) {
    return absl::DataLossError(absl::StrCat("a saved producer of version ", version, " and ", value.size(),
                                            " bytes is damaged, or of a newer release"));
  }
  for (size_t i = 0; i < batches; ++i) {
    Batch batch;
    batch.base_sequence = in.Get<int32_t>();
    batch.last_sequence = in.Get<int32_t>();
    batch.base_offset = raft::Offset(in.Get<int64_t>());
    batch.append_time = in.Get<int64_t>();
    producer.Add(batch);
  }
  if (!in.complete()) return absl::DataLossError(absl::StrCat("a saved producer has ", value.size(), " bytes"));
  producers_[id] = producer;
  return absl::OkStatus();
}

}  // namespace millrace::server
