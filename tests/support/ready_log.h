// The log of a core under test, in memory: what its Readies say, in the plainest form.
//
//     ReadyLog log;
//     log.Write(core.TakeReady());
//     core.OnEntries(request, log.Read(request.first, request.last, request.bytes_max));
//
// Tests also write in it by hand.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "proto/wire/check.h"
#include "raft/ready.h"
#include "raft/types.h"

namespace millrace::raft {

struct ReadyLog {
  EntryId before;  // the entry before the first one
  Offset before_offset;
  std::vector<Entry> entries;

  LogIndex first_index() const { return before.index + 1; }
  LogIndex last_index() const { return before.index + static_cast<int64_t>(entries.size()); }
  bool Has(LogIndex index) const { return index >= first_index() && index <= last_index(); }
  // In [first_index, last_index].
  const Entry& At(LogIndex index) const { return entries[static_cast<size_t>(index - first_index())]; }

  void Write(const Ready& ready) {
    if (ready.install) {
      before = ready.install->last;
      before_offset = ready.install->end_offset;
      entries.clear();
    }
    if (ready.truncate_from) {
      MILLRACE_CHECK(*ready.truncate_from >= first_index() && *ready.truncate_from <= last_index());
      entries.resize(static_cast<size_t>(*ready.truncate_from - first_index()));
    }
    for (const Entry& entry : ready.append) {
      MILLRACE_CHECK_EQ(entry.header.index, last_index() + 1);
      entries.push_back(entry);
    }
  }

  void RemovePrefix(LogIndex last_removed) {
    MILLRACE_CHECK(last_removed >= before.index && last_removed <= last_index());
    if (last_removed == before.index) return;
    const EntryHeader& last = At(last_removed).header;
    const auto kept = entries.begin() + (last_removed - before.index);
    before = {last.term, last.index};
    before_offset = last.end_offset();
    entries.erase(entries.begin(), kept);
  }

  // At most bytes_max, but one at least; none when the first is not there.
  std::vector<Entry> Read(LogIndex first, LogIndex last, size_t bytes_max) const {
    std::vector<Entry> read;
    size_t bytes = 0;
    for (LogIndex i = first; i <= last && Has(i); ++i) {
      bytes += At(i).payload.size();
      if (!read.empty() && bytes > bytes_max) break;
      read.push_back(At(i));
    }
    return read;
  }
};

}  // namespace millrace::raft
