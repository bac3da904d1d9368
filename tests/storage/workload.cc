#include "tests/storage/workload.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire/crc32c.h"

namespace millrace {

using raft::Entry;
using raft::EntryType;
using raft::GroupId;
using raft::LogIndex;
using raft::LogState;
using raft::Offset;

raft::SegmentLimits Workload::Limits() {
  return {.bytes_max = OneIn(3) ? 1 << 20 : 2000 + UpTo(30000), .age_ms_max = OneIn(2) ? 1 << 30 : 50 + UpTo(300)};
}

void Workload::FillRound(Logs& logs, raft::Round& round) {
  for (int64_t changes = UpTo(8); changes >= 0; --changes) {
    const GroupId group = AnyGroup();
    if (auto log = logs.find(group); log != logs.end()) ChangeOne(group, log->second, round);
  }
}

void Workload::ChangeOne(GroupId group, MemoryLog& log, raft::Round& round) {
  const LogState state = log.State();
  switch (UpTo(12)) {
    case 0:
      return Truncate(group, log, round);
    case 1: {
      raft::TermAndVote term_and_vote = state.term_and_vote;
      term_and_vote.term = term_and_vote.term + UpTo(1);
      term_and_vote.voted_for = {raft::BrokerId(UpTo(3)), static_cast<uint64_t>(UpTo(1000))};
      term_and_vote.abstaining = OneIn(4);
      if (OneIn(2)) term_and_vote.commit_index = std::max(term_and_vote.commit_index, state.last_index - UpTo(4));
      log.SetTermAndVote(term_and_vote);
      return round.SetTermAndVote(group, term_and_vote);
    }
    case 2: {
      const Offset log_start = OneIn(4) ? state.log_end : state.log_start + UpTo((state.log_end - state.log_start) / 2);
      log.SetLogStart(log_start);
      return round.SetLogStart(group, log_start);
    }
    case 3: {
      const std::string key = absl::StrCat("key-", UpTo(4));
      if (OneIn(3)) {
        log.values().erase(key);
        return round.DeleteValue(group, key);
      }
      const std::string value = absl::StrCat(UpTo(1 << 20));
      log.values()[key] = value;
      return round.PutValue(group, key, value);
    }
    case 4:
      if (OneIn(12)) return Reset(group, log, round);
      [[fallthrough]];
    default: {
      Entry entry = NextEntry(state);
      log.Append(entry);
      return round.Append(group, std::move(entry));
    }
  }
}

void Workload::Truncate(GroupId group, MemoryLog& log, raft::Round& round) {
  const LogState state = log.State();
  const LogIndex lowest = std::max(state.first_index, state.term_and_vote.commit_index + 1);
  LogIndex first_removed = state.last_index + 1;
  for (int64_t wanted = UpTo(OneIn(4) ? 400 : 6); wanted > 0 && first_removed > lowest; --wanted) {
    const Entry previous = log.ReadEntries(first_removed - 1, first_removed - 1, 1)->front();
    if (previous.header.base_offset < state.log_start) break;  // what is below the log start is committed
    first_removed = first_removed - 1;
  }
  log.TruncateSuffix(first_removed);
  round.TruncateSuffix(group, first_removed);
}

// Within the log as well as behind it.
void Workload::Reset(GroupId group, MemoryLog& log, raft::Round& round) {
  const LogState state = log.State();
  const raft::TermAndVote& stored = state.term_and_vote;
  const raft::LogBegin begin = {
      .before = {std::max(state.last_term, stored.term) + UpTo(1), stored.commit_index + UpTo(OneIn(2) ? 10 : 1000)},
      .end_offset = state.log_start + UpTo(2000),
      .append_time = state.last_append_time + UpTo(100),
      .chain = static_cast<uint32_t>(random_())};
  log.Reset(begin);
  round.Reset(group, begin);
}

Entry Workload::NextEntry(const LogState& state) {
  Entry entry;
  entry.header.type = OneIn(6) ? EntryType::kNoop : EntryType::kRecords;
  entry.header.record_count = entry.header.type == EntryType::kRecords ? static_cast<int32_t>(1 + UpTo(9)) : 0;
  entry.header.term = std::max(state.last_term, state.term_and_vote.term);
  entry.header.index = state.last_index + 1;
  entry.header.base_offset = state.log_end;
  entry.header.append_time = state.last_append_time + UpTo(20);
  entry.header.max_timestamp = entry.header.append_time + UpTo(400) - 200;  // not in order
  entry.payload = Payload();
  entry.header.payload_crc = Crc32c(0, entry.payload);
  return entry;
}

// Of sizes that lie behind their headers and in WAL files, in one chunk and in several.
absl::Cord Workload::Payload() {
  int64_t size = 0;
  if (mostly_small_) {
    size = OneIn(20) ? UpTo(10000) : UpTo(1000);
  } else {
    size = OneIn(20) ? UpTo(300000) : OneIn(3) ? UpTo(8000) : UpTo(300);
  }
  absl::Cord payload;
  while (static_cast<int64_t>(payload.size()) < size) {
    std::string chunk(std::min<int64_t>(size - static_cast<int64_t>(payload.size()), 1 + UpTo(100000)), '\0');
    uint64_t word = random_();
    for (char& byte : chunk) {
      word = word * 6364136223846793005u + 1442695040888963407u;
      byte = static_cast<char>(word >> 56);
    }
    payload.Append(absl::Cord(std::move(chunk)));
  }
  return payload;
}

}  // namespace millrace
