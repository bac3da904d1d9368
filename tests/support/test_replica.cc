#include "tests/support/test_replica.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "proto/wire/crc32c.h"

namespace millrace {
namespace {

using raft::Entry;
using raft::LogIndex;
using raft::RoundSeq;

constexpr std::string_view kSumKey = "sum";

absl::StatusOr<TestReplica::Sum> Decode(std::string_view bytes) {
  TestReplica::Sum sum;
  if (bytes.size() != sizeof(sum)) return absl::DataLossError("not a sum");
  std::memcpy(static_cast<void*>(&sum), bytes.data(), bytes.size());
  return sum;
}

TestReplica::Durable DurableOf(const raft::Core& core) {
  return {core.term_and_vote(), core.terms(), core.end_offset(), core.memberships()};
}

bool SameTerms(const raft::TermTable& a, const raft::TermTable& b) {
  if (a.last_index() != b.last_index()) return false;
  for (LogIndex i = std::max(a.before_first(), b.before_first()); i <= a.last_index(); ++i) {
    if (a.At(i) != b.At(i)) return false;
  }
  return true;
}

// The commit index rides along with other writes, and what retention removes the core is told after the write.
bool IsStored(const TestReplica::Durable& of, const raft::PersistedState& found) {
  raft::TermAndVote term_and_vote = found.term_and_vote;
  if (term_and_vote.commit_index > of.term_and_vote.commit_index) return false;
  term_and_vote.commit_index = of.term_and_vote.commit_index;
  return term_and_vote == of.term_and_vote && SameTerms(of.terms, found.terms) && of.end_offset == found.end_offset &&
         of.memberships == found.memberships;
}

}  // namespace

std::string TestReplica::Sum::Encode() const {
  std::string bytes(sizeof(Sum), '\0');
  std::memcpy(bytes.data(), this, bytes.size());
  return bytes;
}

std::string TestReplica::Durable::ToString() const {
  std::string text =
      absl::StrCat("term ", term_and_vote.term.value(), " vote ", term_and_vote.voted_for.broker.value(), " commit ",
                   term_and_vote.commit_index.value(), term_and_vote.abstaining ? " abstaining" : "", " last ",
                   terms.last_index().value(), " end ", end_offset.value(), " terms");
  for (const raft::EntryId& run : terms.runs()) absl::StrAppend(&text, " ", run.term.value(), "/", run.index.value());
  for (const raft::MembershipAt& at : memberships) {
    absl::StrAppend(&text, " at ", at.index.value(), ": ", raft::ToString(at.membership));
  }
  return text;
}

absl::Status TestReplica::Make(raft::LogStore& store, raft::GroupId group, const raft::Membership& membership) {
  if (absl::Status status = store.Create(group, {.bytes_max = 4096}); !status.ok()) return status;
  if (absl::StatusOr<raft::LogState> state = store.Open(group); !state.ok()) return state.status();
  std::unique_ptr<raft::Round> round = store.NewRound();
  raft::StageMemberships(*round, group, {{LogIndex(0), membership}});
  return store.Write(*round);
}

absl::Status TestReplica::Start(raft::LogStore& store) {
  Stop();
  store_ = &store;
  absl::StatusOr<raft::PersistedState> found = raft::LoadPersistedState(store, options_.group);
  if (!found.ok()) return found.status();
  if (absl::Status status = CheckRestored(*found); !status.ok()) return status;
  sum_ = {.index = found->terms.before_first()};
  const auto values = store.Values(options_.group);
  if (!values.ok()) return values.status();
  for (const auto& [key, value] : *values) {
    if (key != kSumKey) continue;
    const absl::StatusOr<Sum> sum = Decode(value);
    if (!sum.ok()) return sum.status();
    sum_ = *sum;
  }
  stored_sum_ = sum_;
  applied_.clear();
  sent_.clear();
  staged_ = false;
  taken_ = history_.front().second;
  seams_.emplace(raft::GroupDriver::Seams{store, *this, *this, random_});
  auto driver = raft::GroupDriver::Open(options_.config,
                                        {.group = options_.group,
                                         .self = options_.self,
                                         .flush = options_.flush,
                                         .applied = std::min(sum_.index, found->term_and_vote.commit_index)},
                                        *this, *seams_);
  if (!driver.ok()) return driver.status();
  driver_ = *std::move(driver);
  return absl::OkStatus();
}

bool TestReplica::MayLackAcked(raft::LogStore& store) const {
  MILLRACE_CHECK(store.Open(options_.group).ok());
  const absl::StatusOr<bool> may = raft::MayLackAcked(store, options_.group);
  MILLRACE_CHECK(may.ok()) << may.status().ToString();
  return *may;
}

absl::Status TestReplica::Abstain(raft::LogStore& store) {
  const absl::StatusOr<raft::PersistedState> found = raft::LoadPersistedState(store, options_.group);
  if (!found.ok()) return found.status();
  if (absl::Status status = CheckRestored(*found); !status.ok()) return status;
  history_.front().second.term_and_vote.abstaining = true;
  const std::unique_ptr<raft::Round> round = store.NewRound();
  raft::StageAbstaining(store, *round, options_.group);
  return store.Write(*round);
}

void TestReplica::SetFlush(raft::Flush flush) {
  options_.flush = flush;
  driver_->SetFlush(flush);
}

std::vector<raft::MembershipAt> TestReplica::Memberships() const {
  std::vector<raft::MembershipAt> all = driver_->core().memberships();
  for (const auto& [round, durable] : history_) {
    all.insert(all.end(), durable.memberships.begin(), durable.memberships.end());
  }
  return all;
}

absl::Status TestReplica::CheckRestored(const raft::PersistedState& found) {
  const Durable durable = {found.term_and_vote, found.terms, found.end_offset, found.memberships};
  if (history_.empty()) {
    history_ = {{RoundSeq(0), durable}};
    return absl::OkStatus();
  }
  for (const auto& [round, expected] : history_) {
    if (!IsStored(expected, found)) continue;
    history_ = {{round, durable}};
    return absl::OkStatus();
  }
  std::string text = absl::StrCat("the store has\n", durable.ToString(), "\ninstead of one of");
  for (const auto& [round, expected] : history_) absl::StrAppend(&text, "\n", round.value(), ": ", expected.ToString());
  return absl::DataLossError(text);
}

void TestReplica::Stage(raft::Round& round) {
  if (driver_->HasWork()) {  // not while it waits for the end of a stall
    staged_ = driver_->Stage(round);
    if (!driver_->fatal()) taken_ = DurableOf(core());
  }
  if (sum_ == stored_sum_ || driver_->fatal()) return;
  round.PutValue(options_.group, kSumKey, sum_.Encode());
  stored_sum_ = sum_;
}

void TestReplica::OnWritten(RoundSeq round) {
  history_.emplace_back(round, taken_);
  if (std::exchange(staged_, false)) driver_->OnWritten(round);
}

void TestReplica::OnSynced(RoundSeq round) {
  while (history_.size() > 1 && history_[1].first <= round) history_.erase(history_.begin());
  driver_->OnSynced(round);
}

bool TestReplica::AnswerReads() {
  const std::vector<raft::EntryRead> asked = std::exchange(asked_, {});
  for (const raft::EntryRead& read : asked) {
    ++cold_reads_;
    driver_->OnRead(read.id, store_->ReadEntries(options_.group, read.first, read.last, read.bytes_max));
  }
  return !asked.empty();
}

void TestReplica::FailReads(const absl::Status& status) {
  for (const raft::EntryRead& read : std::exchange(asked_, {})) driver_->OnRead(read.id, status);
}

void TestReplica::Apply(const std::vector<Entry>& entries) {
  for (const Entry& entry : entries) {
    const raft::EntryHeader& header = entry.header;
    MILLRACE_CHECK(applied_.empty() || header.index == applied_.back().index + 1) << header.index;
    applied_.push_back({header.term, header.index});
    if (options_.on_applied) options_.on_applied(entry);
    if (header.index <= sum_.index) continue;
    MILLRACE_CHECK(header.index == sum_.index + 1) << header.index << " after " << sum_.index;
    sum_.index = header.index;
    sum_.sum = sum_.sum * 31 + Crc32c(static_cast<uint32_t>(header.term.value()), entry.payload);
  }
}

absl::Status TestReplica::ApplyDamaged(LogIndex index, const absl::Status& damage) {
  if (!passes_over_damage_) return damage;
  passed_over_.push_back(index);
  applied_.clear();
  sum_.index = index;
  return absl::OkStatus();
}

std::optional<raft::StateMachine::Snapshot> TestReplica::MakeSnapshot() {
  return Snapshot{
      .last = snapshot_at_applied_ ? driver_->applied_index() : store_->State(options_.group).begin.before.index,
      .state = absl::Cord(sum_.Encode())};
}

absl::Status TestReplica::Install(const raft::InstallSnapshot& snapshot, raft::Round& round) {
  const absl::StatusOr<Sum> sum = Decode(std::string(snapshot.state));
  if (!sum.ok()) return sum.status();
  if (sum->index < snapshot.last.index) return absl::DataLossError("the state is of an earlier moment");
  sum_ = stored_sum_ = *sum;
  round.PutValue(options_.group, kSumKey, sum_.Encode());
  applied_.clear();
  ++installs_;
  return absl::OkStatus();
}

}  // namespace millrace
