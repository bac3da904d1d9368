// Entries on their way to a majority's disks (reliability rules 2-8, 10, 18, 23, 24).
#include <set>

#include "tests/raft/test_group.h"

namespace millrace::raft {
namespace {

Entry Records(int64_t term, int64_t index, int64_t base_offset, const std::string& payload = "x") {
  return {
      .header = {.term = Term(term), .index = LogIndex(index), .base_offset = Offset(base_offset), .record_count = 1},
      .payload = absl::Cord(payload)};
}

// A crash of all machines must leave the last term that anything was committed in: an election goes by it.
TEST(Replication, TheFirstEntryOfATermIsSyncedAtEveryLevel) {
  TestGroup g(3);
  Core& core = g.core(2);
  core.SetSynced(false);
  const auto syncs = [&](int leader, int64_t term, AppendEntries append) {
    EXPECT_TRUE(core.Step(From(leader, 2, term, std::move(append))).ok());
    const Ready ready = core.TakeReady();
    core.OnPersisted(ready.seq);
    return ready.must_sync;
  };
  EXPECT_TRUE(syncs(1, 1, {}));  // the term itself
  EXPECT_TRUE(syncs(1, 1, {.entries = {Records(1, 1, 0)}}));
  EXPECT_FALSE(syncs(1, 1, {.prev = {Term(1), LogIndex(1)}, .entries = {Records(1, 2, 1)}}));
  EXPECT_TRUE(syncs(3, 3, {.prev = {Term(1), LogIndex(2)}}));
  EXPECT_FALSE(syncs(3, 3, {.prev = {Term(1), LogIndex(2)}, .entries = {Records(1, 3, 2)}}));
  EXPECT_TRUE(syncs(3, 3, {.prev = {Term(1), LogIndex(3)}, .entries = {Records(3, 4, 3)}}));
  EXPECT_FALSE(syncs(3, 3, {.prev = {Term(3), LogIndex(4)}, .entries = {Records(3, 5, 4)}}));
}

// Nor may it bring back, of a later term, what was cut off.
TEST(Replication, ACutIsSyncedWithWhatTakesItsPlace) {
  TestGroup g(3);
  g.core(1).SetSynced(false);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.from == Id(1) || m.to == Id(1); };
  g.Propose(1, "a");
  g.Run();
  g.core(2).Campaign();
  g.TickAll(30);
  g.drop = nullptr;
  g.TickAll(3);
  int cuts = 0;
  for (const Ready& ready : g.node(1).log) {
    if (!ready.truncate_from) continue;
    ++cuts;
    EXPECT_TRUE(ready.must_sync);
  }
  EXPECT_EQ(cuts, 1);
}

TEST(Replication, WhatIsProposedCommitsEverywhere) {
  TestGroup g(3);
  g.Elect(1);
  EXPECT_EQ(g.Propose(1, "a"), (EntryId{Term(1), LogIndex(2)}));
  g.Propose(1, "b");
  g.Run();
  for (int n = 1; n <= 3; ++n) EXPECT_EQ(g.node(n).applied, (std::vector<std::string>{"a", "b"})) << n;
  EXPECT_EQ(g.core(2).end_offset(), Offset(2)) << "the leader's own entry has no offset";
}

TEST(Replication, ProposalsOfOneTurnTravelTogether) {
  TestGroup g(3);
  g.Elect(1);
  for (int i = 0; i < 10; ++i) g.Propose(1, "a");
  Ready ready = g.core(1).TakeReady();
  EXPECT_EQ(ready.append.size(), 10u);
  ASSERT_EQ(ready.send_now.size(), 2u);
  EXPECT_EQ(As<AppendEntries>(ready.send_now[0])->entries.size(), 10u);
}

TEST(Replication, AFollowerAcksWhatIsDurable) {
  TestGroup g(3);
  g.Elect(1);
  g.node(2).hold_writes = g.node(3).hold_writes = true;
  g.Propose(1, "a");
  g.Run();
  EXPECT_EQ(g.core(1).commit_index(), LogIndex(1));
  g.Persist(2);
  g.Run();
  EXPECT_EQ(g.core(1).commit_index(), LogIndex(2));
}

TEST(Replication, ALeaderCountsItselfWhenItsWriteIsDurable) {
  TestGroup g(3);
  g.Elect(1);
  g.node(1).hold_writes = true;
  g.drop = [](const Message& m) { return m.to == Id(3); };
  g.Propose(1, "a");
  g.Run();
  EXPECT_EQ(g.core(1).commit_index(), LogIndex(1)) << "2 has it, 1 not yet";
  g.Persist(1);
  g.Run();
  EXPECT_EQ(g.core(1).commit_index(), LogIndex(2));
}

TEST(Replication, AMajorityCommitsWithoutTheLeadersDisk) {
  TestGroup g(3);
  g.Elect(1);
  g.node(1).hold_writes = true;
  g.Propose(1, "a");
  g.Run();
  EXPECT_EQ(g.core(1).commit_index(), LogIndex(2));
  EXPECT_EQ(g.core(1).stable_index(), LogIndex(1));
}

TEST(Replication, ASingleVoterCommitsAfterItsOwnWriteAndWithoutLearners) {
  TestGroup g(1);
  g.Elect(1);
  g.AddEmpty(2);
  ASSERT_TRUE(g.core(1).ProposeMembership({{MembershipChange::kAddLearner, Id(2)}}).ok());
  g.Run();
  g.node(1).hold_writes = true;
  g.Propose(1, "a");
  g.Run();
  ASSERT_EQ(g.core(2).last_index(), LogIndex(3));
  EXPECT_EQ(g.core(1).commit_index(), LogIndex(2)) << "a learner's copy is no majority";
  g.Persist(1);
  g.Run();
  EXPECT_EQ(g.core(1).commit_index(), LogIndex(3));
}

TEST(Replication, OlderTermsCommitOnlyThroughOneOfOurs) {
  // Raft paper, figure 8: in term 2 the leader knows that entry 1/2 is on a majority, and that does not commit it.
  TestGroup g(3);
  for (int n = 1; n <= 3; ++n) {
    TestDisk& disk = g.node(n).disk;
    disk.entries = {Records(1, 1, 0), Records(1, 2, 1)};
    disk.term_and_vote = {.term = Term(1), .commit_index = LogIndex(1)};
    if (n == 3) disk.entries.pop_back();
    g.Restart(n);
  }
  g.drop = [](const Message& m) {
    const auto* append = As<AppendEntries>(m);
    return append != nullptr && !append->entries.empty();  // the leader's own first entry reaches nobody
  };
  g.Elect(2);
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 2, AppendReply{.accepted = true, .match = LogIndex(2)})).ok());
  ASSERT_EQ(g.core(2).progress()[0].match, LogIndex(2));
  EXPECT_EQ(g.core(2).commit_index(), LogIndex(1));
  g.drop = nullptr;
  g.TickAll(3);
  EXPECT_EQ(g.core(2).commit_index(), LogIndex(3));
}

TEST(Replication, CommitIsClippedToWhatTheRequestProves) {
  TestGroup g(3);
  // 2 holds 1/1 1/2 of a leader that was; the leader of term 2 has 1/1 and its own 2/2, both committed.
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, AppendEntries{.entries = {Records(1, 1, 0), Records(1, 2, 1)}})).ok());
  ASSERT_TRUE(g.core(2).Step(From(3, 2, 2, AppendEntries{.prev = {Term(1), LogIndex(1)}, .commit = LogIndex(2)})).ok());
  EXPECT_EQ(g.core(2).commit_index(), LogIndex(1));
  ASSERT_TRUE(g.core(2)
                  .Step(From(3, 2, 2,
                             AppendEntries{
                                 .prev = {Term(1), LogIndex(1)}, .entries = {Records(2, 2, 1)}, .commit = LogIndex(2)}))
                  .ok());
  EXPECT_EQ(g.core(2).commit_index(), LogIndex(2));
  g.Take(2);
  EXPECT_EQ(LogText(g.node(2).disk), "1/1 2/2");
}

TEST(Replication, LateRequestsCutNothing) {
  TestGroup g(3);
  const auto step = [&](EntryId prev, std::vector<Entry> entries, int64_t commit) {
    ASSERT_TRUE(
        g.core(2)
            .Step(From(1, 2, 1, AppendEntries{.prev = prev, .entries = std::move(entries), .commit = LogIndex(commit)}))
            .ok());
    g.Take(2);
  };
  step({}, {Records(1, 1, 0), Records(1, 2, 1), Records(1, 3, 2)}, 0);
  step({}, {Records(1, 1, 0)}, 0);      // came late
  step({Term(1), LogIndex(1)}, {}, 0);  // short
  EXPECT_EQ(g.core(2).last_index(), LogIndex(3));
  step({Term(1), LogIndex(3)}, {}, 3);
  g.core(2).OnPrefixRemoved(LogIndex(3));             // retention took 1 and 2
  step({}, {Records(1, 1, 0), Records(1, 2, 1)}, 3);  // from before that
  EXPECT_EQ(g.core(2).last_index(), LogIndex(3));
  EXPECT_FALSE(g.node(2).log.back().truncate_from);
  const auto* reply = As<AppendReply>(g.network.back());
  EXPECT_TRUE(reply->accepted);
  EXPECT_EQ(reply->match, LogIndex(2)) << "no more than the request shows";
}

TEST(Replication, AConflictTakesAllLaterEntriesWithIt) {
  TestGroup g(3);
  ASSERT_TRUE(g.core(2)
                  .Step(From(1, 2, 1, AppendEntries{.entries = {Records(1, 1, 0), Records(1, 2, 1), Records(1, 3, 2)}}))
                  .ok());
  g.Take(2);
  ASSERT_TRUE(
      g.core(2).Step(From(3, 2, 2, AppendEntries{.prev = {Term(1), LogIndex(1)}, .entries = {Records(2, 2, 1)}})).ok());
  g.Take(2);
  EXPECT_EQ(g.node(2).log.back().truncate_from, LogIndex(2));
  EXPECT_EQ(LogText(g.node(2).disk), "1/1 2/2");
  EXPECT_EQ(g.core(2).end_offset(), Offset(2));
}

TEST(Replication, ACommittedEntryIsNotOverwritten) {
  TestGroup g(3);
  ASSERT_TRUE(
      g.core(2)
          .Step(From(1, 2, 1, AppendEntries{.entries = {Records(1, 1, 0), Records(1, 2, 1)}, .commit = LogIndex(2)}))
          .ok());
  g.Take(2);
  ASSERT_TRUE(g.core(2).Step(From(3, 2, 2, AppendEntries{.prev = {Term(2), LogIndex(2)}})).ok());
  g.Take(2);
  ASSERT_TRUE(g.node(2).fatal);
  EXPECT_EQ(g.node(2).fatal->kind, Fatal::kCommittedOverwrite);
  EXPECT_EQ(LogText(g.node(2).disk), "1/1 1/2");
}

TEST(Replication, OffsetsOfAnEntryMustFollow) {
  TestGroup g(3);
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, AppendEntries{.entries = {Records(1, 1, 0)}})).ok());
  ASSERT_TRUE(
      g.core(2).Step(From(1, 2, 1, AppendEntries{.prev = {Term(1), LogIndex(1)}, .entries = {Records(1, 2, 7)}})).ok());
  g.Take(2);
  ASSERT_TRUE(g.node(2).fatal);
  EXPECT_EQ(g.node(2).fatal->kind, Fatal::kDivergedLog);
}

TEST(Replication, AnAckOfWhatWasCutSinceCountsNothing) {
  // The append ABA race: 2/2 is appended while 1/2 is still being written. Finishing the old write must not make the new entry
  // durable, and no ack of term 1 may leave once the term has changed.
  TestGroup g(3);
  g.node(2).hold_writes = true;
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, AppendEntries{.entries = {Records(1, 1, 0), Records(1, 2, 1)}})).ok());
  g.Take(2);
  ASSERT_TRUE(
      g.core(2).Step(From(3, 2, 2, AppendEntries{.prev = {Term(1), LogIndex(1)}, .entries = {Records(2, 2, 1)}})).ok());
  g.Take(2);
  ASSERT_EQ(g.node(2).held.size(), 2u);
  g.PersistOne(2);
  EXPECT_EQ(g.core(2).stable_index(), LogIndex(1));
  g.PersistOne(2);
  EXPECT_EQ(g.core(2).stable_index(), LogIndex(2));
}

TEST(Replication, AQueuedAckIsDroppedWhenTheTermChanges) {
  TestGroup g(3);
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, AppendEntries{.entries = {Records(1, 1, 0)}})).ok());
  ASSERT_TRUE(g.core(2).Step(From(3, 2, 2, AppendEntries{.entries = {Records(2, 1, 0)}})).ok());
  g.Take(2);
  for (const Message& m : g.network) EXPECT_FALSE(m.to == Id(1) && As<AppendReply>(m)->accepted);
}

TEST(Replication, TermsAndEntriesAreStoredTogetherAndCommitNeverPassesThem) {
  TestGroup g(3);
  g.Elect(1);
  for (int i = 0; i < 5; ++i) {
    g.Propose(1, "a");
    g.Run();
  }
  for (int n = 1; n <= 3; ++n) {
    EXPECT_GE(g.node(n).disk.term_and_vote.commit_index, LogIndex(4)) << "goes along with the next write";
  }
  // A later leader's entries, known to be committed already, replace one that was not.
  g.node(2).hold_writes = true;
  ASSERT_TRUE(
      g.core(2).Step(From(1, 2, 1, AppendEntries{.prev = {Term(1), LogIndex(6)}, .entries = {Records(1, 7, 5)}})).ok());
  g.Take(2);
  ASSERT_TRUE(g.core(2)
                  .Step(From(3, 2, 2,
                             AppendEntries{.prev = {Term(1), LogIndex(6)},
                                           .entries = {Records(2, 7, 5), Records(2, 8, 6)},
                                           .commit = LogIndex(8)}))
                  .ok());
  g.Take(2);
  const Ready& ready = g.node(2).held.back();
  ASSERT_TRUE(ready.term_and_vote);
  EXPECT_EQ(ready.term_and_vote->term, Term(2));
  EXPECT_EQ(ready.term_and_vote->commit_index, LogIndex(8));
  ASSERT_EQ(ready.append.size(), 2u) << "in the write that stores their term";
  // Each write as a crash may leave it: the last one.
  for (LogIndex last = g.node(2).disk.last_index(); !g.node(2).held.empty(); g.PersistOne(2)) {
    const Ready& next = g.node(2).held.front();
    if (next.truncate_from) last = *next.truncate_from - 1;
    if (!next.append.empty()) last = next.append.back().header.index;
    EXPECT_LE(next.term_and_vote ? next.term_and_vote->commit_index : LogIndex(0), last);
  }
}

TEST(Replication, ALaggingFollowerIsFoundByTerms) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.to == Id(3) || m.from == Id(3); };
  for (int i = 0; i < 50; ++i) g.Propose(1, "a");
  g.Run();
  g.Elect(2);
  for (int i = 0; i < 50; ++i) g.Propose(2, "b");
  g.Run();
  g.drop = nullptr;
  int requests = 0;
  g.drop = [&](const Message& m) {
    requests += As<AppendEntries>(m) != nullptr && m.to == Id(3);
    return false;
  };
  g.TickAll(2);
  EXPECT_EQ(g.core(3).last_index(), g.core(2).last_index());
  EXPECT_LE(requests, 20);
}

TEST(Replication, AWindowLimitsWhatIsOnTheWay) {
  Config config = TestGroup::TestConfig();
  config.inflight_messages_max = 4;
  config.append_bytes_max = 1;
  TestGroup g(3, config);
  g.Elect(1);
  for (int i = 0; i < 100; ++i) g.Propose(1, "abc");
  const Ready ready = g.core(1).TakeReady();
  EXPECT_EQ(ready.send_now.size(), 8u) << "four each, one entry in each";
}

TEST(Replication, AWindowLimitsBytes) {
  Config config = TestGroup::TestConfig();
  config.inflight_bytes_max = 1000;
  config.append_bytes_max = 400;
  TestGroup g(2, config);
  g.Elect(1);
  for (int i = 0; i < 100; ++i) g.Propose(1, std::string(200 - sizeof(EntryHeader), 'x'));
  const Ready ready = g.core(1).TakeReady();
  EXPECT_EQ(ready.send_now.size(), 3u) << "400 each: full with the third";
  g.Run();
}

TEST(Replication, LostRequestsDoNotWedgeThePipeline) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return As<AppendEntries>(m) && m.to == Id(3); };
  g.Propose(1, "a");
  g.Run();
  g.drop = nullptr;
  g.TickAll(2);
  EXPECT_EQ(g.node(3).applied, (std::vector<std::string>{"a"}));
}

TEST(Replication, AFullWindowOfLostRequestsDoesNotEither) {
  Config config = TestGroup::TestConfig();
  config.inflight_messages_max = 2;
  config.append_bytes_max = 1;
  TestGroup g(3, config);
  g.Elect(1);
  g.drop = [](const Message& m) { return As<AppendEntries>(m) && m.to == Id(3); };
  for (int i = 0; i < 10; ++i) g.Propose(1, "a");
  g.Run();
  g.drop = nullptr;
  g.TickAll(3);
  EXPECT_EQ(g.node(3).applied.size(), 10u);
}

TEST(Replication, AProbeIsRepeatedWithTheHeartbeat) {
  TestGroup g(3);
  g.Elect(1);
  g.core(1).OnUnreachable(Id(2));
  g.drop = [](const Message& m) { return As<AppendEntries>(m) && m.to == Id(2); };
  g.TickAll();
  g.drop = nullptr;
  g.Propose(1, "a");
  g.Run();
  EXPECT_EQ(g.core(2).last_index(), LogIndex(1)) << "the probe is lost, the leader waits";
  g.TickAll(2);
  EXPECT_EQ(g.core(2).last_index(), LogIndex(2));
}

TEST(Replication, OldEntriesAreAskedOfTheStore) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.to == Id(3) || m.from == Id(3); };
  for (int i = 0; i < 20; ++i) {
    g.Propose(1, std::string(100, 'a'));
    g.Run();
  }
  g.drop = nullptr;
  g.TickAll(3);
  EXPECT_EQ(g.node(3).applied.size(), 20u);
  bool asked = false;
  for (const Ready& ready : g.node(1).log) asked = asked || !ready.entry_requests.empty();
  EXPECT_TRUE(asked);
}

TEST(Replication, AnswersOfTheStoreThatCameTooLateAreDropped) {
  TestGroup g(3);
  g.Elect(1);
  const EntryRequest stale{.to = Id(3), .first = LogIndex(1), .last = LogIndex(1), .bytes_max = 10};
  g.core(1).OnEntries(stale, {Records(1, 1, 0)});
  EXPECT_FALSE(g.core(1).HasReady());
}

TEST(Replication, EntriesWhosePredecessorWasRemovedMeanwhileAreNotSent) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.to == Id(3) || m.from == Id(3); };
  for (int i = 0; i < 5; ++i) g.Propose(1, "a");
  g.Run();
  g.network.clear();
  g.drop = nullptr;
  g.core(1).OnUnreachable(Id(3));
  ASSERT_TRUE(g.core(1).Step(From(3, 1, 1, HeartbeatReply{.last_index = LogIndex(1)})).ok());
  const Ready probe = g.core(1).TakeReady();  // asks the store for entries 2 to 6
  ASSERT_EQ(probe.entry_requests.size(), 1u);
  g.core(1).OnPersisted(probe.seq);
  g.core(1).OnPrefixRemoved(LogIndex(4));
  g.core(1).OnEntries(probe.entry_requests[0], g.node(1).disk.Read(LogIndex(2), LogIndex(6), SIZE_MAX));
  EXPECT_EQ(g.core(1).TakeReady().snapshot_requests, (std::vector<ReplicaId>{Id(3)}));
}

TEST(Replication, AFollowerBehindTheLogStartGetsTheLogStart) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.to == Id(3) || m.from == Id(3); };
  for (int i = 0; i < 20; ++i) g.Propose(1, "a");
  g.Run();
  // Retention: everything below index 15 goes at the leader.
  g.node(1).disk.RemovePrefix(LogIndex(14));
  g.core(1).OnPrefixRemoved(LogIndex(15));
  g.drop = nullptr;
  g.TickAll(3);
  EXPECT_EQ(g.core(3).terms().before_first(), LogIndex(14));
  EXPECT_EQ(g.core(3).last_index(), g.core(1).last_index());
  EXPECT_EQ(g.core(3).end_offset(), g.core(1).end_offset());
  EXPECT_EQ(g.core(3).commit_index(), g.core(1).commit_index());
  EXPECT_EQ(g.core(3).membership().voters, Ids({1, 2, 3}));
  g.Restart(3);
  EXPECT_EQ(g.core(3).terms().before_first(), LogIndex(14));
}

// The member has it, and says so with each heartbeat's answer: but its last index might be another log's.
TEST(Replication, ALostAckOfASnapshotDoesNotHoldAMemberUp) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.to == Id(3) || m.from == Id(3); };
  for (int i = 0; i < 10; ++i) g.Propose(1, "x");
  g.Run();
  g.node(1).disk.RemovePrefix(LogIndex(8));
  g.core(1).OnPrefixRemoved(LogIndex(9));
  g.drop = [](const Message& m) {
    const auto* reply = std::get_if<AppendReply>(&m.body);
    return m.from == Id(3) && reply != nullptr && reply->accepted;
  };
  g.Tick(1, 2);
  ASSERT_EQ(g.core(3).terms().before_first(), LogIndex(8));
  ASSERT_EQ(g.core(1).progress()[2].state, Progress::State::kSnapshot);
  g.drop = nullptr;
  g.Tick(1, 12);
  EXPECT_EQ(g.core(3).last_index(), g.core(1).last_index());
}

TEST(Replication, AStaleSnapshotChangesNothing) {
  TestGroup g(3);
  g.Elect(1);
  g.Propose(1, "a");
  g.Run();
  InstallSnapshot old{.last = {Term(1), LogIndex(1)}, .membership = {.voters = Ids({1})}};
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, old)).ok());
  g.Take(2);
  EXPECT_EQ(g.core(2).last_index(), LogIndex(2));
  EXPECT_EQ(g.core(2).membership().voters.size(), 3u);
}

TEST(Replication, ASnapshotBehindTheLogStartChangesNothing) {
  TestGroup g(3);
  const InstallSnapshot first{
      .last = {Term(1), LogIndex(9)}, .end_offset = Offset(9), .membership = {.voters = Ids({1, 2, 3})}};
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, first)).ok());
  g.Run();
  InstallSnapshot late = first;
  late.last.index = LogIndex(5);
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, late)).ok());
  g.Take(2);
  EXPECT_EQ(g.core(2).last_index(), LogIndex(9));
  EXPECT_FALSE(g.node(2).fatal);
}

// What it stands for is there: it only tells that this much is committed.
TEST(Replication, ASnapshotLeavesALogThatHasItsEntry) {
  TestGroup g(3);
  std::vector<Entry> entries;
  for (int i = 1; i <= 5; ++i) entries.push_back(Records(1, i, i - 1));
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, AppendEntries{.entries = entries, .commit = LogIndex(1)})).ok());
  g.Take(2);
  const InstallSnapshot snapshot{
      .last = {Term(1), LogIndex(3)}, .end_offset = Offset(3), .membership = {.voters = Ids({1, 2, 3})}};
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, snapshot)).ok());
  g.Take(2);
  EXPECT_EQ(g.core(2).last_index(), LogIndex(5));
  EXPECT_EQ(g.core(2).commit_index(), LogIndex(3));
  EXPECT_EQ(g.node(2).disk.entries.size(), 5u);
}

// The old log is longer than what the snapshot stands for: neither what was durable of it nor a write of it that ends now says
// anything of the new one, and a cut of it that was not taken yet is not one of the new one.
TEST(Replication, ASnapshotTakesTheOldLogWithIt) {
  TestGroup g(3);
  std::vector<Entry> old;
  for (int i = 1; i <= 12; ++i) old.push_back(Records(1, i, i - 1));
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, AppendEntries{.entries = old})).ok());
  g.Take(2);
  ASSERT_EQ(g.core(2).stable_index(), LogIndex(12));
  g.node(2).hold_writes = true;
  const AppendEntries more{.prev = {Term(1), LogIndex(12)}, .entries = {Records(1, 13, 12)}};
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, more)).ok());
  g.Take(2);
  const AppendEntries cuts{.prev = {Term(1), LogIndex(7)}, .entries = {Records(2, 8, 7)}};
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 2, cuts)).ok());
  const InstallSnapshot snapshot{
      .last = {Term(2), LogIndex(10)}, .end_offset = Offset(10), .membership = {.voters = Ids({1, 2, 3})}};
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 2, snapshot)).ok());
  g.Take(2);
  g.network.clear();
  ASSERT_EQ(g.node(2).held.size(), 2u);
  EXPECT_TRUE(g.node(2).held[1].install);
  EXPECT_FALSE(g.node(2).held[1].truncate_from);
  EXPECT_TRUE(g.node(2).held[1].append.empty());
  g.PersistOne(2);
  EXPECT_EQ(g.core(2).stable_index(), LogIndex(0));
  g.Persist(2);
  EXPECT_EQ(g.core(2).stable_index(), LogIndex(10));
  EXPECT_EQ(g.core(2).last_index(), LogIndex(10));
  EXPECT_EQ(As<AppendReply>(g.network.back())->match, LogIndex(10));
}

TEST(Replication, ASnapshotIsAckedNoFurtherThanItShows) {
  // All voters lost what this learner has: it must not be taken for one that has the new leader's log.
  TestGroup g(1);
  g.AddEmpty(2);
  std::vector<Entry> lost;
  for (int i = 1; i <= 5; ++i) lost.push_back(Records(1, i, i - 1));
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, AppendEntries{.entries = lost, .commit = LogIndex(5)})).ok());
  g.Take(2);
  g.network.clear();
  const InstallSnapshot behind{
      .last = {Term(1), LogIndex(3)}, .end_offset = Offset(3), .membership = {.voters = Ids({1})}};
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 2, behind)).ok());
  g.Take(2);
  ASSERT_EQ(g.network.size(), 1u);
  EXPECT_EQ(As<AppendReply>(g.network[0])->match, LogIndex(3));
  InstallSnapshot other = behind;
  other.last = {Term(2), LogIndex(4)};
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 2, other)).ok());
  g.Take(2);
  ASSERT_TRUE(g.node(2).fatal);
  EXPECT_EQ(g.node(2).fatal->kind, Fatal::kCommittedOverwrite);
}

TEST(Replication, ASnapshotThatRetentionHasPassedIsAskedForAgain) {
  TestGroup g(3);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.to == Id(3) || m.from == Id(3); };
  for (int i = 0; i < 8; ++i) g.Propose(1, "a");
  g.Run();
  g.core(1).OnPrefixRemoved(LogIndex(4));
  g.drop = nullptr;
  g.core(1).OnUnreachable(Id(3));
  ASSERT_TRUE(g.core(1).Step(From(3, 1, 1, HeartbeatReply{.last_index = LogIndex(1)})).ok());
  const Ready ready = g.core(1).TakeReady();
  ASSERT_EQ(ready.snapshot_requests.size(), 1u);
  g.core(1).OnPersisted(ready.seq);
  g.core(1).OnPrefixRemoved(LogIndex(6));
  g.core(1).OnSnapshot(Id(3), InstallSnapshot{.last = {Term(1), LogIndex(3)}, .membership = {.voters = Ids({1})}});
  EXPECT_EQ(g.core(1).progress()[2].state, Progress::State::kProbe);
}

TEST(Replication, ASnapshotIsAckedWhenItIsDurable) {
  TestGroup g(3);
  g.node(2).hold_writes = true;
  InstallSnapshot snapshot{
      .last = {Term(1), LogIndex(9)}, .end_offset = Offset(9), .membership = {.voters = Ids({1, 2, 3})}};
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, snapshot)).ok());
  // Neither it nor an empty request behind it.
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, AppendEntries{.prev = {Term(1), LogIndex(9)}})).ok());
  g.Take(2);
  EXPECT_TRUE(g.network.empty());
  ASSERT_TRUE(g.node(2).held[0].install);
  EXPECT_TRUE(g.node(2).held[0].must_sync);
  g.Persist(2);
  EXPECT_EQ(g.network.size(), 2u);
}

TEST(Replication, ProposalsBeyondTheLimitAreRefusedAndNothingIsAppended) {
  Config config = TestGroup::TestConfig();
  config.uncommitted_bytes_max = 1000;
  TestGroup g(3, config);
  g.Elect(1);
  g.drop = [](const Message& m) { return m.from != Id(1); };
  EXPECT_TRUE(g.core(1).Propose({.payload = absl::Cord(std::string(5000, 'x'))}).ok()) << "one is always taken";
  EXPECT_TRUE(absl::IsResourceExhausted(g.core(1).Propose({.payload = absl::Cord("x")}).status()));
  EXPECT_EQ(g.core(1).last_index(), LogIndex(2));
  g.drop = nullptr;
  g.TickAll(2);
  EXPECT_TRUE(g.core(1).Propose({.payload = absl::Cord("x")}).ok());
}

TEST(Replication, WhatIsCommittedAndNotOnTheOwnDiskCountsForTheLimit) {
  Config config = TestGroup::TestConfig();
  config.uncommitted_bytes_max = 1000;
  TestGroup g(3, config);
  g.Elect(1);
  g.node(1).hold_writes = true;
  const EntryId first = g.Propose(1, std::string(5000, 'x'));
  g.Run();
  ASSERT_EQ(g.core(1).commit_index(), first.index);
  EXPECT_TRUE(absl::IsResourceExhausted(g.core(1).Propose({.payload = absl::Cord("x")}).status()));
  g.Persist(1);
  EXPECT_TRUE(g.core(1).Propose({.payload = absl::Cord("x")}).ok());
}

TEST(Replication, TheCommitMayWaitForTheNextHeartbeat) {
  Config config = TestGroup::TestConfig();
  config.commit_at_once = false;
  TestGroup g(3, config);
  g.Elect(1);
  g.TickAll(2);
  std::set<uint64_t> requests;
  g.drop = [&](const Message& m) {
    if (const auto* request = As<AppendEntries>(m)) requests.insert(request->request);
    return false;
  };
  const EntryId id = g.Propose(1, "a");
  g.Run();
  EXPECT_EQ(requests.size(), 2u) << "one to each";
  EXPECT_EQ(g.core(1).commit_index(), id.index);
  EXPECT_LT(g.core(2).commit_index(), id.index);
  g.TickAll(2);
  EXPECT_EQ(g.core(2).commit_index(), id.index);
}

TEST(Replication, AppendTimesDoNotGoBack) {
  TestGroup g(3);
  g.Elect(1);
  ASSERT_TRUE(g.core(1).Propose({.header = {.append_time = 100}}).ok());
  ASSERT_TRUE(g.core(1).Propose({.header = {.append_time = 90}}).ok());
  const Ready ready = g.core(1).TakeReady();
  EXPECT_EQ(ready.append[1].header.append_time, 100);
}

// The clock of the leader whose entries were cut may have been an hour ahead.
TEST(Replication, TheTimeOfWhatIsCutGoesWithIt) {
  TestGroup g(3);
  Entry late = Records(1, 1, 0);
  late.header.append_time = 1000;
  Entry other = Records(2, 1, 0);
  other.header.append_time = 10;
  ASSERT_TRUE(g.core(2).Step(From(1, 2, 1, AppendEntries{.entries = {late}})).ok());
  ASSERT_TRUE(g.core(2).Step(From(3, 2, 2, AppendEntries{.entries = {other}})).ok());
  g.Take(2);
  EXPECT_EQ(g.core(2).last_append_time(), 10);
  g.network.clear();
  g.Elect(2);
  ASSERT_TRUE(g.core(2).Propose({.header = {.append_time = 20}}).ok());
  EXPECT_EQ(g.core(2).TakeReady().append.back().header.append_time, 20);
}

TEST(Replication, StaleAcksDoNotMoveTheMatch) {
  TestGroup g(3);
  g.Elect(1);
  g.Propose(1, "a");
  g.Run();
  ASSERT_TRUE(g.core(1).Step(From(2, 1, 1, AppendReply{.accepted = true, .match = LogIndex(1), .request = 1})).ok());
  EXPECT_EQ(g.core(1).progress()[1].match, LogIndex(2));
  // A refusal from before the ack.
  ASSERT_TRUE(
      g.core(1)
          .Step(From(2, 1, 1, AppendReply{.rejected = LogIndex(2), .hint = {Term(1), LogIndex(1)}, .request = 1}))
          .ok());
  EXPECT_EQ(g.core(1).progress()[1].state, Progress::State::kReplicate);
  EXPECT_EQ(g.core(1).progress()[1].abstention, 0u);
}

TEST(Replication, AcksOfWhatWasNeverSentAreRefused) {
  TestGroup g(3);
  g.Elect(1);
  EXPECT_TRUE(
      absl::IsInvalidArgument(g.core(1).Step(From(2, 1, 1, AppendReply{.accepted = true, .match = LogIndex(99)}))));
}

TEST(Replication, WhatIsOnlyWrittenDoesNotCountForALeaderThatSyncs) {
  TestGroup g(3);
  g.Elect(1);
  g.Run();
  const LogIndex commit = g.core(1).commit_index();
  for (int n = 2; n <= 3; ++n) g.core(n).SetSynced(false);
  g.Propose(1, "a");
  g.TickAll(3);
  EXPECT_EQ(g.core(3).last_index(), commit + 1);
  EXPECT_EQ(g.core(1).commit_index(), commit);
  // Its log does not change any more: it is asked again.
  g.core(2).SetSynced(true);
  g.TickAll(2);
  EXPECT_EQ(g.core(1).commit_index(), commit + 1);
  EXPECT_TRUE(g.core(1).commit_is_synced());
}

TEST(Replication, ACommitOfWrittenCopiesIsNoneOfSyncedOnes) {
  TestGroup g(3);
  for (int n = 1; n <= 3; ++n) g.core(n).SetSynced(false);
  g.Elect(1);
  g.Propose(1, "a");
  g.Run();
  const LogIndex commit = g.core(1).last_index();
  ASSERT_EQ(g.core(1).commit_index(), commit);
  EXPECT_FALSE(g.core(1).commit_is_synced());
  g.core(1).SetSynced(true);
  g.TickAll(2);
  EXPECT_FALSE(g.core(1).commit_is_synced()) << "only its own copy is";
  g.core(3).SetSynced(true);
  g.TickAll(2);
  EXPECT_TRUE(g.core(1).commit_is_synced());
  g.core(1).SetSynced(false);
  g.Propose(1, "b");
  g.Run();
  EXPECT_EQ(g.core(1).commit_index(), commit + 1);
  EXPECT_FALSE(g.core(1).commit_is_synced());
}

TEST(Replication, AGroupThatIsWrittenEverywhereIsNotQuietForALeaderThatSyncs) {
  Config config = TestGroup::TestConfig();
  config.quiesce_ticks = 3;
  TestGroup g(3, config);
  for (int n = 1; n <= 3; ++n) g.core(n).SetSynced(false);
  g.Elect(1);
  g.TickAll(10);
  ASSERT_TRUE(g.core(1).quiet());
  g.core(1).SetSynced(true);
  g.TickAll(10);
  EXPECT_FALSE(g.core(1).quiet());
  EXPECT_FALSE(g.core(1).commit_is_synced());
  for (int n = 2; n <= 3; ++n) g.core(n).SetSynced(true);
  g.TickAll(10);
  EXPECT_TRUE(g.core(1).quiet());
  g.core(1).Wake();
  EXPECT_TRUE(g.core(1).commit_is_synced());
}

TEST(Replication, MalformedRequestsAreRefusedAndChangeNothing) {
  TestGroup g(3);
  const auto refused = [&](AppendEntries body) {
    return absl::IsInvalidArgument(g.core(2).Step(From(1, 2, 3, std::move(body))));
  };
  EXPECT_TRUE(refused({.prev = {Term(0), LogIndex(4)}})) << "an index without a term";
  EXPECT_TRUE(refused({.entries = {Records(1, 2, 0)}})) << "a gap";
  EXPECT_TRUE(refused({.entries = {Records(4, 1, 0)}})) << "a later term than the leader's";
  EXPECT_TRUE(refused({.entries = {Records(2, 1, 0), Records(1, 2, 1)}})) << "terms that fall";
  EXPECT_TRUE(refused({.entries = {Records(1, 1, 0), Records(1, 2, 5)}})) << "offsets with a hole";
  Entry unknown = Records(1, 1, 0);
  unknown.header.type = static_cast<EntryType>(5);
  EXPECT_TRUE(refused({.entries = {unknown}})) << "of a later version: stored, it could not be read again";
  Entry membership = Records(1, 1, 0, "nonsense");
  membership.header.type = EntryType::kMembership;
  EXPECT_TRUE(refused({.entries = {membership}}));
  EXPECT_EQ(g.core(2).term(), Term(0));
  EXPECT_FALSE(g.core(2).HasReady());
}

}  // namespace
}  // namespace millrace::raft
