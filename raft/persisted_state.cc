#include "raft/persisted_state.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "raft/fixed_int.h"

namespace millrace::raft {
namespace {

constexpr char kVersion = 1;

// The first entry behind `index` whose term is not that of `index`; the log has one.
absl::StatusOr<LogIndex> FindNextTerm(LogStore& store, GroupId group, EntryId from, LogIndex last) {
  LogIndex same = from.index;
  LogIndex other = last;
  for (int64_t step = 1; same + step < last; step *= 2) {
    absl::StatusOr<Term> term = store.TermAt(group, same + step);
    if (!term.ok()) return term.status();
    if (*term != from.term) {
      other = same + step;
      break;
    }
    same += step;
  }
  while (other - same > 1) {
    const LogIndex middle = same + (other - same) / 2;
    absl::StatusOr<Term> term = store.TermAt(group, middle);
    if (!term.ok()) return term.status();
    (*term == from.term ? same : other) = middle;
  }
  return other;
}

absl::StatusOr<TermTable> LoadTerms(LogStore& store, GroupId group, const LogState& state) {
  std::vector<EntryId> runs = {state.begin.before};
  while (runs.back().term != state.last_term) {
    absl::StatusOr<LogIndex> next = FindNextTerm(store, group, runs.back(), state.last_index);
    if (!next.ok()) return next.status();
    absl::StatusOr<Term> term = store.TermAt(group, *next);
    if (!term.ok()) return term.status();
    if (*term <= runs.back().term || *term > state.last_term) {
      return absl::DataLossError(absl::StrCat("entry ", next->value(), " has term ", term->value(),
                                              " between entries of terms ", runs.back().term.value(), " and ",
                                              state.last_term.value()));
    }
    runs.push_back({*term, *next});
  }
  return TermTable(std::move(runs), state.last_index);
}

using Values = std::vector<std::pair<std::string, std::string>>;

Values::const_iterator Find(const Values& values, std::string_view key) {
  return std::find_if(values.begin(), values.end(), [key](const auto& value) { return value.first == key; });
}

absl::Status LoadValues(LogStore& store, GroupId group, PersistedState* state) {
  const absl::StatusOr<Values> values = store.Values(group);
  if (!values.ok()) return values.status();
  state->unsynced_acks = Find(*values, kUnsyncedAcksKey) != values->end();
  const auto found = Find(*values, kMembershipsKey);
  if (found == values->end()) return absl::OkStatus();
  absl::StatusOr<std::vector<MembershipAt>> memberships = DecodeMemberships(found->second);
  if (memberships.ok()) state->memberships = *std::move(memberships);
  return memberships.status();
}

// What a Core would CHECK.
absl::Status CheckConsistent(const PersistedState& state) {
  const LogIndex last = state.terms.last_index();
  if (state.terms.last_term() > state.term_and_vote.term) {
    return absl::DataLossError(absl::StrCat("the last entry is of term ", state.terms.last_term().value(),
                                            ", the replica only of ", state.term_and_vote.term.value()));
  }
  if (state.term_and_vote.commit_index > last) {
    return absl::DataLossError(absl::StrCat("entry ", state.term_and_vote.commit_index.value(), " is committed, ",
                                            last.value(), " is the last"));
  }
  if (!state.memberships.empty() && state.memberships.back().index > last) {
    return absl::DataLossError(absl::StrCat("a membership is of entry ", state.memberships.back().index.value(), ", ",
                                            last.value(), " is the last"));
  }
  return absl::OkStatus();
}

absl::StatusOr<PersistedState> Load(LogStore& store, GroupId group) {
  absl::StatusOr<LogState> log = store.Open(group);
  if (!log.ok()) return log.status();
  if (log->read_only) return absl::FailedPreconditionError("the log's end is damaged");
  PersistedState state;
  state.term_and_vote = log->term_and_vote;
  state.end_offset = log->log_end;
  state.last_append_time = log->last_append_time;
  absl::StatusOr<TermTable> terms = LoadTerms(store, group, *log);
  if (!terms.ok()) return terms.status();
  state.terms = *std::move(terms);
  if (absl::Status status = LoadValues(store, group, &state); !status.ok()) return status;
  if (absl::Status status = CheckConsistent(state); !status.ok()) return status;
  return state;
}

}  // namespace

absl::StatusOr<PersistedState> LoadPersistedState(LogStore& store, GroupId group) {
  absl::StatusOr<PersistedState> state = Load(store, group);
  if (state.ok()) return state;
  return absl::Status(state.status().code(), absl::StrCat("the replica of group ", group.value(),
                                                          " cannot start: ", state.status().message()));
}

void StageAbstaining(LogStore& store, Round& round, GroupId group) {
  TermAndVote state = store.State(group).term_and_vote;
  state.abstaining = true;
  round.SetTermAndVote(group, state);
}

void StageUnsyncedAcks(Round& round, GroupId group, bool unsynced) {
  if (unsynced) {
    round.PutValue(group, kUnsyncedAcksKey, "1");
  } else {
    round.DeleteValue(group, kUnsyncedAcksKey);
  }
}

absl::StatusOr<bool> MayLackAcked(LogStore& store, GroupId group) {
  const absl::StatusOr<Values> values = store.Values(group);
  if (!values.ok()) return values.status();
  return Find(*values, kUnsyncedAcksKey) != values->end();
}

void StageMemberships(Round& round, GroupId group, const std::vector<MembershipAt>& memberships) {
  round.PutValue(group, kMembershipsKey, EncodeMemberships(memberships));
}

std::string EncodeMemberships(const std::vector<MembershipAt>& memberships) {
  std::string out = {kVersion};
  PutInt<uint16_t>(out, static_cast<uint16_t>(memberships.size()));
  for (const MembershipAt& at : memberships) {
    const std::string membership = at.membership == Membership() ? "" : Encode(at.membership);
    PutInt<int64_t>(out, at.index.value());
    PutInt<uint32_t>(out, static_cast<uint32_t>(membership.size()));
    out += membership;
  }
  return out;
}

absl::StatusOr<std::vector<MembershipAt>> DecodeMemberships(std::string_view bytes) {
  const auto damaged = [&](absl::string_view what) {
    return absl::DataLossError(absl::StrCat("the stored memberships of ", bytes.size(), " bytes are damaged: ", what));
  };
  std::string_view in = bytes;
  const auto version = GetInt<char>(in);
  const auto count = GetInt<uint16_t>(in);
  if (!count || *version != kVersion) return damaged("their version is not known");
  std::vector<MembershipAt> memberships;
  for (int i = 0; i < *count; ++i) {
    const auto index = GetInt<int64_t>(in);
    const auto length = GetInt<uint32_t>(in);
    if (!length || in.size() < *length) return damaged("they are too short");
    if (*index < 0 || (!memberships.empty() && memberships.back().index.value() >= *index)) {
      return damaged("their indexes do not rise");
    }
    memberships.push_back({LogIndex(*index), {}});
    if (*length == 0) continue;
    absl::StatusOr<Membership> membership = DecodeMembership(in.substr(0, *length));
    if (!membership.ok()) return membership.status();
    memberships.back().membership = *std::move(membership);
    in.remove_prefix(*length);
  }
  if (!in.empty()) return damaged("they are too long");
  return memberships;
}

}  // namespace millrace::raft
