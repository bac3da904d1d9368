// Who takes part, and how that changes (reliability rules 8, 12-15, 21).
#include "tests/raft/test_group.h"

namespace millrace::raft {
namespace {

using Change = MembershipChange;

absl::Status Propose(TestGroup& g, int leader, std::vector<Change> changes, Core::MembershipOptions options = {}) {
  return g.core(leader).ProposeMembership(changes, options).status();
}

TEST(Membership, ALearnerGetsTheLogAndIsPromotedWhenItHasCaughtUp) {
  TestGroup g(3);
  g.Elect(1);
  for (int i = 0; i < 200; ++i) g.Propose(1, "a");
  g.Run();
  g.AddEmpty(4);
  ASSERT_TRUE(Propose(g, 1, {{Change::kAddLearner, Id(4), true}}).ok());
  EXPECT_TRUE(g.core(1).membership().IsLearner(Id(4))) << "from its append on";
  g.TickAll(3);
  EXPECT_EQ(g.node(4).applied.size(), 200u);
  EXPECT_EQ(g.core(4).membership().voters, Ids({1, 2, 3, 4}));
  EXPECT_TRUE(g.core(4).membership().promote.empty());
}

TEST(Membership, AVoterThatWouldBeBehindIsRefused) {
  TestGroup g(3);
  g.Elect(1);
  const absl::Status status = Propose(g, 1, {{Change::kAddVoter, Id(4)}});
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("add it as a learner"));
  EXPECT_EQ(g.core(1).membership().voters.size(), 3u);
}

Config LagConfig(int64_t promotion_lag_max) {
  Config config = TestGroup::TestConfig();
  config.promotion_lag_max = promotion_lag_max;
  return config;
}

// Acks up to `match`, as if it had been asked now.
absl::Status Ack(TestGroup& g, int from, int to, int64_t match) {
  const AppendReply ack{.accepted = true, .match = LogIndex(match), .last_index = LogIndex(match), .request = 1000};
  return g.core(to).Step(From(from, to, g.core(to).term().value(), ack));
}

TEST(Membership, ALearnerThatLagsTooFarIsNotPromoted) {
  TestGroup g(3, LagConfig(2));
  g.Elect(1);
  g.AddEmpty(4);
  ASSERT_TRUE(Propose(g, 1, {{Change::kAddLearner, Id(4), true}}).ok());
  g.drop = [](const Message& m) { return m.to == Id(4) || m.from == Id(4); };
  while (g.core(1).last_index() < LogIndex(10)) g.Propose(1, "a");
  g.Run();
  ASSERT_TRUE(Ack(g, 4, 1, 7).ok());
  EXPECT_TRUE(g.core(1).membership().IsLearner(Id(4))) << "it lacks three of what is committed";
  EXPECT_TRUE(absl::IsFailedPrecondition(Propose(g, 1, {{Change::kAddVoter, Id(4)}})));
  ASSERT_TRUE(Ack(g, 4, 1, 8).ok());
  EXPECT_TRUE(g.core(1).membership().IsVoter(Id(4)));
}

TEST(Membership, ALearnerThatIsNotHeardOfIsNotPromoted) {
  TestGroup g(3);
  g.Elect(1);
  g.AddEmpty(4);
  ASSERT_TRUE(Propose(g, 1, {{Change::kAddLearner, Id(4)}}).ok());
  g.TickAll(3);
  ASSERT_EQ(g.core(4).last_index(), g.core(1).last_index());
  g.drop = [](const Message& m) { return m.to == Id(4) || m.from == Id(4); };
  g.TickAll(21);
  EXPECT_TRUE(absl::IsFailedPrecondition(Propose(g, 1, {{Change::kAddVoter, Id(4)}})));
  ASSERT_TRUE(Propose(g, 1, {{Change::kAddLearner, Id(4), true}}).ok());
  g.TickAll(3);
  EXPECT_TRUE(g.core(1).membership().IsLearner(Id(4)));
  g.drop = nullptr;
  g.TickAll(3);
  EXPECT_TRUE(g.core(1).membership().IsVoter(Id(4)));
}

// It had everything before it counted again: no ack of anything new would tell.
TEST(Membership, ALearnerThatAbstainedIsPromotedOnceItCounts) {
  TestGroup g(1);
  g.Elect(1);
  g.AddEmpty(2);
  g.drop = [](const Message& m) { return m.to == Id(2) || m.from == Id(2); };
  ASSERT_TRUE(Propose(g, 1, {{Change::kAddLearner, Id(2), true}}).ok());
  g.Run();
  const LogIndex last = g.core(1).last_index();
  AppendReply reply{.accepted = true, .match = last, .last_index = last, .abstention = 7, .request = 1000};
  ASSERT_TRUE(g.core(1).Step(From(2, 1, 1, reply)).ok());
  g.core(1).OnUnreachable(Id(2));
  reply.abstention = 0;
  ASSERT_TRUE(g.core(1).Step(From(2, 1, 1, reply)).ok());
  ASSERT_TRUE(g.core(1).Step(From(2, 1, 1, HeartbeatReply{.last_index = last})).ok());
  EXPECT_TRUE(g.core(1).membership().IsVoter(Id(2)));
}

TEST(Membership, AVoterIsNotMadeALearnerThatIsToBePromoted) {
  TestGroup g(3);
  g.Elect(1);
  using Joint = Core::MembershipOptions::Joint;
  for (Joint joint : {Joint::kWhenNeeded, Joint::kAlways}) {
    const auto status = g.core(1)
                            .ProposeMembership({{MembershipChange::kRemove, Id(3)},
                                                {MembershipChange::kAddLearner, Id(3), /*promote=*/true}},
                                               {.joint = joint})
                            .status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  }
}

TEST(Membership, LearnersDoNotCount) {
  TestGroup g(2);
  g.Elect(1);
  g.AddEmpty(3);
  ASSERT_TRUE(Propose(g, 1, {{Change::kAddLearner, Id(3)}}).ok());
  g.TickAll(2);
  g.drop = [](const Message& m) { return m.to == Id(2) || m.from == Id(2); };
  const LogIndex commit = g.core(1).commit_index();
  g.Propose(1, "a");
  g.Run();
  EXPECT_EQ(g.core(3).last_index(), commit + 1);
  EXPECT_EQ(g.core(1).commit_index(), commit);
}

TEST(Membership, OneChangeAtATime) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.from != Id(1); };
  ASSERT_TRUE(Propose(g, 1, {{Change::kAddLearner, Id(4)}}).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Propose(g, 1, {{Change::kRemove, Id(3)}})));
  g.drop = nullptr;
  g.TickAll(2);
  EXPECT_TRUE(Propose(g, 1, {{Change::kRemove, Id(4)}}).ok());
}

TEST(Membership, NoChangeBeforeTheLeaderCommittedInItsTerm) {
  TestGroup g(3);
  g.drop = [](const Message& m) { return std::holds_alternative<AppendEntries>(m.body); };
  g.core(1).Campaign();
  g.Run();
  ASSERT_EQ(g.core(1).role(), Role::kLeader);
  EXPECT_TRUE(absl::IsUnavailable(Propose(g, 1, {{Change::kRemove, Id(3)}})));
  g.drop = nullptr;
  g.TickAll(2);
  EXPECT_TRUE(Propose(g, 1, {{Change::kRemove, Id(3)}}).ok());
}

TEST(Membership, SeveralVotersChangeThroughAJointConfiguration) {
  TestGroup g(3);
  g.Elect(1);
  g.AddEmpty(4);
  g.AddEmpty(5);
  ASSERT_TRUE(Propose(g, 1, {{Change::kAddVoter, Id(4)}, {Change::kAddVoter, Id(5)}, {Change::kRemove, Id(3)}},
                      {.catch_up_first = false})
                  .ok());
  EXPECT_TRUE(g.core(1).membership().joint());
  g.TickAll(4);
  EXPECT_FALSE(g.core(1).membership().joint()) << "left by itself";
  EXPECT_EQ(g.core(5).membership().voters, Ids({1, 2, 4, 5}));
}

TEST(Membership, AJointConfigurationNeedsVotersToBeginWith) {
  EXPECT_TRUE(absl::IsInvalidArgument(EnterJoint(Membership(), {{Change::kAddVoter, Id(1)}}, true).status()));
}

TEST(Membership, AJointConfigurationNeedsBothMajorities) {
  TestGroup g(3);
  g.Elect(1);
  for (int n = 4; n <= 6; ++n) g.AddEmpty(n);
  ASSERT_TRUE(Propose(g, 1,
                      {{Change::kAddVoter, Id(4)},
                       {Change::kAddVoter, Id(5)},
                       {Change::kAddVoter, Id(6)},
                       {Change::kRemove, Id(2)},
                       {Change::kRemove, Id(3)}},
                      {.auto_leave = false, .catch_up_first = false})
                  .ok());
  g.TickAll(4);
  const LogIndex commit = g.core(1).commit_index();
  g.drop = [](const Message& m) { return m.to == Id(2) || m.to == Id(3); };  // a majority of the new ones is there
  g.Propose(1, "a");
  g.TickAll(2);
  EXPECT_EQ(g.core(1).commit_index(), commit);
  g.drop = [](const Message& m) { return m.to.broker >= BrokerId(4); };  // of the old ones
  g.Propose(1, "b");
  g.TickAll(2);
  EXPECT_EQ(g.core(1).commit_index(), commit + 1) << "the first has both by now";
  g.drop = nullptr;
  g.TickAll(3);
  EXPECT_EQ(g.core(1).commit_index(), commit + 2);
  // And so do elections.
  g.drop = [](const Message& m) { return m.from == Id(1) || m.to == Id(1) || m.to.broker >= BrokerId(5); };
  for (int n = 2; n <= 4; ++n) g.core(n).OnUnreachable(Id(1));
  g.core(2).Campaign();
  g.Run();
  EXPECT_NE(g.core(2).role(), Role::kLeader);
}

TEST(Membership, ALaterLeaderLeavesTheJointConfiguration) {
  TestGroup g(3);
  g.Elect(1);
  for (int n = 4; n <= 5; ++n) g.AddEmpty(n);
  // 1 commits the joint entry and its own next entry reaches nobody.
  LogIndex joint;
  g.drop = [&](const Message& m) {
    const auto* append = std::get_if<AppendEntries>(&m.body);
    return append && m.from == Id(1) && joint > LogIndex(0) && append->prev.index >= joint;
  };
  ASSERT_TRUE(Propose(g, 1, {{Change::kAddVoter, Id(4)}, {Change::kAddVoter, Id(5)}}, {.catch_up_first = false}).ok());
  joint = g.core(1).last_index();
  g.Run();
  ASSERT_GT(g.core(1).last_index(), joint) << "left at the old leader alone";
  g.drop = [](const Message& m) { return m.from == Id(1) || m.to == Id(1); };
  ASSERT_TRUE(g.core(2).membership().joint());
  g.Elect(2);
  g.TickAll(3);
  EXPECT_FALSE(g.core(2).membership().joint());
  EXPECT_EQ(g.core(3).membership().voters, Ids({1, 2, 3, 4, 5}));
}

TEST(Membership, WhoeverLeavesHearsOfItAndDoesNotCampaign) {
  TestGroup g(3);
  g.Elect(1);
  ASSERT_TRUE(Propose(g, 1, {{Change::kRemove, Id(3)}}).ok());
  EXPECT_EQ(g.core(1).progress().size(), 3u) << "until that is committed";
  g.Run();
  EXPECT_EQ(g.core(1).progress().size(), 2u);
  EXPECT_EQ(g.core(3).membership().voters, Ids({1, 2}));
  EXPECT_EQ(g.core(3).commit_index(), g.core(1).commit_index());
  g.core(3).Campaign();
  EXPECT_EQ(g.core(3).role(), Role::kFollower);
}

TEST(Membership, ATruncatedEntryTakesItsMembershipWithIt) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.from == Id(1) || m.to == Id(1); };
  ASSERT_TRUE(Propose(g, 1, {{Change::kRemove, Id(3)}}).ok());
  g.Run();
  ASSERT_EQ(g.core(1).membership().voters.size(), 2u);
  g.core(2).OnUnreachable(Id(1));
  g.core(3).OnUnreachable(Id(1));
  g.core(2).Campaign();
  g.Run();
  g.drop = nullptr;
  g.TickAll(3);
  EXPECT_EQ(g.core(1).leader(), Id(2));
  EXPECT_EQ(g.core(1).membership().voters.size(), 3u);
  g.Restart(1);
  EXPECT_EQ(g.core(1).membership().voters.size(), 3u);
}

TEST(Membership, ALeaderThatIsRemovedCommitsThatWithoutItselfAndStepsDown) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.from == Id(3); };
  ASSERT_TRUE(Propose(g, 1, {{Change::kRemove, Id(1)}}).ok());
  g.Run();
  EXPECT_EQ(g.core(1).role(), Role::kLeader);
  EXPECT_LT(g.core(1).commit_index(), g.core(1).last_index()) << "1 and 2 have it, of the new voters 2 alone";
  g.drop = nullptr;
  g.TickAll(2);
  EXPECT_EQ(g.core(1).role(), Role::kFollower);
  EXPECT_EQ(g.core(2).membership().voters, Ids({2, 3}));
  EXPECT_EQ(g.core(2).commit_index(), g.core(2).last_index()) << "the others learn of it";
  g.TickAll(40);
  EXPECT_EQ(g.core(1).role(), Role::kFollower);
  EXPECT_TRUE(g.core(2).role() == Role::kLeader || g.core(3).role() == Role::kLeader);
}

TEST(Membership, ARemovedReplicaDoesNotDisturb) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.to == Id(3); };  // it never hears that it was removed
  ASSERT_TRUE(Propose(g, 1, {{Change::kRemove, Id(3)}}).ok());
  g.TickAll(100);
  EXPECT_EQ(g.core(1).role(), Role::kLeader);
  EXPECT_EQ(g.core(1).term(), Term(1));
}

TEST(Membership, ALearnerWithTheLongestLogCampaignsWhenItIsNeeded) {
  // 4 was made a voter by an entry that only 3 has, and has an entry of the dead leader 1 that makes its log the longest: 3 needs its
  // vote and cannot get it, 2 is behind 3.
  TestGroup g(3);
  g.AddEmpty(4);
  const Membership learner{.voters = Ids({1, 2, 3}), .learners = Ids({4})};
  const Membership voter{.voters = Ids({1, 2, 3, 4})};
  const auto entry = [](int64_t term, int64_t index) {
    return Entry{.header = {.type = EntryType::kNoop, .term = Term(term), .index = LogIndex(index)}};
  };
  for (int n = 2; n <= 4; ++n) {
    TestDisk& disk = g.node(n).disk;
    disk.entries = {entry(1, 1)};
    disk.memberships = {{LogIndex(1), learner}};
    disk.term_and_vote = {.term = Term(2), .commit_index = LogIndex(1)};
  }
  g.node(3).disk.entries.push_back(entry(1, 2));
  g.node(3).disk.memberships.push_back({LogIndex(2), voter});
  g.node(4).disk.entries.push_back(entry(2, 2));
  for (int n = 2; n <= 4; ++n) g.Restart(n);
  g.drop = [](const Message& m) { return m.from == Id(1) || m.to == Id(1); };
  g.TickAll(200);
  EXPECT_EQ(g.core(2).commit_index(), g.core(3).commit_index());
  EXPECT_GT(g.core(2).commit_index(), LogIndex(2)) << g.core(2).Dump() << g.core(3).Dump() << g.core(4).Dump();
}

TEST(Membership, ADemotedVoterBecomesALearnerWhenTheJointConfigurationIsLeft) {
  TestGroup g(3);
  g.Elect(1);
  ASSERT_TRUE(Propose(g, 1, {{Change::kAddLearner, Id(3)}}, {.joint = Core::MembershipOptions::Joint::kAlways}).ok());
  EXPECT_EQ(g.core(1).membership().learners_next, Ids({3}));
  g.TickAll(2);
  EXPECT_EQ(g.core(1).membership().learners, Ids({3}));
  EXPECT_EQ(g.core(1).membership().voters, Ids({1, 2}));
}

TEST(Membership, AReplacedDiskIsAnotherReplica) {
  TestGroup g(3);
  g.Elect(1);
  const ReplicaId fresh{BrokerId(3), 8};
  ASSERT_TRUE(g.core(1).ProposeMembership({{Change::kAddLearner, fresh}}).ok());
  g.Run();
  EXPECT_TRUE(g.core(1).membership().IsVoter(Id(3)));
  EXPECT_TRUE(g.core(1).membership().IsLearner(fresh));
  // Its vote is not the old one's.
  TestGroup h(3);
  h.core(1).Campaign();
  h.Take(1);
  Message vote = From(3, 1, 0, VoteReply{.granted = true, .pre_vote = true, .asked = Term(0)});
  vote.from.incarnation = 8;
  ASSERT_TRUE(h.core(1).Step(vote).ok());
  EXPECT_EQ(h.core(1).role(), Role::kPreCandidate);
}

TEST(Membership, TheSnapshotBringsItToWhoeverIsBehind) {
  TestGroup g(1);
  g.AddEmpty(2);
  InstallSnapshot snapshot{.last = {Term(1), LogIndex(9)},
                           .membership = {.voters = Ids({1, 3}), .outgoing = Ids({1, 2}), .auto_leave = true},
                           .membership_index = LogIndex(8)};
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, snapshot)).ok());
  g.Take(2);
  EXPECT_TRUE(g.core(2).membership().IsVoter(Id(2)));
  g.Restart(2);
  EXPECT_EQ(g.core(2).memberships(), (std::vector<MembershipAt>{{LogIndex(8), snapshot.membership}}));
}

// The first members are in no entry: a leader that has no other would tell a member behind its log's start that there are none.
TEST(Membership, TheFirstEntriesBringItToWhoeverHasNone) {
  TestGroup g(3);
  g.Elect(1);
  g.AddEmpty(4);
  int told = 0;
  g.drop = [&](const Message& m) {
    const auto* append = As<AppendEntries>(m);
    if (append != nullptr && m.to == Id(4)) {
      EXPECT_EQ(append->membership != nullptr, append->prev.index == LogIndex(0));
      told += append->prev.index == LogIndex(0) && append->membership->voters == Ids({1, 2, 3}) ? 1 : 0;
    }
    const auto* reply = As<AppendReply>(m);
    return reply != nullptr && reply->accepted && reply->match > LogIndex(1);  // so that it is not committed
  };
  ASSERT_TRUE(Propose(g, 1, {{Change::kAddVoter, Id(4)}}, {.catch_up_first = false}).ok());
  g.TickAll(3);
  EXPECT_GT(told, 0);
  const std::vector<MembershipAt> both = {{LogIndex(0), {.voters = Ids({1, 2, 3})}},
                                          {LogIndex(2), {.voters = Ids({1, 2, 3, 4})}}};
  EXPECT_EQ(g.core(4).memberships(), both);
  g.Restart(4);
  EXPECT_EQ(g.core(4).memberships(), both);
}

TEST(Membership, TheFirstEntriesDoNotReplaceIt) {
  TestGroup g(3);
  const AppendEntries late{.membership = std::make_shared<Membership>(Membership{.voters = Ids({2, 3})})};
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, late)).ok());
  EXPECT_EQ(g.core(2).membership().voters, Ids({1, 2, 3}));
}

TEST(Membership, IsSyncedAtEveryLevel) {
  TestGroup g(3);
  g.Elect(1);
  ASSERT_TRUE(Propose(g, 1, {{Change::kAddLearner, Id(4)}}).ok());
  EXPECT_TRUE(g.core(1).TakeReady().must_sync);
  g.Propose(1, "a");
  EXPECT_FALSE(g.core(1).TakeReady().must_sync) << "records are synced as their topic says";
}

TEST(Membership, StoredFormIsReadBackAndNothingElseIs) {
  const Membership m{.voters = Ids({1, 2, 5}),
                     .outgoing = Ids({1, 3}),
                     .learners = Ids({7, 8}),
                     .learners_next = Ids({3}),
                     .promote = Ids({8}),
                     .auto_leave = true};
  const std::string bytes = Encode(m);
  EXPECT_EQ(*DecodeMembership(bytes), m);
  for (size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(DecodeMembership(bytes.substr(0, n)).ok()) << n;
  EXPECT_FALSE(DecodeMembership(bytes + "x").ok());
  for (const Membership& invalid :
       {Membership(), Membership{.voters = Ids({2, 1})}, Membership{.voters = Ids({1}), .learners = Ids({1})},
        Membership{.voters = Ids({1}), .auto_leave = true}, Membership{.voters = Ids({1}), .promote = Ids({2})}}) {
    EXPECT_FALSE(DecodeMembership(Encode(invalid)).ok()) << ToString(invalid);
  }
}

TEST(TermTable, AnswersForEachEntryAndForgetsFromBothEnds) {
  TermTable t(EntryId{Term(1), LogIndex(4)});
  for (const auto& [term, index] : {std::pair{1, 5}, {3, 6}, {3, 7}, {4, 8}}) t.Append({Term(term), LogIndex(index)});
  EXPECT_EQ(t.At(LogIndex(3)), std::nullopt);
  EXPECT_EQ(t.At(LogIndex(4)), Term(1));
  EXPECT_EQ(t.At(LogIndex(7)), Term(3));
  EXPECT_EQ(t.At(LogIndex(9)), std::nullopt);
  EXPECT_EQ(t.LastAtMost(Term(3), LogIndex(8)), LogIndex(7));
  EXPECT_EQ(t.LastAtMost(Term(2), LogIndex(7)), LogIndex(5));
  EXPECT_EQ(t.LastAtMost(Term(0), LogIndex(7)), LogIndex(4));
  t.TruncateSuffix(LogIndex(7));
  EXPECT_EQ(t.last_index(), LogIndex(6));
  EXPECT_EQ(t.last_term(), Term(3));
  t.RemovePrefix(LogIndex(6));
  EXPECT_EQ(t.runs(), (std::vector<EntryId>{{Term(3), LogIndex(6)}}));
  EXPECT_EQ(t.At(LogIndex(6)), Term(3));
  EXPECT_EQ(t.At(LogIndex(5)), std::nullopt);
}

}  // namespace
}  // namespace millrace::raft
