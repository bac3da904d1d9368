#include "tests/raft/witness.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace millrace {

using raft::LogIndex;
using raft::ReplicaId;

void Witness::OnApplied(int broker, const raft::Entry& entry) {
  const auto [known, is_new] = applied_.emplace(entry.header.index, entry.header.chain);
  EXPECT_EQ(entry.header.chain, known->second)
      << "broker " << broker << " applies another entry " << entry.header.index << ", of term " << entry.header.term;
  if (!is_new || entry.header.type != raft::EntryType::kMembership) return;
  OnMembership(*raft::DecodeMembership(std::string(entry.payload)));
}

void Witness::OnMembership(const raft::Membership& membership) {
  counts_["joint memberships"] += membership.joint();
  counts_["promotions"] += std::any_of(membership_.promote.begin(), membership_.promote.end(),
                                       [&](ReplicaId id) { return raft::Contains(membership.voters, id); });
  const raft::ReplicaSet members = membership.Members();
  for (ReplicaId id : membership_.Members()) {
    if (!raft::Contains(members, id)) left_.push_back(id);
  }
  counts_["returns"] += std::erase_if(left_, [&](ReplicaId id) { return raft::Contains(members, id); }) > 0;
  membership_ = membership;
}

void Witness::OnSent(const raft::Message& message, const raft::TermAndVote& vote, const raft::LogState& acked) {
  const auto* request = std::get_if<raft::VoteRequest>(&message.body);
  if (request != nullptr && request->pre_vote) return;  // promises nothing
  ASSERT_GE(vote.term, message.term) << raft::ToString(message);
  if (vote.term != message.term) return;  // what it says was so, and need not be any more
  const auto* given = std::get_if<raft::VoteReply>(&message.body);
  const auto* reply = std::get_if<raft::AppendReply>(&message.body);
  if (request != nullptr) {
    EXPECT_EQ(vote.voted_for, message.from) << raft::ToString(message);
  } else if (given != nullptr && given->granted && !given->pre_vote) {
    EXPECT_EQ(vote.voted_for, message.to) << raft::ToString(message);
  } else if (reply != nullptr && reply->accepted && acked.term_and_vote.term == message.term) {
    // Until a later term's leader has replaced it, on its disk or on the way there.
    EXPECT_GE(acked.last_index, reply->match) << raft::ToString(message);
  }
}

uint64_t Witness::NextRead(int broker) {
  reads_[++last_read_] = {broker, last()};
  return last_read_;
}

void Witness::OnAnswer(int broker, const TestReplica::Answer& answer) {
  const auto read = reads_.find(answer.id);
  ASSERT_TRUE(read != reads_.end() && read->second.broker == broker) << "broker " << broker << " was not asked";
  EXPECT_FALSE(read->second.answered) << "twice";
  read->second.answered = true;
  if (!answer.ready) return;
  EXPECT_GE(answer.applied, read->second.committed) << "broker " << broker << " answers a read with what is old";
  ++counts_["answers"];
}

void Witness::OnDeath(int broker) {
  std::erase_if(reads_, [&](const auto& read) { return read.second.broker == broker; });
}

void Witness::ExpectHeld(int broker, raft::LogStore& store, raft::GroupId group) const {
  const raft::LogState state = store.State(group);
  EXPECT_GE(state.last_index, last()) << "broker " << broker;
  for (auto known = applied_.lower_bound(state.first_index); known != applied_.end(); ++known) {
    const auto header = store.HeaderAt(group, known->first);
    ASSERT_TRUE(header.ok()) << "broker " << broker << " entry " << known->first << ": " << header.status();
    EXPECT_EQ(header->chain, known->second) << "broker " << broker << " entry " << known->first;
  }
}

void Witness::ExpectAllAnswered() const {
  for (const auto& [id, read] : reads_) EXPECT_TRUE(read.answered) << "read " << id << " at broker " << read.broker;
}

}  // namespace millrace
