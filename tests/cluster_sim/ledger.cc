#include "tests/cluster_sim/ledger.h"

#include <algorithm>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace millrace::sim {
namespace {

std::string Text(const Place& place) { return absl::StrCat(place.topic, "/", place.partition); }

}  // namespace

void Ledger::Violate(std::string text) {
  if (violation_.empty()) violation_ = std::move(text);
}

std::string Ledger::Describe(RecordId id) const {
  if (id < 0 || id >= static_cast<RecordId>(records_.size())) return absl::StrCat("an unknown record ", id);
  const Record& record = records_[static_cast<size_t>(id)];
  constexpr const char* kStates[] = {"sent", "acked", "failed", "failed, maybe stored"};
  return absl::StrCat("record ", id, " of producer ", record.producer, " to ", Text(record.place), " (",
                      kStates[static_cast<size_t>(record.state)], ", offset ", record.offset, ")");
}

RecordId Ledger::Send(int producer, const Place& place) {
  records_.push_back({.producer = producer, .place = place, .after = end(place)});
  ++unanswered_;
  return static_cast<RecordId>(records_.size()) - 1;
}

// Of different lengths, so that batches and segments are.
std::string Ledger::ValueOf(RecordId id) const {
  std::string value = absl::StrCat(id, " ");
  value.append(static_cast<size_t>(id * 377 % value_bytes_), 'x');
  return value;
}

bool Ledger::MayVanish(const Place& place) const {
  return std::find(vanishing_.begin(), vanishing_.end(), place.topic) != vanishing_.end();
}

void Ledger::OnAcked(RecordId id, int64_t offset) {
  Record& record = records_[static_cast<size_t>(id)];
  if (record.state != State::kSent) return Violate(absl::StrCat("answered twice: ", Describe(id)));
  --unanswered_;
  ++acked_;
  record.state = State::kAcked;
  if (offset >= 0) Learn(id, offset, "acked");  // a repeat of long ago is acked without one
}

void Ledger::OnFailed(RecordId id, bool may_have_happened) {
  Record& record = records_[static_cast<size_t>(id)];
  if (record.state != State::kSent) return Violate(absl::StrCat("answered twice: ", Describe(id)));
  --unanswered_;
  record.state = may_have_happened ? State::kUnknown : State::kFailed;
  if (!may_have_happened && record.offset >= 0) Violate(absl::StrCat("failed for sure, and was read: ", Describe(id)));
}

RecordId Ledger::OnRead(const Place& place, int64_t offset, std::string_view value) {
  const std::string where = absl::StrCat("read at ", Text(place), " ", offset);
  RecordId id = -1;
  if (!absl::SimpleAtoi(std::string(value.substr(0, value.find(' '))), &id) || id < 0 ||
      id >= static_cast<RecordId>(records_.size()) || value != ValueOf(id)) {
    Violate(absl::StrCat(where, ": a value that nobody sent: ", std::string(value)));
    return -1;
  }
  const Record& record = records_[static_cast<size_t>(id)];
  if (record.place != place) Violate(absl::StrCat(where, ": what went elsewhere: ", Describe(id)));
  if (record.state == State::kFailed) Violate(absl::StrCat(where, " although it failed for sure: ", Describe(id)));
  Learn(id, offset, "read");
  return id;
}

void Ledger::Learn(RecordId id, int64_t offset, const char* how) {
  Record& record = records_[static_cast<size_t>(id)];
  if (MayVanish(record.place)) return;
  Log& log = places_[record.place];
  if (log.truth.size() <= static_cast<size_t>(offset)) log.truth.resize(static_cast<size_t>(offset) + 1, -1);
  RecordId& there = log.truth[static_cast<size_t>(offset)];
  if (there >= 0 && there != id) {
    return Violate(absl::StrCat(how, " at ", Text(record.place), " ", offset, ": ", Describe(id), ", where there is ",
                                Describe(there)));
  }
  if (record.offset >= 0 && record.offset != offset) {
    return Violate(absl::StrCat(how, " at ", offset, ", too: ", Describe(id)));
  }
  if (offset < record.after) {
    return Violate(absl::StrCat(how, " at ", offset, ", before what was there when it was sent (", record.after,
                                "): ", Describe(id)));
  }
  if (record.state == State::kUnknown && record.offset < 0) ++unknown_stored_;
  there = id;
  record.offset = offset;
}

RecordId Ledger::At(const Place& place, int64_t offset) const {
  const auto log = places_.find(place);
  if (log == places_.end() || static_cast<size_t>(offset) >= log->second.truth.size()) return -1;
  return log->second.truth[static_cast<size_t>(offset)];
}

void Ledger::OnGap(const Place& place, int64_t from, int64_t to) {
  if (to > may_be_trimmed(place)) {
    Violate(absl::StrCat("a gap at ", Text(place), " from ", from, " to ", to, ", but at most ", may_be_trimmed(place),
                         " were trimmed"));
  }
}

void Ledger::MayTrim(const Place& place, int64_t before) {
  Log& log = places_[place];
  log.may_be_trimmed = std::max(log.may_be_trimmed, before);
}

int64_t Ledger::end(const Place& place) const {
  const auto found = places_.find(place);
  return found == places_.end() ? 0 : static_cast<int64_t>(found->second.truth.size());
}

int64_t Ledger::may_be_trimmed(const Place& place) const {
  const auto found = places_.find(place);
  if (found == places_.end()) return 0;
  return found->second.trims_by_itself ? std::numeric_limits<int64_t>::max() : found->second.may_be_trimmed;
}

std::vector<Place> Ledger::places() const {
  std::vector<Place> places;
  for (const auto& [place, log] : places_) places.push_back(place);
  return places;
}

void Ledger::CheckEnd(const std::map<Place, int64_t>& log_starts) {
  for (RecordId id = 0; id < static_cast<RecordId>(records_.size()); ++id) {
    const Record& record = records_[static_cast<size_t>(id)];
    if (record.state == State::kSent) Violate(absl::StrCat("never answered: ", Describe(id)));
    if (record.state == State::kAcked && record.offset < 0 && !MayVanish(record.place) &&
        may_be_trimmed(record.place) == 0) {
      Violate(absl::StrCat("acked as a repeat, and nowhere: ", Describe(id)));
    }
  }
  for (const auto& [place, log] : places_) {
    const auto start = log_starts.find(place);
    if (start == log_starts.end()) continue;
    if (start->second > may_be_trimmed(place)) {
      Violate(absl::StrCat(Text(place), " begins at ", start->second, ", but at most ", may_be_trimmed(place),
                           " were trimmed"));
    }
    std::map<int, RecordId> last;  // by producer
    RecordId last_named = -1;
    for (size_t offset = 0; offset < log.truth.size(); ++offset) {
      const RecordId id = log.truth[offset];
      if (id < 0) {
        if (static_cast<int64_t>(offset) >= start->second)
          Violate(absl::StrCat("nobody read ", Text(place), " ", offset));
        continue;
      }
      const int producer = records_[static_cast<size_t>(id)].producer;
      if (auto before = last.find(producer); before != last.end() && before->second > id) {
        Violate(absl::StrCat("out of order at ", offset, ": ", Describe(id), " after ", Describe(before->second)));
      }
      last[producer] = id;
      if (producer < kFirstNamed) continue;
      if (last_named >= 0 && ProducerOf(last_named) > producer) {
        Violate(absl::StrCat("not fenced at ", offset, ": ", Describe(id), " after ", Describe(last_named)));
      }
      last_named = id;
    }
  }
}

}  // namespace millrace::sim
