#include "tests/storage/scripted_peers.h"

#include <algorithm>
#include <string>
#include <utility>

#include "proto/wire/check.h"
#include "proto/wire/crc32c.h"

namespace millrace::storage {

using raft::Entry;
using raft::EntryType;
using raft::LogIndex;
using raft::LogState;
using raft::Membership;
using raft::Message;
using raft::ReplicaId;
using raft::Term;

namespace {

constexpr ReplicaId kPeers[] = {{raft::BrokerId(2), 22}, {raft::BrokerId(3), 33}};
constexpr ReplicaId kLearner{raft::BrokerId(4), 44};
constexpr size_t kAllBytes = size_t{1} << 40;

void Step(TestReplica& replica, Message message) {
  const absl::Status status = replica.core().Step(std::move(message));
  MILLRACE_CHECK(status.ok()) << status.ToString();
}

}  // namespace

Membership ScriptedLeaders::FirstMembership(ReplicaId self) { return {.voters = {self, kPeers[0], kPeers[1]}}; }

ReplicaId ScriptedLeaders::leader() const { return kPeers[term_.value() % 2]; }

template <typename Body>
void ScriptedLeaders::Send(TestReplica& replica, Body body) {
  Step(replica, {.from = leader(), .to = self_, .term = term_, .body = std::move(body)});
}

void ScriptedLeaders::Disturb(TestReplica& replica) {
  if (memberships_.empty()) memberships_ = {{LogIndex(0), FirstMembership(self_)}};
  // After a restart it may know more of the term than the script: nothing here is forgotten, so it never does.
  MILLRACE_CHECK(replica.core().term() <= term_);
  switch (draw_.UpTo(11)) {
    case 0:
      if (draw_.OneIn(2)) ChangeLeader(replica);
      break;
    case 1:
      if (draw_.OneIn(6)) DropPrefix(draw_.OneIn(2));
      break;
    case 2:
      if (draw_.OneIn(3)) AskForAVote(replica);
      break;
    case 3:
      if (draw_.OneIn(3)) Append(EntryType::kMembership);
      break;
    case 4:
    case 5:
      Commit();
      break;
    case 6:
      if (draw_.OneIn(6)) {  // so much that the replica will be behind the log's start
        for (int i = 0; i < 20; ++i) Append(EntryType::kRecords);
        Commit();
        DropPrefix(true);
      }
      break;
    default:
      for (int64_t i = draw_.UpTo(3); i >= 0; --i) Append(EntryType::kRecords);
  }
  if (draw_.OneIn(2)) Replicate(replica);
}

void ScriptedLeaders::Append(EntryType type) {
  if (type == EntryType::kMembership && memberships_.back().index > commit_) return;  // one change at a time
  const LogState state = log_.State();
  Entry entry = draw_.NextEntry(state);
  entry.header.term = term_;
  if (type != EntryType::kRecords) {
    Membership membership = memberships_.back().membership;
    membership.learners.empty() ? membership.learners.push_back(kLearner) : membership.learners.clear();
    entry.header.type = type;
    entry.header.record_count = 0;
    entry.payload = absl::Cord(raft::Encode(membership));
    entry.header.payload_crc = Crc32c(0, entry.payload);
    memberships_.push_back({entry.header.index, membership});
  }
  log_.Append(std::move(entry));
}

// The new one lacks some of what was not committed.
void ScriptedLeaders::ChangeLeader(TestReplica& replica) {
  term_ = term_ + 1 + draw_.UpTo(1);
  const LogIndex last = log_.State().last_index;
  const LogIndex kept = last - draw_.UpTo(std::max<int64_t>(0, last - std::max(commit_, log_.State().first_index - 1)));
  if (kept < last) log_.TruncateSuffix(kept + 1);
  while (memberships_.size() > 1 && memberships_.back().index > kept) memberships_.pop_back();
  Append(EntryType::kRecords);
  if (draw_.OneIn(2)) Send(replica, raft::Heartbeat{});
}

void ScriptedLeaders::Commit() {
  const LogState state = log_.State();
  if (state.last_term != term_) return;
  commit_ = std::max(commit_, state.last_index - draw_.UpTo(4));
  log_.SetTermAndVote({.term = term_, .commit_index = commit_});
  while (memberships_.size() > 1 && memberships_[1].index <= commit_) memberships_.erase(memberships_.begin());
}

void ScriptedLeaders::DropPrefix(bool all) {
  if (commit_ < log_.State().first_index) return;
  const auto header = log_.HeaderAt(commit_);
  log_.SetLogStart(all ? header->end_offset() : header->base_offset);
}

// Of whoever leads next; the replica's leader has just been lost.
void ScriptedLeaders::AskForAVote(TestReplica& replica) {
  term_ = term_ + 1;
  const LogState state = log_.State();
  Send(replica, raft::VoteRequest{.last = {state.last_term, state.last_index}, .transfer = true});
}

void ScriptedLeaders::Replicate(TestReplica& replica) {
  const LogState state = log_.State();
  const raft::TermTable& theirs = replica.core().terms();
  LogIndex agreed = std::min(state.last_index, theirs.last_index());
  while (agreed >= state.begin.before.index && log_.TermAt(agreed).ok() && *log_.TermAt(agreed) != theirs.At(agreed)) {
    agreed = agreed - 1;
  }
  agreed = std::max(agreed, replica.core().commit_index());
  if (agreed < state.begin.before.index) return SendSnapshot(replica);
  const LogIndex last = std::min(agreed + draw_.UpTo(6), state.last_index);
  Send(replica, raft::AppendEntries{.prev = {*log_.TermAt(agreed), agreed},
                                    .entries = *log_.ReadEntries(agreed + 1, last, kAllBytes),
                                    .commit = commit_,
                                    .request = 1});
}

void ScriptedLeaders::SendSnapshot(TestReplica& replica) {
  const LogState state = log_.State();
  const raft::LogBegin& begin = state.begin;
  const TestReplica::Sum sum = {.index = begin.before.index, .sum = 5};
  Send(replica, raft::InstallSnapshot{.last = begin.before,
                                      .end_offset = begin.end_offset,
                                      .log_start = state.log_start,
                                      .append_time = begin.append_time,
                                      .chain = begin.chain,
                                      .membership = memberships_.front().membership,
                                      .membership_index = std::min(memberships_.front().index, begin.before.index),
                                      .state = absl::Cord(sum.Encode()),
                                      .request = 1});
}

void ScriptedFollower::Answer(TestReplica& replica, const Message& message) {
  const auto reply = [&](auto body) {
    Step(replica, {.from = self_, .to = message.from, .term = message.term, .body = std::move(body)});
  };
  if (const auto* request = std::get_if<raft::VoteRequest>(&message.body)) {
    // A pre-vote is answered from the term that it was asked in.
    const Term asked = message.term;
    reply(raft::VoteReply{.granted = true, .pre_vote = request->pre_vote, .asked = asked});
  } else if (const auto* append = std::get_if<raft::AppendEntries>(&message.body)) {
    if (append->prev.index > last_) {
      reply(raft::AppendReply{
          .rejected = append->prev.index, .hint = {}, .last_index = last_, .request = append->request});
    } else {
      const LogIndex match = append->prev.index + static_cast<int64_t>(append->entries.size());
      last_ = std::max(last_, match);
      reply(raft::AppendReply{.accepted = true, .match = match, .last_index = last_, .request = append->request});
    }
  } else if (const auto* snapshot = std::get_if<raft::InstallSnapshot>(&message.body)) {
    last_ = std::max(last_, snapshot->last.index);
    reply(raft::AppendReply{
        .accepted = true, .match = snapshot->last.index, .last_index = last_, .request = snapshot->request});
  } else if (const auto* heartbeat = std::get_if<raft::Heartbeat>(&message.body)) {
    reply(raft::HeartbeatReply{.read_round = heartbeat->read_round, .last_index = last_});
  }
}

}  // namespace millrace::storage
