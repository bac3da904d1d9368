#include "raft/term_table.h"

#include <algorithm>
#include <utility>

#include "proto/wire/check.h"

namespace millrace::raft {

TermTable::TermTable(std::vector<EntryId> runs, LogIndex last) : runs_(std::move(runs)), last_(last) {
  MILLRACE_CHECK(!runs_.empty()) << "a log's terms begin with the entry before it";
  for (size_t i = 1; i < runs_.size(); ++i) {
    MILLRACE_CHECK(runs_[i - 1].term < runs_[i].term && runs_[i - 1].index < runs_[i].index) << "run " << i;
  }
  MILLRACE_CHECK(last_ >= runs_.back().index);
}

std::optional<Term> TermTable::At(LogIndex index) const {
  if (index < before_first() || index > last_) return std::nullopt;
  // The newest run is asked for most.
  for (size_t i = runs_.size(); i-- > 0;) {
    if (runs_[i].index <= index) return runs_[i].term;
  }
  return std::nullopt;
}

LogIndex TermTable::LastAtMost(Term term, LogIndex index) const {
  LogIndex end = std::min(index, last_);
  for (size_t i = runs_.size(); i-- > 0;) {
    if (runs_[i].index <= end && runs_[i].term <= term) return end;
    end = std::min(end, runs_[i].index - 1);
  }
  return before_first();
}

void TermTable::Append(EntryId id) {
  MILLRACE_CHECK(id.index == last_ + 1 && id.term >= last_term())
      << "entry " << id.term << "/" << id.index << " behind " << last_term() << "/" << last_;
  if (id.term > last_term()) runs_.push_back(id);
  last_ = id.index;
}

void TermTable::TruncateSuffix(LogIndex first_removed) {
  MILLRACE_CHECK(first_removed > before_first()) << "cut at " << first_removed << ", log behind " << before_first();
  while (runs_.back().index >= first_removed) runs_.pop_back();
  last_ = std::min(last_, first_removed - 1);
}

void TermTable::RemovePrefix(LogIndex before) {
  if (before <= before_first() || before > last_) return;
  const Term term = *At(before);
  const auto kept = std::find_if(runs_.begin(), runs_.end(), [&](const EntryId& run) { return run.term > term; });
  runs_.erase(runs_.begin(), kept);
  runs_.insert(runs_.begin(), EntryId{term, before});
}

}  // namespace millrace::raft
