#include "tests/integration/record_ledger.h"

#include <sstream>
#include <string_view>

namespace millrace {
namespace {

constexpr int64_t kKeysOfWriter = 50;
constexpr size_t kFillerBytesMax = 800;

std::string Describe(RecordId id) {
  std::ostringstream out;
  out << "record " << id.sequence << " of writer " << id.writer;
  return out.str();
}

// A key names its writer, so two writers never share one.
bool ParseValue(std::string_view value, RecordId* id) {
  std::istringstream in{std::string(value)};
  char colon = 0;
  return static_cast<bool>(in >> id->writer >> colon >> id->sequence) && value == ValueOf(*id);
}

}  // namespace

std::string KeyOf(RecordId id) { return std::to_string(id.writer) + "/" + std::to_string(id.sequence % kKeysOfWriter); }

std::string ValueOf(RecordId id) {
  std::string value = std::to_string(id.writer) + ":" + std::to_string(id.sequence) + ":";
  // Lengths and bytes that differ from record to record and follow from the id alone.
  const uint64_t mixed = (static_cast<uint64_t>(id.sequence) * 4 + id.writer + 1) * 0x9E3779B97F4A7C15;
  value.append(mixed % kFillerBytesMax, static_cast<char>('a' + mixed % 26));
  return value;
}

void RecordLedger::Sent(int32_t writer) {
  std::lock_guard lock(mutex_);
  ++sent_[writer];
}

void RecordLedger::Acked(RecordId id, const std::string& topic, const RecordMetadata& metadata) {
  std::lock_guard lock(mutex_);
  acked_[{topic, metadata.partition}].emplace_back(metadata.offset, id);
  ++acked_count_;
  changed_.notify_all();
}

void RecordLedger::Failed(RecordId id, std::string why) {
  std::lock_guard lock(mutex_);
  if (failures_.empty()) failures_ = Describe(id) + ": " + why;
  changed_.notify_all();
}

void RecordLedger::WaitForAcks(int64_t count) {
  std::unique_lock lock(mutex_);
  const int64_t target = acked_count_ + count;
  changed_.wait(lock, [&] { return acked_count_ >= target || !failures_.empty(); });
}

int64_t RecordLedger::sent() const {
  std::lock_guard lock(mutex_);
  int64_t sum = 0;
  for (const auto& [writer, count] : sent_) sum += count;
  return sum;
}

int64_t RecordLedger::acked() const {
  std::lock_guard lock(mutex_);
  return acked_count_;
}

std::string RecordLedger::Failures() const {
  std::lock_guard lock(mutex_);
  return failures_;
}

void Reading::Take(const ConsumerRecord& record) {
  ++records_;
  std::ostringstream fault;
  std::vector<RecordId>& found = found_[{std::string(record.topic), record.partition}];
  RecordId id;
  if (record.offset != static_cast<int64_t>(found.size())) {
    fault << "after offset " << static_cast<int64_t>(found.size()) - 1 << " comes " << record.offset;
  } else if (!record.value || !ParseValue(*record.value, &id)) {
    fault << "offset " << record.offset << " holds what nobody sent: " << record.value.value_or("null").substr(0, 40);
  } else if (record.key != KeyOf(id)) {
    fault << "offset " << record.offset << ": " << Describe(id) << " has another record's key";
  } else {
    auto [last, first_of_key] = last_sequence_.try_emplace(KeyOf(id), -1);
    if (id.sequence <= last->second) {
      fault << "offset " << record.offset << ": " << Describe(id) << " comes after record " << last->second
            << " of its key";
    }
    last->second = id.sequence;
  }
  found.push_back(id);
  if (first_fault_.empty() && !fault.str().empty()) {
    first_fault_ = std::string(record.topic) + "-" + std::to_string(record.partition) + ": " + fault.str();
  }
}

std::string Reading::Verdict() const {
  if (!first_fault_.empty()) return first_fault_;
  std::lock_guard lock(ledger_.mutex_);
  for (const auto& [place, acks] : ledger_.acked_) {
    const auto found = found_.find(place);
    for (const auto& [offset, id] : acks) {
      if (offset < 0) continue;
      const bool there =
          found != found_.end() && offset < static_cast<int64_t>(found->second.size()) && found->second[offset] == id;
      if (!there) {
        return place.first + "-" + std::to_string(place.second) + ": " + Describe(id) + ", acked at offset " +
               std::to_string(offset) + ", is not there";
      }
    }
  }
  // Each record found is whole and none comes twice (above), so counts tell the rest.
  int64_t sent = 0;
  for (const auto& [writer, count] : ledger_.sent_) sent += count;
  if (records_ != sent) return std::to_string(records_) + " records found, " + std::to_string(sent) + " sent and acked";
  return "";
}

}  // namespace millrace
