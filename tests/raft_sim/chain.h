// The digests of one log: for each entry, one number that stands for it and all entries before it. Two logs are equal up to an
// index exactly when their digests there are, so one comparison checks a whole prefix.
//
//     Chain chain;                           // empty, begins at 1
//     if (const char* wrong = chain.Append(entry)) Fail(wrong);
//     chain.At(LogIndex(7)).digest
#pragma once

#include <cstdint>
#include <vector>

#include "raft/types.h"

namespace millrace::raft::sim {

struct Link {
  Term term;
  uint64_t digest = 0;
  uint64_t proposal = 0;  // the number that the workload gave it; 0: the log's own entry
  Offset end_offset;
  int64_t append_time = 0;
  EntryType type = EntryType::kNoop;
};

class Chain {
 public:
  Chain() : links_(1) {}
  // Begins behind `before`.
  Chain(LogIndex before, const Link& link) : links_{link}, before_(before) {}

  LogIndex before() const { return before_; }
  LogIndex last() const { return before_ + static_cast<int64_t>(links_.size() - head_ - 1); }
  // In [before, last].
  const Link& At(LogIndex index) const { return links_[head_ + static_cast<size_t>(index - before_)]; }
  const Link& back() const { return links_.back(); }
  bool Has(LogIndex index) const { return before_ <= index && index <= last(); }
  // Entries before the log's start were committed once, so they count as held.
  bool Holds(EntryId id) const { return id.index <= before_ || (id.index <= last() && At(id.index).term == id.term); }

  // What is wrong with it as the next entry (index, term, offset or time out of order), or nullptr.
  const char* Append(const Entry& entry);
  void TruncateSuffix(LogIndex first_removed) { links_.resize(head_ + static_cast<size_t>(first_removed - before_)); }
  // Begins behind `before` now, which lies in [before, last].
  void RemovePrefix(LogIndex before);

 private:
  std::vector<Link> links_;  // from head_ on: the entry before the log, then its entries
  size_t head_ = 0;
  LogIndex before_;
};

// The first bytes of every proposal's payload are its number.
uint64_t ProposalOf(const Entry& entry);

inline uint64_t Mix(uint64_t hash, uint64_t value) {
  uint64_t x = (hash ^ value) * 0x9e3779b97f4a7c15;
  return x ^ (x >> 29);
}

}  // namespace millrace::raft::sim
