#include "tests/raft_sim/image.h"

#include <algorithm>
#include <cstring>

namespace millrace::raft::sim {
const char* Image::Apply(const Batch& batch) {
  if (batch.install) Install(*batch.install);
  if (batch.truncate_from) {
    if (*batch.truncate_from <= chain_.before()) return "truncates before the log's start";
    if (*batch.truncate_from <= term_and_vote_.commit_index) return "truncates what is committed on disk";
    if (*batch.truncate_from <= chain_.last()) Cut(*batch.truncate_from);
  }
  for (const Entry& entry : batch.append) {
    if (const char* wrong = chain_.Append(entry)) return wrong;
    entries_.push_back(entry);
  }
  if (const char* wrong = ApplyState(batch)) return wrong;
  if (batch.remove_prefix) RemovePrefix(*batch.remove_prefix);
  return nullptr;
}

const char* Image::ApplyState(const Batch& batch) {
  if (batch.term_and_vote) {
    const TermAndVote& next = *batch.term_and_vote;
    if (next.term < term_and_vote_.term) return "the term on disk goes back";
    if (next.term == term_and_vote_.term && term_and_vote_.voted_for && next.voted_for != term_and_vote_.voted_for) {
      return "the vote on disk changes within a term";
    }
    if (next.commit_index < term_and_vote_.commit_index) return "the commit index on disk goes back";
    term_and_vote_ = next;
  }
  if (batch.memberships) memberships_ = *batch.memberships;
  if (term_and_vote_.commit_index > chain_.last()) return "the commit index on disk is past the log's end";
  if (!memberships_.empty() && memberships_.back().index > chain_.last()) {
    return "a membership on disk is of an entry past the log's end";
  }
  return nullptr;
}

void Image::Install(const InstallSnapshot& snapshot) {
  Link link{.term = snapshot.last.term, .end_offset = snapshot.end_offset, .append_time = snapshot.append_time};
  std::string state(snapshot.state);
  std::memcpy(&link.digest, state.data(), sizeof link.digest);
  chain_ = Chain(snapshot.last.index, link);
  entries_.clear();
  cut_.clear();
  head_ = 0;
}

void Image::RemovePrefix(LogIndex before) {
  before = std::min(before, chain_.last());
  if (before <= chain_.before()) return;
  head_ += static_cast<size_t>(before - chain_.before());
  chain_.RemovePrefix(before);
  if (head_ <= entries_.size() / 2) return;
  entries_.erase(entries_.begin(), entries_.begin() + static_cast<ptrdiff_t>(head_));
  head_ = 0;
}

void Image::Cut(LogIndex first_removed) {
  const auto first = entries_.begin() + static_cast<ptrdiff_t>(head_) + (first_removed - chain_.before() - 1);
  cut_.assign(first, entries_.end());
  entries_.erase(first, entries_.end());
  chain_.TruncateSuffix(first_removed);
}

bool Image::Forget(LogIndex last) {
  std::vector<Entry> back;
  if (!cut_.empty() && cut_.front().header.index > last) {
    back = cut_;
    last = back.front().header.index - 1;
  }
  if (last < chain_.before() || last >= chain_.last()) return false;
  // Who forgets that others vote too elects itself: no protocol helps against that.
  if (memberships_.empty() || memberships_.back().index > last) return false;
  const auto brings_membership = [](const Entry& entry) { return entry.header.type == EntryType::kMembership; };
  if (std::any_of(back.begin(), back.end(), brings_membership)) return false;
  Cut(last + 1);
  for (const Entry& entry : back) {
    chain_.Append(entry);
    entries_.push_back(entry);
  }
  term_and_vote_.commit_index = std::min(term_and_vote_.commit_index, last);
  return true;
}

void Image::SetFirstMembership(const Membership& membership) { memberships_ = {{LogIndex(0), membership}}; }

PersistedState Image::ToState() const {
  std::vector<EntryId> runs = {{chain_.At(chain_.before()).term, chain_.before()}};
  for (LogIndex i = chain_.before() + 1; i <= chain_.last(); ++i) {
    if (chain_.At(i).term != runs.back().term) runs.push_back({chain_.At(i).term, i});
  }
  return {.term_and_vote = term_and_vote_,
          .terms = TermTable(std::move(runs), chain_.last()),
          .end_offset = chain_.back().end_offset,
          .last_append_time = chain_.back().append_time,
          .memberships = memberships_};
}

InstallSnapshot Image::Snapshot(const MembershipAt& committed) const {
  const Link& link = chain_.At(chain_.before());
  return InstallSnapshot{
      .last = {link.term, chain_.before()},
      .end_offset = link.end_offset,
      .log_start = link.end_offset,
      .append_time = link.append_time,
      .membership = committed.membership,
      .membership_index = std::min(committed.index, chain_.before()),
      .state = absl::Cord(absl::string_view(reinterpret_cast<const char*>(&link.digest), sizeof link.digest))};
}

}  // namespace millrace::raft::sim
