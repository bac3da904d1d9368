#include "tests/conformance/node_log.h"

#include "proto/wire/check.h"

namespace millrace::conformance {

void NodeLog::Write(const raft::Ready& ready) {
  if (ready.install) {
    entries_.clear();
    before_ = ready.install->last;
  }
  if (ready.truncate_from) {
    MILLRACE_CHECK(*ready.truncate_from >= first_index());
    while (last_index() >= *ready.truncate_from) entries_.pop_back();
  }
  for (const raft::Entry& entry : ready.append) {
    MILLRACE_CHECK(entry.header.index == last_index() + 1);
    entries_.push_back(entry);
  }
}

void NodeLog::RemovePrefix(raft::LogIndex last_removed) {
  MILLRACE_CHECK(last_removed >= before_.index && last_removed <= last_index());
  while (before_.index < last_removed) {
    before_ = {entries_.front().header.term, entries_.front().header.index};
    entries_.pop_front();
  }
}

}  // namespace millrace::conformance
