// Which term each entry of a log has, in a few numbers: the index at which each term begins. Terms never fall along a log, so it
// answers for every entry without reading one. It is also what Kafka calls the leader epoch cache.
//
//     TermTable terms(EntryId{Term(2), LogIndex(10)});   // entry 10, of term 2, is the last one before the log
//     terms.Append(EntryId{Term(3), LogIndex(11)});
//     terms.At(LogIndex(10));  // 2
//     terms.At(LogIndex(9));   // nullopt: before the log
//
// Grows by 16 bytes with each term that has entries in the log, shrinks when its prefix is removed.
#pragma once

#include <optional>
#include <vector>

#include "raft/types.h"

namespace millrace::raft {

class TermTable {
 public:
  // `before`: of the entry before the first one; {0, 0} for a log that begins at 1.
  explicit TermTable(EntryId before = {}) : runs_{before}, last_(before.index) {}
  // Each run as (term, first index of it); the first run begins at the entry before the log. CHECKs their order.
  TermTable(std::vector<EntryId> runs, LogIndex last);

  LogIndex before_first() const { return runs_.front().index; }
  LogIndex last_index() const { return last_; }
  Term last_term() const { return runs_.back().term; }
  const std::vector<EntryId>& runs() const { return runs_; }

  // nullopt outside [before_first, last_index].
  std::optional<Term> At(LogIndex index) const;
  // The largest index <= `index` whose term is <= `term`; before_first() if there is none.
  LogIndex LastAtMost(Term term, LogIndex index) const;

  // CHECKs that the index follows the last one and that the term does not fall.
  void Append(EntryId id);
  // Removes all entries from `first_removed` on, which lies behind before_first().
  void TruncateSuffix(LogIndex first_removed);
  // The log now begins behind `before`. Back and past the end are ignored.
  void RemovePrefix(LogIndex before);

 private:
  std::vector<EntryId> runs_;  // term rises strictly, index rises strictly; never empty
  LogIndex last_;              // >= runs_.back().index
};

}  // namespace millrace::raft
