#include "raft/staged_log.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "raft/persisted_state.h"

namespace millrace::raft {

StagedLog::StagedLog(LogStore& store, GroupId group) : store_(store), group_(group) {
  const LogState state = store.State(group);
  begin_ = {state.begin.before.index, state.begin.end_offset, state.begin.append_time};
  end_ = {state.last_index, state.log_end, state.last_append_time};
  log_start_ = state.log_start;
}

absl::Status StagedLog::Check(const Ready& ready, Offset log_start) {
  Position end = end_;
  cut_.reset();
  if (ready.install) {
    if (absl::Status status = CheckInstall(*ready.install, std::max(log_start, log_start_)); !status.ok())
      return status;
    end = {ready.install->last.index, ready.install->end_offset, ready.install->append_time};
  }
  if (ready.truncate_from && *ready.truncate_from <= end.index) {
    absl::StatusOr<Position> kept = CheckCut(*ready.truncate_from);
    if (!kept.ok()) return kept.status();
    cut_ = end = *kept;
  }
  for (const Entry& entry : ready.append) {
    if (absl::Status status = CheckFollows(end, entry); !status.ok()) return status;
    end = After(entry.header);
  }
  return absl::OkStatus();
}

absl::Status StagedLog::CheckInstall(const InstallSnapshot& snapshot, Offset log_start) const {
  if (snapshot.end_offset >= log_start) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the leader's log begins behind entry ", snapshot.last.index.value(),
                                                 " at offset ", snapshot.end_offset.value(),
                                                 ", this one has moved its start to ", log_start.value()));
}

absl::StatusOr<StagedLog::Position> StagedLog::CheckCut(LogIndex first_removed) const {
  absl::StatusOr<Position> kept = PositionOf(first_removed - 1);
  if (kept.ok() && kept->end_offset < log_start_) {
    return absl::InvalidArgumentError(absl::StrCat("the log would be cut at entry ", first_removed.value(), ", offset ",
                                                   kept->end_offset.value(), ", below its start ", log_start_.value()));
  }
  return kept;
}

absl::StatusOr<StagedLog::Position> StagedLog::PositionOf(LogIndex last_kept) const {
  if (last_kept == begin_.index) return begin_;
  absl::StatusOr<EntryHeader> header = store_.HeaderAt(group_, last_kept);
  if (!header.ok()) return header.status();
  return After(*header);
}

absl::Status StagedLog::CheckFollows(const Position& end, const Entry& entry) const {
  const EntryHeader& header = entry.header;
  const auto contradiction = [&](absl::string_view what, int64_t theirs, int64_t ours) {
    return absl::InvalidArgumentError(absl::StrCat("entry ", header.index.value(), " of term ", header.term.value(),
                                                   " has ", what, " ", theirs, ", the log here ends with ", ours));
  };
  if (header.index != end.index + 1) return contradiction("index", header.index.value(), end.index.value());
  if (header.base_offset != end.end_offset) {
    return contradiction("offset", header.base_offset.value(), end.end_offset.value());
  }
  if (header.append_time < end.append_time) return contradiction("time", header.append_time, end.append_time);
  if (header.record_count < 0) return contradiction("record count", header.record_count, 0);
  if (entry.payload.size() > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("entry ", header.index.value(), " has a payload of ", entry.payload.size(), " bytes"));
  }
  return absl::OkStatus();
}

void StagedLog::Stage(Ready& ready, Round& round) {
  if (ready.install) {
    const InstallSnapshot& snapshot = *ready.install;
    round.Reset(group_, {.before = snapshot.last,
                         .end_offset = snapshot.end_offset,
                         .append_time = snapshot.append_time,
                         .chain = snapshot.chain});
    log_start_ = snapshot.end_offset;
    begin_ = end_ = {snapshot.last.index, snapshot.end_offset, snapshot.append_time};
  }
  if (cut_) {
    end_ = *cut_;
    round.TruncateSuffix(group_, *ready.truncate_from);
  }
  for (Entry& entry : ready.append) {
    end_ = After(entry.header);
    round.Append(group_, std::move(entry));
  }
  if (ready.term_and_vote) round.SetTermAndVote(group_, *ready.term_and_vote);
  if (ready.memberships) StageMemberships(round, group_, *ready.memberships);
}

void StagedLog::StageLogStart(Offset log_start, Round& round) {
  log_start_ = std::max(log_start_, log_start);
  round.SetLogStart(group_, log_start);
}

}  // namespace millrace::raft
