// Who leads, and what a vote rests on (reliability rules 1, 9, 11, 12, 14, 19, 22).
#include "tests/raft/test_group.h"

namespace millrace::raft {
namespace {

TEST(Election, AVoterThatHearsNothingCampaignsAndWins) {
  TestGroup g(3);
  g.Tick(1, 20);
  EXPECT_EQ(g.core(1).role(), Role::kLeader);
  EXPECT_EQ(g.core(2).leader(), Id(1));
  EXPECT_EQ(g.core(1).commit_index(), LogIndex(1)) << "its first entry";
  EXPECT_EQ(LogText(g.node(3).disk), "1/1");
}

TEST(Election, ASingleVoterLeadsAfterItsVoteIsDurable) {
  TestGroup g(1);
  g.node(1).hold_writes = true;
  g.core(1).Campaign();
  g.Take(1);
  EXPECT_EQ(g.core(1).role(), Role::kCandidate);
  g.Persist(1);
  EXPECT_EQ(g.core(1).role(), Role::kLeader);
}

TEST(Election, VotesLeaveAfterTheyAreDurable) {
  TestGroup g(3);
  g.node(2).hold_writes = true;
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, VoteRequest{})).ok());
  g.Take(2);
  EXPECT_TRUE(g.network.empty());
  ASSERT_EQ(g.node(2).held.size(), 1u);
  EXPECT_TRUE(g.node(2).held[0].must_sync);
  EXPECT_EQ(g.node(2).held[0].term_and_vote->voted_for, Id(1));
  g.Persist(2);
  ASSERT_EQ(g.network.size(), 1u);
  EXPECT_TRUE(As<VoteReply>(g.network[0])->granted);
}

TEST(Election, ARefusalTooLeavesAfterTheTermIsDurable) {
  TestGroup g(3);
  g.Elect(1);
  g.node(2).hold_writes = true;
  // A shorter log asks with a higher term: refused, and the refusal says that the term is known.
  ASSERT_TRUE(g.core(2).Step(From(3, 2, 9, VoteRequest{.transfer = true})).ok());
  g.Take(2);
  EXPECT_TRUE(g.network.empty());
  g.Persist(2);
  ASSERT_EQ(g.network.size(), 1u);
  EXPECT_FALSE(As<VoteReply>(g.network[0])->granted);
}

TEST(Election, AnswersToANewLeaderLeaveAfterItsTermIsDurable) {
  const std::vector<decltype(Message::body)> asked = {AppendEntries{.prev = {Term(1), LogIndex(5)}}, Heartbeat()};
  for (const auto& body : asked) {
    TestGroup g(3);
    g.node(2).hold_writes = true;
    ASSERT_TRUE(g.core(2).Step(From(1, 2, 3, body)).ok());
    g.Take(2);
    EXPECT_TRUE(g.network.empty()) << ToString(g.network.front());
    g.Persist(2);
    ASSERT_EQ(g.network.size(), 1u);
    EXPECT_EQ(g.network[0].term, Term(3));
  }
}

TEST(Election, ARealElectionBeginsWhenTheCandidatesVoteIsDurable) {
  TestGroup g(3);
  g.node(1).hold_writes = true;
  g.core(1).Campaign();
  g.Take(1);
  EXPECT_EQ(g.network.size(), 2u) << "a pre-vote promises nothing";
  g.network.clear();
  ASSERT_TRUE(g.core(1).Step(From(2, 1, 0, VoteReply{.granted = true, .pre_vote = true})).ok());
  g.Take(1);
  ASSERT_EQ(g.core(1).role(), Role::kCandidate);
  EXPECT_TRUE(g.network.empty()) << ToString(g.network.front());
  g.Persist(1);
  EXPECT_EQ(g.network.size(), 2u);
}

TEST(Election, AVoteIsRememberedOverARestart) {
  TestGroup g(3);
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, VoteRequest{})).ok());
  g.Take(2);
  g.Restart(2);
  g.network.clear();
  ASSERT_TRUE(g.core(2).Step(From(3, 2, 1, VoteRequest{})).ok());
  g.Take(2);
  EXPECT_FALSE(As<VoteReply>(g.network.back())->granted);
  // The same candidate, asking again since the answer was lost, gets it again.
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, VoteRequest{})).ok());
  g.Take(2);
  EXPECT_TRUE(As<VoteReply>(g.network.back())->granted);
}

TEST(Election, VoterRefusesCandidateWithShorterOrOlderLog) {
  TestGroup g(3);
  g.Elect(1);
  g.Propose(1, "a");
  g.Run();  // 1/1 1/2 everywhere
  const auto granted = [&](EntryId last, int64_t term) {
    g.network.clear();
    EXPECT_TRUE(g.core(2).Step(From(3, 2, term, VoteRequest{.last = last, .transfer = true})).ok());
    g.Take(2);
    return As<VoteReply>(g.network.back())->granted;
  };
  EXPECT_FALSE(granted({Term(1), LogIndex(1)}, 5)) << "shorter";
  EXPECT_TRUE(granted({Term(1), LogIndex(2)}, 6)) << "equal";
  EXPECT_TRUE(granted({Term(2), LogIndex(1)}, 7)) << "shorter and of a later term";
}

TEST(Election, APreVoteChangesNothingAtTheVoter) {
  TestGroup g(3);
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 4, VoteRequest{.pre_vote = true})).ok());
  g.Take(2);
  EXPECT_EQ(g.core(2).term(), Term(0));
  EXPECT_FALSE(g.core(2).term_and_vote().voted_for);
  EXPECT_TRUE(As<VoteReply>(g.network.back())->granted);
}

TEST(Election, AReplicaThatWasCutOffDoesNotRaiseTheTerm) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.to == Id(3) || m.from == Id(3); };
  g.TickAll(100);
  EXPECT_EQ(g.core(3).term(), Term(1));
  g.drop = nullptr;
  g.TickAll(5);
  EXPECT_EQ(g.core(1).role(), Role::kLeader);
  EXPECT_EQ(g.core(3).leader(), Id(1));
}

TEST(Election, LiveLeadersAreNotDisturbed) {
  TestGroup g(3);
  g.Elect(1);
  g.TickAll(2);
  g.core(3).Campaign();
  g.Run();
  EXPECT_EQ(g.core(1).role(), Role::kLeader);
  EXPECT_EQ(g.core(2).term(), Term(1));
  // A real request of a higher term too is not listened to.
  ASSERT_TRUE(g.core(2).Step(From(3, 2, 8, VoteRequest{.last = {Term(7), LogIndex(9)}})).ok());
  EXPECT_EQ(g.core(2).term(), Term(1));
}

TEST(Election, ALeaderWithoutAQuorumStepsDownAndFallsSilent) {
  TestGroup g(3);
  g.Elect(1);
  std::vector<std::string> sent;
  g.drop = [&](const Message& m) {  // it sends, and hears nothing
    if (m.from == Id(1) && g.core(1).role() != Role::kLeader) sent.push_back(ToString(m));
    return m.from != Id(1);
  };
  for (int tick = 0; tick < 21 && g.core(1).role() == Role::kLeader; ++tick) {
    g.Propose(1, "a");
    g.Tick(1);
  }
  ASSERT_EQ(g.core(1).role(), Role::kFollower);
  EXPECT_FALSE(g.core(1).Propose({}).ok());
  g.Tick(1, 9);  // then it may ask for votes
  EXPECT_TRUE(sent.empty()) << sent.front();
}

TEST(Election, ALeaderLearnsOfAHigherTermFromAnAnswer) {
  TestGroup g(3);
  g.Elect(1);
  // 3 has been a candidate of term 5 once, and cannot win: 1 must give way, or 3 never follows anybody again.
  ASSERT_TRUE(g.core(3).Step(From(2, 3, 5, VoteReply{.asked = Term(5)})).ok());
  g.Run();
  ASSERT_EQ(g.core(3).term(), Term(5));
  g.Tick(1, 1);
  EXPECT_NE(g.core(1).role(), Role::kLeader);
  g.TickAll(60);
  EXPECT_TRUE(g.core(3).leader()) << g.core(3).Dump();
}

// Both in one turn: the answer to what came late is no reason to forget the vote.
TEST(Election, AVoteLeavesThoughAnOldRequestComesAfterIt) {
  TestGroup g(3);
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 6, VoteRequest{})).ok());
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 5, VoteRequest{})).ok());
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 5, VoteRequest{.pre_vote = true})).ok());
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 5, VoteRequest{.pre_vote = true})).ok());
  g.Take(2);
  int granted = 0;
  for (const Message& m : g.network) granted += As<VoteReply>(m)->granted;
  EXPECT_EQ(granted, 1);
  EXPECT_EQ(g.network.size(), 2u) << "refusals do not pile up";
}

TEST(Election, ACandidateOfAnOldTermIsToldTheNewOne) {
  TestGroup g(3);
  g.Elect(1);
  g.network.clear();
  ASSERT_TRUE(g.core(2).Step(From(3, 2, 0, VoteRequest{.pre_vote = true})).ok());
  g.Take(2);
  ASSERT_EQ(g.network.size(), 1u);
  EXPECT_EQ(g.network[0].term, Term(1));
  EXPECT_FALSE(As<VoteReply>(g.network[0])->granted);
}

TEST(Election, PreVotesOfAnEarlierRoundDoNotCount) {
  TestGroup g(5);
  g.core(1).Campaign();
  g.Take(1);
  g.network.clear();
  ASSERT_TRUE(g.core(1).Step(From(2, 1, 0, VoteReply{.granted = true, .pre_vote = true, .asked = Term(0)})).ok());
  ASSERT_TRUE(
      g.core(1).Step(From(3, 1, 3, VoteReply{.pre_vote = true, .asked = Term(0)})).ok());  // term 3: begin again
  g.core(1).Campaign();
  ASSERT_TRUE(g.core(1).Step(From(4, 1, 0, VoteReply{.granted = true, .pre_vote = true, .asked = Term(0)})).ok());
  ASSERT_TRUE(g.core(1).Step(From(5, 1, 0, VoteReply{.granted = true, .pre_vote = true, .asked = Term(0)})).ok());
  EXPECT_EQ(g.core(1).role(), Role::kPreCandidate);
}

TEST(Election, VotesAreCountedByVoter) {
  TestGroup g(5);
  g.core(1).Campaign();
  g.Take(1);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(g.core(1).Step(From(2, 1, 0, VoteReply{.granted = true, .pre_vote = true, .asked = Term(0)})).ok());
    ASSERT_TRUE(g.core(1).Step(From(9, 1, 0, VoteReply{.granted = true, .pre_vote = true, .asked = Term(0)})).ok());
  }
  EXPECT_EQ(g.core(1).role(), Role::kPreCandidate) << "two of five";
}

TEST(Election, ARefusedCandidateDoesNotPutOffTheVotersOwnCampaign) {
  TestGroup g(3);
  g.Elect(1);
  g.Propose(1, "a");
  g.Run();
  g.drop = [](const Message&) { return true; };
  for (int i = 0; i < 25 && g.core(2).role() == Role::kFollower; ++i) {
    // 3's log is too short to win; it asks each tick with a higher term.
    ASSERT_TRUE(g.core(2).Step(From(3, 2, 10 + i, VoteRequest{.transfer = true})).ok());
    g.core(2).Tick();
  }
  EXPECT_NE(g.core(2).role(), Role::kFollower);
}

TEST(Election, ALearnerVotesWhenAsked) {
  TestGroup g(2);
  g.AddEmpty(3);  // made a voter, and does not know it yet
  g.network.clear();
  ASSERT_TRUE(g.core(3).Step(From(2, 3, 2, VoteRequest{.last = {Term(1), LogIndex(4)}})).ok());
  g.Take(3);
  EXPECT_TRUE(As<VoteReply>(g.network.back())->granted);
  g.Tick(3, 100);
  EXPECT_EQ(g.core(3).role(), Role::kFollower) << "it does not campaign by itself";
}

TEST(Election, ALeaderWhoseDiskStandsStillStepsDown) {
  TestGroup g(3);
  g.Elect(1);
  g.node(1).hold_writes = true;
  g.Propose(1, "a");
  g.Run();
  g.TickAll(60);
  EXPECT_NE(g.core(1).role(), Role::kLeader);
  ASSERT_FALSE(g.node(1).notices.empty());
  EXPECT_EQ(g.node(1).notices[0].kind, Notice::kDiskStalled);
  EXPECT_TRUE(g.core(2).role() == Role::kLeader || g.core(3).role() == Role::kLeader);
}

TEST(Election, TheOnlyVoterLeadsOnThroughAStallOfItsDisk) {
  TestGroup g(1);
  g.Elect(1);
  g.node(1).hold_writes = true;
  g.Propose(1, "a");
  g.Run();
  g.TickAll(60);
  EXPECT_EQ(g.core(1).role(), Role::kLeader);
}

TEST(Election, LeadershipIsHandedOverToACaughtUpVoter) {
  TestGroup g(3);
  g.Elect(1);
  g.Propose(1, "a");
  g.Run();
  ASSERT_TRUE(g.core(1).TransferLeadership(Id(3)).ok());
  EXPECT_TRUE(absl::IsUnavailable(g.core(1).Propose({}).status()));
  g.Run();
  EXPECT_EQ(g.core(3).role(), Role::kLeader);
  EXPECT_EQ(g.core(1).leader(), Id(3));
  EXPECT_EQ(g.core(1).term(), Term(2)) << "no pre-vote, and live leaders do not refuse";
}

TEST(Election, ATransferWaitsForTheTargetAndEndsByItself) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.to == Id(3); };
  g.Propose(1, "a");
  g.Run();
  ASSERT_TRUE(g.core(1).TransferLeadership(Id(3)).ok());
  g.TickAll(5);
  EXPECT_EQ(g.core(1).role(), Role::kLeader) << "3 lacks an entry: not asked to campaign";
  EXPECT_FALSE(g.core(1).Propose({}).ok());
  g.Tick(1, 5);
  EXPECT_TRUE(g.core(1).Propose({}).ok());
  ASSERT_FALSE(g.node(1).notices.empty());
  EXPECT_EQ(g.node(1).notices.back().kind, Notice::kTransferAborted);
}

TEST(Election, OnlyWhoHasEverythingIsAskedToTakeOver) {
  TestGroup g(3);
  g.Elect(1);
  int asked = 0;
  g.drop = [&](const Message& m) {
    asked += As<TimeoutNow>(m) != nullptr;
    return m.to == Id(3) || As<TimeoutNow>(m) != nullptr;
  };
  for (int i = 0; i < 3; ++i) g.Propose(1, "a");
  g.Run();
  ASSERT_TRUE(g.core(1).TransferLeadership(Id(3)).ok());
  g.Run();
  EXPECT_EQ(asked, 0) << "it lacks three entries";
  const auto ack = [](int64_t match) {
    return From(3, 1, 1, AppendReply{.accepted = true, .match = LogIndex(match), .request = 1000});
  };
  ASSERT_TRUE(g.core(1).Step(ack(3)).ok());
  g.Run();
  EXPECT_EQ(asked, 0) << "it lacks one";
  ASSERT_TRUE(g.core(1).Step(ack(4)).ok());
  g.Run();
  EXPECT_GT(asked, 0);
}

TEST(Election, OnlyTheLeaderMayAskToTakeOver) {
  TestGroup g(3);
  g.Elect(1);
  ASSERT_TRUE(g.core(2).Step(From(3, 2, 1, TimeoutNow())).ok());
  EXPECT_EQ(g.core(2).role(), Role::kFollower);
  g.core(2).ForgetLeader();
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, TimeoutNow())).ok());
  EXPECT_EQ(g.core(2).role(), Role::kFollower) << "it follows nobody";
}

TEST(Election, AFollowerWhoseDiskStandsStillDoesNotCampaign) {
  TestGroup g(3);
  g.Elect(1);
  g.node(2).hold_writes = true;
  g.Propose(1, "a");
  g.Run();
  ASSERT_FALSE(g.node(2).held.empty());
  g.TickAll(21);
  g.drop = [](const Message&) { return true; };
  g.Tick(2, 60);
  EXPECT_EQ(g.core(2).role(), Role::kFollower);
  g.core(2).Campaign();
  EXPECT_EQ(g.core(2).role(), Role::kFollower);
  g.Persist(2);
  g.Tick(2, 25);
  EXPECT_EQ(g.core(2).role(), Role::kPreCandidate);
}

TEST(Election, TwoLeadersOfOneTermStopTheReplicaThatSeesThem) {
  TestGroup g(3);
  g.Elect(1);
  ASSERT_TRUE(g.core(2).Step(From(3, 2, 1, Heartbeat{})).ok());
  g.Take(2);
  ASSERT_TRUE(g.node(2).fatal);
  EXPECT_EQ(g.node(2).fatal->kind, Fatal::kTwoLeaders);
  ASSERT_TRUE(g.core(2).Step(From(3, 2, 9, VoteRequest{})).ok());
  EXPECT_FALSE(g.core(2).TakeReady().writes()) << "it does nothing more";
}

TEST(Election, MessagesForALostDiskAreNotTaken) {
  TestGroup g(3);
  Message m = From(1, 2, 3, VoteRequest{.last = {Term(2), LogIndex(5)}});
  m.to.incarnation = 6;
  EXPECT_TRUE(absl::IsInvalidArgument(g.core(2).Step(m)));
  EXPECT_EQ(g.core(2).term(), Term(0));
  g.core(2).Stop();
  EXPECT_TRUE(absl::IsInvalidArgument(g.core(2).Step(m))) << "nor does one that has stopped pretend to take them";
}

}  // namespace
}  // namespace millrace::raft
