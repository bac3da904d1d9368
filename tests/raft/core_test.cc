// Reads, quiet groups, and replicas that may have lost what they acked (reliability rules 3, 10, 17, 20; ARCHITECTURE D4, D9).
#include "tests/raft/test_group.h"

namespace millrace::raft {
namespace {

// ---- Reads

TEST(Reads, PassAfterAMajorityAnswered) {
  TestGroup g(3);
  g.Elect(1);
  g.Propose(1, "a");
  g.Run();
  g.drop = [](const Message& m) { return m.from != Id(1); };
  ASSERT_TRUE(g.core(1).ReadIndex(5).ok());
  g.Run();
  EXPECT_TRUE(g.node(1).reads_ready.empty());
  g.drop = [](const Message& m) { return m.from == Id(2); };
  g.TickAll();
  ASSERT_EQ(g.node(1).reads_ready.size(), 1u);
  EXPECT_EQ(g.node(1).reads_ready[0].id, 5u);
  EXPECT_EQ(g.node(1).reads_ready[0].index, LogIndex(2));
}

TEST(Reads, WaitForTheFirstCommitOfTheTerm) {
  TestGroup g(3);
  g.drop = [](const Message& m) { return std::holds_alternative<AppendEntries>(m.body); };
  g.core(1).Campaign();
  g.Run();
  ASSERT_TRUE(g.core(1).ReadIndex(1).ok());
  g.TickAll(2);
  EXPECT_TRUE(g.node(1).reads_ready.empty()) << "earlier leaders may have committed more than this one knows";
  g.drop = nullptr;
  g.TickAll(3);
  ASSERT_EQ(g.node(1).reads_ready.size(), 1u);
  EXPECT_EQ(g.node(1).reads_ready[0].index, LogIndex(1));
}

TEST(Reads, AnswersOfEarlierRoundsDoNotCount) {
  TestGroup g(3);
  g.Elect(1);
  ASSERT_TRUE(g.core(1).ReadIndex(1).ok());
  g.Run();
  ASSERT_EQ(g.node(1).reads_ready.size(), 1u);
  g.drop = [](const Message&) { return true; };
  ASSERT_TRUE(g.core(1).ReadIndex(2).ok());
  g.Take(1);
  ASSERT_TRUE(g.core(1).Step(From(2, 1, 1, HeartbeatReply{.read_round = 1})).ok());
  g.Take(1);
  EXPECT_EQ(g.node(1).reads_ready.size(), 1u);
  ASSERT_TRUE(g.core(1).Step(From(2, 1, 1, HeartbeatReply{.read_round = 2})).ok());
  g.Take(1);
  EXPECT_EQ(g.node(1).reads_ready.size(), 2u);
}

TEST(Reads, OfALeaderThatLostItsPlaceFail) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.from == Id(1) || m.to == Id(1); };
  ASSERT_TRUE(g.core(1).ReadIndex(7).ok());
  g.Tick(1, 21);
  EXPECT_EQ(g.node(1).reads_failed, (std::vector<uint64_t>{7}));
  EXPECT_TRUE(absl::IsFailedPrecondition(g.core(1).ReadIndex(8)));
}

TEST(Reads, AnswersOfThoseWhoAbstainDoNotCount) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.from == Id(2) || m.to == Id(2); };
  g.Propose(1, "with the help of 3");
  g.Run();
  g.node(3).disk.term_and_vote.abstaining = true;
  g.Restart(3);
  g.TickAll(2);
  ASSERT_TRUE(g.core(3).abstaining());
  ASSERT_TRUE(g.core(1).ReadIndex(1).ok());
  g.Run();
  EXPECT_TRUE(g.node(1).reads_ready.empty());
  g.drop = nullptr;
  g.TickAll(2);
  EXPECT_EQ(g.node(1).reads_ready.size(), 1u);
}

TEST(Reads, ALeaderThatAbstainsDoesNotCountItself) {
  TestGroup g(3);
  g.node(1).disk.term_and_vote.abstaining = true;
  g.Restart(1);
  // What it leads with is not durable here, so it cannot end.
  g.drop = [&](const Message& m) {
    if (As<AppendEntries>(m)) g.node(1).hold_writes = true;
    return false;
  };
  g.Elect(1);
  ASSERT_TRUE(g.core(1).abstaining());
  ASSERT_EQ(g.core(1).commit_index(), LogIndex(1));
  g.drop = [](const Message& m) { return m.from == Id(3) || m.to == Id(3); };
  g.core(1).OnApplied(LogIndex(1));
  ASSERT_TRUE(g.core(1).ReadIndex(1).ok());
  g.TickAll(2);
  EXPECT_TRUE(g.node(1).reads_ready.empty()) << "2 alone has answered";
  g.drop = nullptr;
  g.TickAll(2);
  EXPECT_EQ(g.node(1).reads_ready.size(), 1u);
}

TEST(Reads, WaitForWhatIsApplied) {
  TestGroup g(1);
  g.Elect(1);
  g.node(1).hold_writes = true;
  g.Propose(1, "a");
  g.Take(1);
  g.core(1).OnPersisted(g.node(1).held.back().seq);
  ASSERT_TRUE(g.core(1).ReadIndex(1).ok());
  Ready ready = g.core(1).TakeReady();
  EXPECT_TRUE(ready.reads_ready.empty());
  EXPECT_EQ(ready.committed.last, LogIndex(2));
  g.core(1).OnApplied(LogIndex(2));
  ready = g.core(1).TakeReady();
  ASSERT_EQ(ready.reads_ready.size(), 1u);
}

TEST(Reads, OfAReplicaThatStopsFail) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.from != Id(1); };
  ASSERT_TRUE(g.core(1).ReadIndex(7).ok());
  // A leader of a later term that has another first entry than the one committed here.
  Entry other{.header = {.type = EntryType::kNoop, .term = Term(2), .index = LogIndex(1)}};
  ASSERT_TRUE(g.core(1).Step(From(2, 1, 2, AppendEntries{.entries = {other}})).ok());
  const Ready last = g.core(1).TakeReady();
  ASSERT_TRUE(last.fatal);
  EXPECT_THAT(last.fatal->text, testing::HasSubstr("2/1(0)")) << "with its evidence";
  EXPECT_EQ(last.reads_failed, (std::vector<uint64_t>{7}));
  EXPECT_EQ(last.role->role, Role::kFollower);
  EXPECT_FALSE(g.core(1).HasReady());
}

// It was released, and nobody has been told.
TEST(Reads, OfAReplicaThatStopsFailThoughTheyHavePassed) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message&) { return true; };
  ASSERT_TRUE(g.core(1).ReadIndex(7).ok());
  g.Take(1);
  ASSERT_TRUE(g.core(1).Step(From(2, 1, 1, HeartbeatReply{.read_round = 1})).ok());
  g.core(1).Stop();
  EXPECT_EQ(g.core(1).TakeReady().reads_failed, (std::vector<uint64_t>{7}));
}

TEST(Reads, TooManyAreRefused) {
  Config config = TestGroup::TestConfig();
  config.reads_max = 2;
  TestGroup g(3, config);
  g.Elect(1);
  EXPECT_TRUE(g.core(1).ReadIndex(1).ok());
  EXPECT_TRUE(g.core(1).ReadIndex(2).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(g.core(1).ReadIndex(3)));
  g.Run();
  EXPECT_TRUE(g.core(1).ReadIndex(4).ok());
}

TEST(Heartbeats, DoNotPileUpWhileNothingIsTaken) {
  TestGroup g(3);
  g.Elect(1);
  for (uint64_t round = 1; round <= 10'000; ++round) {
    ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, Heartbeat{.read_round = round})).ok());
    g.core(1).Tick();
    ASSERT_TRUE(g.core(1).Step(From(2, 1, 1, HeartbeatReply{})).ok());
  }
  const Ready ready = g.core(2).TakeReady();
  ASSERT_EQ(ready.send_now.size(), 1u);
  EXPECT_EQ(std::get<HeartbeatReply>(ready.send_now[0].body).read_round, 10'000u);
  EXPECT_LE(g.core(1).TakeReady().send_now.size(), 4u);
}

// ---- Quiet groups

Config QuietConfig() {
  Config config = TestGroup::TestConfig();
  config.quiesce_ticks = 5;
  return config;
}

TEST(Quiet, AnIdleGroupThatHasEverythingFallsQuiet) {
  TestGroup g(3, QuietConfig());
  g.Elect(1);
  g.Propose(1, "a");
  g.TickAll(10);
  for (int n = 1; n <= 3; ++n) EXPECT_TRUE(g.core(n).quiet()) << n;
  g.TickAll(1000);
  EXPECT_EQ(g.core(1).role(), Role::kLeader);
  EXPECT_FALSE(g.core(1).HasReady());
}

TEST(Quiet, NotWhileAMemberLacksSomething) {
  TestGroup g(3, QuietConfig());
  g.Elect(1);
  g.drop = [](const Message& m) { return m.to == Id(3); };
  g.Propose(1, "a");
  g.TickAll(50);
  EXPECT_FALSE(g.core(1).quiet());
}

TEST(Quiet, NotBeforeAllMembersSayThatTheyAre) {
  TestGroup g(3, QuietConfig());
  g.Elect(1);
  g.drop = [](const Message& m) {
    const auto* reply = As<HeartbeatReply>(m);
    return reply != nullptr && reply->quiet && m.from == Id(3);
  };
  g.TickAll(50);
  EXPECT_TRUE(g.core(3).quiet());
  EXPECT_FALSE(g.core(1).quiet());
  g.drop = nullptr;
  g.TickAll(2);
  EXPECT_TRUE(g.core(1).quiet());
}

TEST(Quiet, AProposalWakesAll) {
  TestGroup g(3, QuietConfig());
  g.Elect(1);
  g.TickAll(10);
  ASSERT_TRUE(g.core(2).quiet());
  g.Propose(1, "a");
  g.Run();
  for (int n = 1; n <= 3; ++n) {
    EXPECT_FALSE(g.core(n).quiet()) << n;
    EXPECT_EQ(g.node(n).applied.size(), 1u) << n;
  }
}

TEST(Quiet, ALeadersDeathIsNoticedByItsBrokersSilence) {
  TestGroup g(3, QuietConfig());
  g.Elect(1);
  g.TickAll(10);
  g.drop = [](const Message& m) { return m.from == Id(1) || m.to == Id(1); };
  g.core(2).OnUnreachable(Id(1));
  g.core(3).OnUnreachable(Id(1));
  g.TickAll(25);
  EXPECT_TRUE(g.core(2).role() == Role::kLeader || g.core(3).role() == Role::kLeader);
}

TEST(Quiet, AFollowerThatWakesAloneDoesNotDeposeTheLeader) {
  TestGroup g(3, QuietConfig());
  g.Elect(1);
  g.TickAll(10);
  g.core(3).Wake();
  g.TickAll(60);
  EXPECT_EQ(g.core(1).role(), Role::kLeader);
  EXPECT_EQ(g.core(1).term(), Term(1));
}

TEST(Quiet, LateAnswersDoNotWakeAndOldHeartbeatsDoNotPutToSleep) {
  TestGroup g(3, QuietConfig());
  g.Elect(1);
  g.TickAll(10);
  ASSERT_TRUE(g.core(1).Step(From(2, 1, 1, HeartbeatReply{.quiet = true, .last_index = LogIndex(1)})).ok());
  EXPECT_TRUE(g.core(1).quiet());
  g.Propose(1, "a");
  g.Run();
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, Heartbeat{.quiesce = true, .last_index = LogIndex(1)})).ok());
  EXPECT_FALSE(g.core(2).quiet());
}

TEST(Quiet, WhoeverWasRemovedAndDidNotHearOfItDoesNotWakeTheOthers) {
  TestGroup g(3, QuietConfig());
  g.Elect(1);
  g.TickAll(10);
  Message ask = From(9, 2, 5, VoteRequest{.pre_vote = true});
  ASSERT_TRUE(g.core(2).Step(ask).ok());
  EXPECT_TRUE(g.core(2).quiet());
  ask.to = Id(1);
  ASSERT_TRUE(g.core(1).Step(ask).ok());
  EXPECT_TRUE(g.core(1).quiet());
}

// ---- Abstaining

TEST(Abstaining, ItsVoteAloneElectsNobody) {
  TestGroup g(3);
  g.Elect(1);
  g.Run();
  g.node(3).disk.term_and_vote.abstaining = true;
  g.Restart(3);
  g.drop = [](const Message& m) { return m.from == Id(1) || m.to == Id(1); };
  g.core(2).OnUnreachable(Id(1));
  g.core(2).Campaign();
  g.Run();
  EXPECT_NE(g.core(2).role(), Role::kLeader);
}

TEST(Abstaining, ItsCopyDoesNotCountUntilTheLeaderConfirmsWithoutIt) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.from == Id(2) || m.to == Id(2); };
  g.Propose(1, "with the help of 3");
  g.Run();
  const LogIndex commit = g.core(1).commit_index();
  ASSERT_EQ(commit, LogIndex(2));
  g.node(3).disk.term_and_vote.abstaining = true;
  g.Restart(3);
  g.TickAll(2);
  g.Propose(1, "a");
  g.TickAll(3);
  EXPECT_EQ(g.core(3).last_index(), commit + 1);
  EXPECT_EQ(g.core(1).commit_index(), commit);
  g.drop = nullptr;
  g.TickAll(5);
  EXPECT_EQ(g.core(1).commit_index(), commit + 1);
  EXPECT_FALSE(g.core(3).abstaining());
  EXPECT_FALSE(g.node(3).disk.term_and_vote.abstaining);
  // From here on it counts.
  g.drop = [](const Message& m) { return m.from == Id(2) || m.to == Id(2); };
  g.Propose(1, "b");
  g.TickAll(3);
  EXPECT_EQ(g.core(1).commit_index(), commit + 2);
}

TEST(Abstaining, EndsOnlyWhenWhatIsConfirmedIsDurable) {
  TestGroup g(3);
  g.Elect(1);
  g.Propose(1, "a");
  g.Run();
  TestDisk& disk = g.node(3).disk;
  disk.entries.pop_back();
  disk.term_and_vote.abstaining = true;
  disk.term_and_vote.commit_index = LogIndex(1);
  g.Restart(3);
  g.node(3).hold_writes = true;
  for (int i = 0; i < 4; ++i) {
    g.TickAll();
    while (g.node(3).held.size() > 1 && g.node(3).held.front().append.empty()) g.PersistOne(3);
  }
  ASSERT_EQ(g.core(3).last_index(), LogIndex(2));
  EXPECT_TRUE(g.core(3).abstaining()) << "entry 2 is confirmed, and not on the disk";
  for (int i = 0; i < 3; ++i) {
    g.Persist(3);
    g.TickAll();
  }
  EXPECT_FALSE(g.core(3).abstaining());
}

TEST(Abstaining, IsEndedByAWordForThisTimeOnly) {
  TestGroup g(3);
  g.Elect(1);
  g.Propose(1, "a");
  g.Run();
  g.node(3).disk.term_and_vote.abstaining = true;
  g.Restart(3);
  std::optional<Message> word;
  g.drop = [&](const Message& m) {
    const auto* append = As<AppendEntries>(m);
    if (append != nullptr && append->confirmed.abstention != 0 && append->confirmed.index > LogIndex(0)) word = m;
    return word.has_value();
  };
  g.TickAll(3);
  ASSERT_TRUE(word);
  ASSERT_TRUE(g.core(3).abstaining());
  // Down again, and what it has had acked in between may be lost again.
  g.Restart(3);
  ASSERT_TRUE(g.core(3).Step(*word).ok());
  EXPECT_TRUE(g.core(3).abstaining());
  g.drop = nullptr;
  g.TickAll(3);
  EXPECT_FALSE(g.core(3).abstaining());
}

TEST(Abstaining, WhenAllVotersAreBackTheLongestLogWins) {
  TestGroup g(3);
  g.Elect(1);
  g.Propose(1, "a");
  g.Run();
  // All machines went down; 1 and 3 lost their last entry.
  for (int n = 1; n <= 3; ++n) {
    TestDisk& disk = g.node(n).disk;
    disk.term_and_vote.abstaining = true;
    disk.term_and_vote.commit_index = LogIndex(1);
    if (n != 2) disk.entries.pop_back();
    g.Restart(n);
  }
  g.drop = [](const Message& m) { return m.from == Id(3) || m.to == Id(3); };
  g.TickAll(60);
  for (int n = 1; n <= 2; ++n) EXPECT_NE(g.core(n).role(), Role::kLeader) << "one is missing";
  g.drop = nullptr;
  g.TickAll(80);
  ASSERT_EQ(g.core(2).role(), Role::kLeader) << g.core(2).Dump();
  bool told = false;
  for (const Notice& notice : g.node(2).notices) told = told || notice.kind == Notice::kPossibleLoss;
  EXPECT_TRUE(told);
  for (int n = 1; n <= 3; ++n) {
    EXPECT_FALSE(g.core(n).abstaining()) << n;
    EXPECT_EQ(g.core(n).commit_index(), g.core(2).last_index()) << n;
  }
  EXPECT_EQ(g.node(3).applied.back(), "a");
}

TEST(Abstaining, AReplicaWithoutWhatItAckedIsNoticedAndAbstains) {
  TestGroup g(3);
  g.Elect(1);
  g.Propose(1, "a");
  g.Propose(1, "b");
  g.Run();
  // Its disk lied: the last entry is gone.
  TestDisk& disk = g.node(3).disk;
  disk.entries.pop_back();
  disk.term_and_vote.commit_index = LogIndex(1);
  g.Restart(3);
  g.core(1).OnUnreachable(Id(3));
  g.TickAll();
  ASSERT_FALSE(g.node(1).notices.empty());
  EXPECT_EQ(g.node(1).notices[0].kind, Notice::kLostDurability);
  EXPECT_EQ(g.node(1).notices[0].replica, Id(3));
  g.TickAll(4);
  EXPECT_EQ(g.core(3).last_index(), LogIndex(3));
  EXPECT_FALSE(g.core(3).abstaining()) << "it caught up";
  bool abstained = false;
  for (const Ready& ready : g.node(3).log)
    abstained = abstained || (ready.term_and_vote && ready.term_and_vote->abstaining);
  EXPECT_TRUE(abstained);
}

// The disk of 3 lost the cut that its acks rest on: it holds what had been cut off, as far as what it had acked and no shorter.
// Nothing but the terms can tell.
void LoseACut(TestGroup& g, bool abstaining) {
  g.Elect(3);
  g.drop = [](const Message& m) { return m.from == Id(3) || m.to == Id(3); };
  for (int i = 0; i < 2; ++i) g.Propose(3, "cut off");
  g.Run();
  const TestDisk before = g.node(3).disk;
  g.Elect(1);
  g.Propose(1, "a");
  g.drop = nullptr;
  g.TickAll(3);
  ASSERT_EQ(LogText(g.node(3).disk), "1/1 2/2 2/3");
  ASSERT_EQ(LogText(before), "1/1 1/2 1/3");
  g.node(3).disk.entries = before.entries;
  g.node(3).disk.term_and_vote.commit_index = LogIndex(1);
  g.node(3).disk.term_and_vote.abstaining = abstaining;
  g.node(3).applied.clear();
  g.Restart(3);
}

TEST(Abstaining, ACutThatIsLostBringsNothingBackThatIsCommitted) {
  TestGroup g(3);
  LoseACut(g, /*abstaining=*/false);
  g.TickAll(3);
  EXPECT_EQ(g.core(3).commit_index(), LogIndex(1)) << "heartbeats name an entry that it does not hold";
  EXPECT_TRUE(g.node(1).notices.empty()) << "nothing has shown it yet";
  g.Propose(1, "b");
  g.TickAll(4);
  ASSERT_FALSE(g.node(1).notices.empty()) << g.core(1).Dump();
  EXPECT_EQ(g.node(1).notices[0].kind, Notice::kLostDurability);
  EXPECT_EQ(g.node(1).notices[0].replica, Id(3));
  EXPECT_EQ(LogText(g.node(3).disk), "1/1 2/2 2/3 2/4");
  EXPECT_EQ(g.node(3).applied, (std::vector<std::string>{"a", "b"}));
  EXPECT_FALSE(g.core(3).abstaining()) << "it caught up";
}

TEST(Abstaining, AHeartbeatCommitsNothingThatACrashBroughtBack) {
  TestGroup g(3);
  LoseACut(g, /*abstaining=*/true);
  g.core(1).Tick();
  g.Take(1);
  g.DeliverTo(3);
  EXPECT_EQ(g.core(3).commit_index(), LogIndex(1));
  g.TickAll(4);
  EXPECT_EQ(g.core(3).commit_index(), LogIndex(3));
  EXPECT_EQ(g.node(3).applied, std::vector<std::string>{"a"});
  EXPECT_FALSE(g.core(3).abstaining());
}

// A refusal of a request from before the leader knew of the ack proves nothing: it is late.
TEST(Abstaining, ALateRefusalIsNoLoss) {
  TestGroup g(3);
  g.Elect(1);
  g.Propose(1, "a");
  g.Run();
  const AppendReply refused{.rejected = LogIndex(1), .request = 1};
  ASSERT_TRUE(g.core(1).Step(From(3, 1, 1, refused)).ok());
  g.TickAll(3);
  EXPECT_TRUE(g.node(1).notices.empty());
  EXPECT_EQ(g.core(1).progress()[2].match, LogIndex(2));
}

TEST(Abstaining, ALateRequestToAbstainIsOfNoUse) {
  TestGroup g(3);
  g.Elect(1);
  for (int i = 0; i < 2; ++i) g.Propose(1, "a");
  g.Run();
  TestDisk& disk = g.node(3).disk;
  disk.entries.pop_back();
  disk.term_and_vote.commit_index = LogIndex(1);
  g.Restart(3);
  std::optional<Message> request;
  g.drop = [&](const Message& m) {
    const auto* append = std::get_if<AppendEntries>(&m.body);
    if (append != nullptr && append->lost_in_life != 0) request = m;
    return false;
  };
  g.core(1).OnUnreachable(Id(3));
  g.TickAll(5);
  ASSERT_TRUE(request);
  ASSERT_FALSE(g.core(3).abstaining()) << "it is over";
  ASSERT_TRUE(g.core(3).Step(*request).ok());
  EXPECT_FALSE(g.core(3).abstaining());
  g.Restart(3);
  ASSERT_TRUE(g.core(3).Step(*request).ok());
  EXPECT_FALSE(g.core(3).abstaining()) << "that was of another life";
}

TEST(Abstaining, AcksFromBeforeDoNotCountAfter) {
  TestGroup g(3);
  g.Elect(1);
  g.Propose(1, "a");
  g.Run();
  ASSERT_TRUE(g.core(1).Step(From(3, 1, 1, HeartbeatReply{.last_index = LogIndex(0), .abstention = 9})).ok());
  ASSERT_TRUE(
      g.core(1)
          .Step(From(3, 1, 1,
                     AppendReply{.accepted = true, .match = LogIndex(2), .last_index = LogIndex(2), .request = 2}))
          .ok());
  EXPECT_TRUE(g.core(1).progress()[2].abstention != 0);
  EXPECT_EQ(g.core(1).progress()[2].match, LogIndex(0));
}

}  // namespace
}  // namespace millrace::raft
