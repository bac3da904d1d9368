// What clients sent, were told and saw, held against what they were promised. The first thing that contradicts it is kept.
//
//     RecordId id = ledger.Send(producer, place);        // its text is the record's value
//     ledger.OnAcked(id, offset); ledger.OnFailed(id, may_have_happened);
//     ledger.OnRead(place, offset, value);
//     ledger.CheckEnd();
//
// Promises: an offset has one value for ever, whoever tells of it; a value has one offset; what failed for sure is nowhere; what was
// sent after an ack comes behind it; a producer's records are in its order; behind one of a producer with a name there are none of those
// that had the name before; what was acked is read, unless it was trimmed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace::sim {

using RecordId = int64_t;

// A partition of a topic as it is called. Of a topic that is made anew `life` tells which one.
struct Place {
  std::string topic;
  int32_t partition = 0;

  auto operator<=>(const Place&) const = default;
};

class Ledger {
 public:
  // Producers from here on have one name, one after the other.
  static constexpr int kFirstNamed = 100;

  explicit Ledger(int value_bytes) : value_bytes_(value_bytes) {}

  RecordId Send(int producer, const Place& place);
  std::string ValueOf(RecordId id) const;
  void OnAcked(RecordId id, int64_t offset);
  void OnFailed(RecordId id, bool may_have_happened);
  // Gives the record that it is; -1: none.
  RecordId OnRead(const Place& place, int64_t offset, std::string_view value);
  // The record that this offset is known to have; -1: none.
  RecordId At(const Place& place, int64_t offset) const;
  int ProducerOf(RecordId id) const { return records_[static_cast<size_t>(id)].producer; }
  // Somebody was told that there is nothing between the two any more.
  void OnGap(const Place& place, int64_t from, int64_t to);
  // Whatever is below may be gone.
  void MayTrim(const Place& place, int64_t before);
  void MayTrimAll(const Place& place) { places_[place].trims_by_itself = true; }
  // Of a topic that is deleted now and then: offsets begin anew, and acked records go.
  void MayVanish(const std::string& topic) { vanishing_.push_back(topic); }
  bool MayVanish(const Place& place) const;

  // How far a partition is known to go.
  int64_t end(const Place& place) const;
  int64_t may_be_trimmed(const Place& place) const;
  size_t unanswered() const { return unanswered_; }
  uint64_t acked() const { return acked_; }
  // Whose delivery failed, and who were stored all the same.
  uint64_t unknown_stored() const { return unknown_stored_; }
  std::vector<Place> places() const;

  // `log_starts`: where each partition begins at the end, and everything from there on was read again.
  void CheckEnd(const std::map<Place, int64_t>& log_starts);

  const std::string& violation() const { return violation_; }
  void Violate(std::string text);

 private:
  enum class State : uint8_t { kSent, kAcked, kFailed, kUnknown };
  struct Record {
    int producer = 0;
    Place place;
    State state = State::kSent;
    int64_t offset = -1;
    int64_t after = 0;  // offsets below were taken when it was sent
  };
  struct Log {
    std::vector<RecordId> truth;  // by offset; -1: not known
    int64_t may_be_trimmed = 0;
    bool trims_by_itself = false;
  };

  void Learn(RecordId id, int64_t offset, const char* how);
  std::string Describe(RecordId id) const;

  const int value_bytes_;
  std::vector<Record> records_;
  std::map<Place, Log> places_;
  std::vector<std::string> vanishing_;
  size_t unanswered_ = 0;
  uint64_t acked_ = 0;
  uint64_t unknown_stored_ = 0;
  std::string violation_;
};

}  // namespace millrace::sim
