// The judge of the kill -9 tests: what was sent, what was acked and where, and what a reader found there.
//
// A record says who it is: its key and value follow from the number of its writer and its place in what that writer sent. So a
// reader can tell every record, whole or damaged, doubled, moved or lost, from nothing but the ledger.
//
//     ledger.Sent(writer);                       // before each Send
//     ledger.Acked({writer, sequence}, metadata); // from the delivery callback
//     Reading reading(ledger);
//     reading.Take(record);                       // each record, in the order read
//     EXPECT_EQ(reading.Verdict(), "");
//
// RecordLedger is thread-safe; a Reading belongs to one thread.
#pragma once

#include <millrace/record.h>

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace millrace {

struct RecordId {
  int32_t writer = 0;
  int64_t sequence = 0;  // from 0, in the order sent
  auto operator<=>(const RecordId&) const = default;
};

std::string KeyOf(RecordId id);
std::string ValueOf(RecordId id);

using Place = std::pair<std::string, int32_t>;  // topic, partition

class RecordLedger {
 public:
  void Sent(int32_t writer);
  void Acked(RecordId id, const std::string& topic, const RecordMetadata& metadata);
  void Failed(RecordId id, std::string why);

  // Waits until `count` more records were acked, or one failed.
  void WaitForAcks(int64_t count);

  int64_t sent() const;
  int64_t acked() const;
  // What went wrong while writing; empty if nothing.
  std::string Failures() const;

 private:
  friend class Reading;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int32_t, int64_t> sent_;  // writer -> records
  std::map<Place, std::vector<std::pair<int64_t, RecordId>>>
      acked_;  // offset and record; offset -1: not known to the broker
  int64_t acked_count_ = 0;
  std::string failures_;
};

// One pass over all partitions from their beginning.
class Reading {
 public:
  explicit Reading(const RecordLedger& ledger) : ledger_(ledger) {}

  void Take(const ConsumerRecord& record);
  int64_t records() const { return records_; }

  // What does not agree: empty if every record sent was found once, whole, in order per key, at the offset that its ack named,
  // and offsets have no hole. Call when everything was read.
  std::string Verdict() const;

 private:
  const RecordLedger& ledger_;
  std::map<Place, std::vector<RecordId>> found_;  // by offset
  std::map<std::string, int64_t> last_sequence_;  // by key: records of one key have one writer
  int64_t records_ = 0;
  std::string first_fault_;
};

}  // namespace millrace
