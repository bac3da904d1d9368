#include "raft/group_driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/raft/driver_fixture.h"

namespace millrace::raft {
namespace {

class AsyncDriverTest : public DriverTest {
 protected:
  AsyncDriverTest() : DriverTest(Flush::kAsync) {}
};

TEST_F(DriverTest, AcksWhatIsSyncedAndNotBefore) {
  Append(1, {}, MakeEntries(1, 1, 3));
  EXPECT_TRUE(broker_.Turn());
  EXPECT_TRUE(replica_.sent().empty());
  EXPECT_TRUE(replica_.driver().AwaitsSync());
  broker_.RequestSync();
  store_.CompleteSyncs();
  EXPECT_TRUE(replica_.sent().empty());
  broker_.FinishSyncs();
  EXPECT_EQ(Acks(), Indexes{3});
  EXPECT_FALSE(replica_.driver().AwaitsSync());
}

TEST_F(DriverTest, SyncOfAnEarlierRoundCoversNothingLater) {
  Append(1, {}, MakeEntries(1, 1, 1));
  broker_.Turn();
  broker_.RequestSync();
  Append(1, {Term(1), LogIndex(1)}, MakeEntries(1, 2, 2));
  broker_.Turn();
  store_.CompleteSyncs();
  broker_.FinishSyncs();
  EXPECT_EQ(Acks(), Indexes{1});
  Settle();
  EXPECT_EQ(Acks(), Indexes{2});
}

TEST_F(AsyncDriverTest, AcksWhatIsWrittenOnceItsTermIsSynced) {
  Append(1, {}, MakeEntries(1, 1, 1));
  broker_.Turn();
  EXPECT_EQ(Acks(), Indexes{}) << "the term is new";
  Settle();
  EXPECT_EQ(Acks(), Indexes{1});
  Append(1, {Term(1), LogIndex(1)}, MakeEntries(1, 2, 2));
  broker_.Turn();
  EXPECT_EQ(Acks(), Indexes{2});
  EXPECT_FALSE(replica_.driver().AwaitsSync());
}

TEST_F(AsyncDriverTest, WhatWasAckedUnsyncedIsSyncedWhenTheTopicBecomesCommit) {
  Append(1, {}, MakeEntries(1, 1, 1));
  Settle();
  Append(1, {Term(1), LogIndex(1)}, MakeEntries(1, 2, 2));
  broker_.Turn();
  ASSERT_EQ(Acks(), (Indexes{1, 2}));
  replica_.driver().SetFlush(Flush::kCommit);
  EXPECT_TRUE(replica_.driver().AwaitsSync()) << "the topic promises now that it is on the disk";
  Settle();
  EXPECT_FALSE(replica_.driver().AwaitsSync());
  Restart(FakeLogStore::kLoseUnsynced);
  EXPECT_EQ(replica_.core().last_index(), LogIndex(2));
}

// Whether what is on the disk says that acks may be lost with the machine.
bool MayLackAckedAfterACrash(FakeLogStore& store, TestBroker& broker) {
  broker.StopAll();
  store.Crash(FakeLogStore::kLoseUnsynced);
  EXPECT_TRUE(store.Open(kGroup).ok());
  return *MayLackAcked(store, kGroup);
}

TEST_F(AsyncDriverTest, TheStoreKnowsBeforeAnAckLeavesUnsynced) {
  Append(1, {}, MakeEntries(1, 1, 1));
  Settle();
  EXPECT_TRUE(std::get<AppendReply>(replica_.TakeSent().back().body).unsynced);
  EXPECT_TRUE(MayLackAckedAfterACrash(store_, broker_));
}

TEST_F(AsyncDriverTest, TheStoreForgetsOnceWhatWasAckedIsSynced) {
  Append(1, {}, MakeEntries(1, 1, 1));
  Settle();
  Append(1, {Term(1), LogIndex(1)}, MakeEntries(1, 2, 2));
  broker_.Turn();
  replica_.driver().SetFlush(Flush::kCommit);
  Append(1, {Term(1), LogIndex(2)}, MakeEntries(1, 3, 3));
  Settle();
  EXPECT_TRUE(std::get<AppendReply>(replica_.TakeSent().back().body).unsynced) << "it was asked before that sync";
  Append(1, {Term(1), LogIndex(3)}, MakeEntries(1, 4, 4));
  Settle();
  EXPECT_FALSE(std::get<AppendReply>(replica_.TakeSent().back().body).unsynced);
  EXPECT_FALSE(MayLackAckedAfterACrash(store_, broker_));
}

TEST_F(AsyncDriverTest, TheStoreStillKnowsWhenTheMachineGoesDownBeforeThatSync) {
  Append(1, {}, MakeEntries(1, 1, 1));
  Settle();
  Append(1, {Term(1), LogIndex(1)}, MakeEntries(1, 2, 2));
  broker_.Turn();
  ASSERT_EQ(Acks(), (Indexes{1, 2}));
  replica_.driver().SetFlush(Flush::kCommit);
  broker_.Turn();
  EXPECT_TRUE(MayLackAckedAfterACrash(store_, broker_));
}

TEST_F(DriverTest, AfterAChangeToAsyncAcksAreSyncedUntilTheStoreKnows) {
  Append(1, {}, MakeEntries(1, 1, 1));
  Settle();
  Acks();
  replica_.driver().SetFlush(Flush::kAsync);
  Append(1, {Term(1), LogIndex(1)}, MakeEntries(1, 2, 2));
  broker_.Turn();
  EXPECT_EQ(Acks(), Indexes{});
  Settle();
  EXPECT_EQ(Acks(), Indexes{2});
  Append(1, {Term(1), LogIndex(2)}, MakeEntries(1, 3, 3));
  broker_.Turn();
  EXPECT_EQ(Acks(), Indexes{3});
  EXPECT_TRUE(MayLackAckedAfterACrash(store_, broker_));
}

// An ack that was made before a change says what is not true after it.
TEST_F(DriverTest, AnAckThatSaysSyncedIsSyncedWhateverTheLevelIsByThen) {
  Append(1, {}, MakeEntries(1, 1, 1));
  Settle();
  Acks();
  Append(1, {Term(1), LogIndex(1)}, MakeEntries(1, 2, 2));
  replica_.driver().SetFlush(Flush::kAsync);
  replica_.driver().SetFlush(Flush::kCommit);
  replica_.driver().SetFlush(Flush::kAsync);
  broker_.Turn();
  EXPECT_TRUE(replica_.sent().empty());
  Settle();
  EXPECT_EQ(Acks(), Indexes{2});
}

TEST_F(AsyncDriverTest, VotesAreSynced) {
  Receive(3, VoteRequest{}, kOther);
  broker_.Turn();
  EXPECT_TRUE(replica_.sent().empty());
  Settle();
  const std::vector<Message> sent = replica_.TakeSent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_TRUE(std::get<VoteReply>(sent.front().body).granted);
  Restart(FakeLogStore::kLoseUnsynced);
  EXPECT_EQ(replica_.core().term_and_vote().voted_for, kOther);
}

TEST_F(DriverTest, WhatWritesNothingWaitsForItsTurn) {
  Receive(3, VoteRequest{}, kOther);
  broker_.Turn();
  Receive(3, VoteRequest{}, kOther);
  EXPECT_FALSE(broker_.Turn()) << "the vote is given already";
  EXPECT_TRUE(replica_.sent().empty()) << "and not synced";
  Settle();
  EXPECT_EQ(replica_.sent().size(), 2u);
}

TEST_F(DriverTest, TermAndEntriesOfAReadyAreInOneRound) {
  const uint64_t writes = store_.writes();
  Append(4, {}, MakeEntries(4, 1, 5));
  broker_.Turn();
  EXPECT_EQ(store_.writes(), writes + 1);
  Restart(FakeLogStore::kKeepUnsynced);
  EXPECT_EQ(replica_.core().last_index(), LogIndex(5));
  EXPECT_EQ(replica_.core().term(), Term(4));
}

TEST_F(DriverTest, StalledStoreKeepsTheReadyAndNothingIsSent) {
  Append(1, {}, MakeEntries(1, 1, 1));
  Settle();
  Acks();
  store_.Stall();
  Append(1, {Term(1), LogIndex(1)}, MakeEntries(1, 2, 2), 2);
  EXPECT_FALSE(broker_.Turn());
  EXPECT_TRUE(IsStalled(broker_.status()));
  replica_.TakeSent();
  Append(1, {Term(1), LogIndex(2)}, MakeEntries(1, 3, 3), 3);
  Receive(1, Heartbeat{});
  EXPECT_FALSE(replica_.driver().HasWork());
  EXPECT_FALSE(broker_.Turn());
  EXPECT_TRUE(replica_.sent().empty());
  EXPECT_EQ(replica_.driver().applied_index(), LogIndex(0));
  store_.EndStall();
  Settle();
  EXPECT_EQ(Acks(), (Indexes{2, 3}));
  EXPECT_EQ(replica_.driver().applied_index(), LogIndex(3));
}

TEST_F(DriverTest, FailedWriteIsFinal) {
  store_.FailNextWrite(absl::InternalError("torn"));
  Append(1, {}, MakeEntries(1, 1, 1));
  EXPECT_FALSE(broker_.Turn());
  EXPECT_FALSE(replica_.driver().status().ok());
  Append(1, {Term(1), LogIndex(1)}, MakeEntries(1, 2, 2));
  EXPECT_FALSE(replica_.driver().HasWork());
  Settle();
  EXPECT_TRUE(replica_.sent().empty());
}

TEST_F(DriverTest, FailedSyncIsFinal) {
  Append(1, {}, MakeEntries(1, 1, 1));
  Settle();
  replica_.TakeSent();
  Append(1, {Term(1), LogIndex(1)}, MakeEntries(1, 2, 2));
  broker_.Turn();
  store_.FailNextSync(absl::InternalError("lost"));
  Settle();
  EXPECT_FALSE(replica_.driver().status().ok());
  Receive(1, Heartbeat{});
  Settle();
  EXPECT_TRUE(replica_.sent().empty());
}

// The core takes the offset behind a cut from the message, since it keeps no old entries.
TEST_F(DriverTest, OffsetThatCannotFollowTheCutStopsTheReplicaOnly) {
  TestReplica neighbour({.group = GroupId(2), .self = kSelf});
  ASSERT_TRUE(TestReplica::Make(store_, GroupId(2), {.voters = {kSelf}}).ok());
  ASSERT_TRUE(neighbour.Start(store_).ok());
  broker_.Add(&neighbour);
  Append(1, {}, MakeEntries(1, 1, 5), 2);
  Settle();
  Acks();
  Append(2, {Term(1), LogIndex(3)}, {MakeEntry(2, 4, 77)});
  neighbour.core().Campaign();
  Settle();
  ASSERT_TRUE(replica_.driver().fatal());
  EXPECT_EQ(replica_.driver().fatal()->kind, Fatal::kDivergedLog);
  EXPECT_THAT(replica_.driver().fatal()->text, testing::HasSubstr("has offset 77, the log here ends with 3"));
  EXPECT_EQ(replica_.role_changes().back().role, Role::kFollower);
  EXPECT_FALSE(replica_.role_changes().back().leader) << "whoever waits for it is told";
  EXPECT_EQ(store_.State(kGroup).last_index, LogIndex(5));
  EXPECT_EQ(store_.State(kGroup).term_and_vote.term, Term(1));
  EXPECT_TRUE(replica_.sent().empty());
  Append(2, {Term(1), LogIndex(3)}, MakeEntries(2, 4, 9));
  EXPECT_FALSE(replica_.core().HasReady()) << "nothing piles up";
  EXPECT_EQ(neighbour.core().role(), Role::kLeader);
  EXPECT_EQ(neighbour.driver().applied_index(), LogIndex(1));
}

TEST_F(DriverTest, NothingLeavesAReplicaThatHasStopped) {
  Append(1, {}, MakeEntries(1, 1, 5));
  broker_.Turn();
  Append(2, {Term(1), LogIndex(3)}, {MakeEntry(2, 4, 77)});
  broker_.Turn();
  ASSERT_TRUE(replica_.driver().fatal());
  Settle();
  EXPECT_TRUE(replica_.sent().empty()) << "the first ack was waiting for its sync";
}

TEST_F(DriverTest, TimeThatGoesBackStopsTheReplica) {
  Append(1, {}, {MakeEntry(1, 1, 0, 500), MakeEntry(1, 2, 1, 400)});
  Settle();
  ASSERT_TRUE(replica_.driver().fatal());
  EXPECT_EQ(store_.State(kGroup).last_index, LogIndex(0));
}

TEST_F(DriverTest, DamageWhereTheLogWouldBeCutStopsTheReplicaOnly) {
  Append(1, {}, MakeEntries(1, 1, 5));
  Settle();
  Acks();
  store_.DamageHeader(kGroup, LogIndex(3));
  Append(2, {Term(1), LogIndex(3)}, MakeEntries(2, 4, 4));
  Settle();
  ASSERT_TRUE(replica_.driver().fatal());
  EXPECT_EQ(replica_.driver().fatal()->kind, Fatal::kDamagedLog);
  EXPECT_TRUE(broker_.status().ok());
}

TEST_F(DriverTest, ACutThatComesInAStallIsHeldAgainstWhatWasWrittenThen) {
  Append(1, {}, MakeEntries(1, 1, 4));
  Settle();
  store_.Stall();
  Append(2, {Term(1), LogIndex(2)}, MakeEntries(2, 3, 6));
  broker_.Turn();
  store_.EndStall();
  Append(3, {Term(2), LogIndex(5)}, {MakeEntry(3, 6, 5)});
  Settle();
  EXPECT_FALSE(replica_.driver().fatal()) << replica_.driver().fatal()->text;
  EXPECT_EQ(replica_.truncations(), (std::vector<LogIndex>{LogIndex(3), LogIndex(6)}));
  EXPECT_EQ(store_.State(kGroup).last_term, Term(3));
}

TEST_F(DriverTest, SnapshotAndStateAreInOneRoundAndTheLogGoesOnBehindIt) {
  Append(1, {}, MakeEntries(1, 1, 5));
  Settle();
  const uint64_t writes = store_.writes();
  Receive(1, MakeSnapshot(40, 50, SumOf(40)));
  Append(1, {Term(1), LogIndex(40)}, {MakeEntry(1, 41, 50, 6)}, 41);
  broker_.Turn();
  EXPECT_EQ(store_.writes(), writes + 1);
  Settle();
  EXPECT_EQ(store_.State(kGroup).begin,
            (LogBegin{.before = {Term(1), LogIndex(40)}, .end_offset = Offset(50), .append_time = 5, .chain = 99}));
  EXPECT_EQ(replica_.sum().index, LogIndex(41));
  EXPECT_EQ(replica_.driver().applied_index(), LogIndex(41));
  Restart(FakeLogStore::kLoseUnsynced);
  EXPECT_EQ(replica_.core().membership().voters, (ReplicaSet{kSelf, kLeader}));
  EXPECT_EQ(replica_.core().last_index(), LogIndex(41));
}

TEST_F(DriverTest, SnapshotWhoseStateCannotBeReadStopsTheReplica) {
  Append(1, {}, MakeEntries(1, 1, 5));
  Settle();
  Receive(1, MakeSnapshot(40, 50, "nonsense"));
  Settle();
  ASSERT_TRUE(replica_.driver().fatal());
  EXPECT_EQ(store_.State(kGroup).last_index, LogIndex(5));
}

TEST_F(DriverTest, SnapshotBelowTheLogStartStopsTheReplica) {
  Append(1, {}, MakeEntries(1, 1, 5), 5);
  Settle();
  replica_.driver().SetLogStart(Offset(5));
  Settle();
  EXPECT_EQ(store_.State(kGroup).log_start, Offset(5));
  Receive(1, MakeSnapshot(40, 4, SumOf(40)));
  Settle();
  ASSERT_TRUE(replica_.driver().fatal());
  EXPECT_EQ(replica_.driver().fatal()->kind, Fatal::kDivergedLog);
}

TEST_F(DriverTest, SnapshotBelowALogStartThatWaitsStopsTheReplica) {
  Append(1, {}, MakeEntries(1, 1, 5), 5);
  broker_.Turn();
  replica_.driver().SetLogStart(Offset(5));
  Receive(1, MakeSnapshot(40, 4, SumOf(40)));
  Settle();
  ASSERT_TRUE(replica_.driver().fatal());
  EXPECT_EQ(replica_.driver().fatal()->kind, Fatal::kDivergedLog);
  EXPECT_EQ(store_.State(kGroup).last_index, LogIndex(5));
}

// Entries 1 to 5 are applied, of which the first two are gone, and an open change of the membership follows.
class SnapshotTest : public LeaderTest {
 protected:
  SnapshotTest() {
    Propose(4);
    Settle();
    Receive(1, AppendReply{.accepted = true, .match = LogIndex(5), .last_index = LogIndex(5), .request = 2});
    Settle();
    EXPECT_EQ(replica_.driver().applied_index(), LogIndex(5));
    replica_.driver().SetLogStart(Offset(4));
    Settle();
    EXPECT_EQ(store_.State(kGroup).first_index, LogIndex(6));
    Propose(2);
    Settle();
    Receive(1, AppendReply{.accepted = true, .match = LogIndex(7), .last_index = LogIndex(7), .request = 3});
    EXPECT_TRUE(replica_.core().ProposeMembership({{.kind = MembershipChange::kRemove, .id = kOther}}).ok());
    Settle();
    EXPECT_EQ(replica_.driver().applied_index(), LogIndex(7));
    replica_.TakeSent();
  }
  // For the other member, which has nothing.
  InstallSnapshot Made() {
    Receive(1, AppendReply{.rejected = LogIndex(0), .last_index = LogIndex(0), .request = 1}, kOther);
    Settle();
    for (const Message& message : replica_.TakeSent()) {
      if (const auto* made = std::get_if<InstallSnapshot>(&message.body)) return *made;
    }
    ADD_FAILURE() << "none was sent";
    return {};
  }
};

TEST_F(SnapshotTest, BeginsWhereTheLogDoes) {
  const InstallSnapshot made = Made();
  const LogState state = store_.State(kGroup);
  EXPECT_EQ((LogBegin{made.last, made.end_offset, made.append_time, made.chain}), state.begin);
  EXPECT_EQ(made.log_start, Offset(4));
  EXPECT_EQ(made.membership.voters, (ReplicaSet{kSelf, kLeader, kOther})) << "the change is not committed";
}

TEST_F(SnapshotTest, BeginsBehindWhatItsStateStandsFor) {
  replica_.SnapshotAtApplied();
  const InstallSnapshot made = Made();
  const EntryHeader last = *store_.HeaderAt(kGroup, LogIndex(7));
  EXPECT_EQ(made.last, (EntryId{last.term, last.index}));
  EXPECT_EQ(made.end_offset, last.end_offset());
  EXPECT_EQ(made.chain, last.chain);
}

TEST_F(DriverTest, LogStartWaitsUntilWhatIsAppliedIsDurable) {
  Append(1, {}, MakeEntries(1, 1, 5), 5);
  broker_.Turn();
  ASSERT_EQ(replica_.driver().applied_index(), LogIndex(5)) << "a majority has it";
  replica_.driver().SetLogStart(Offset(5));
  EXPECT_FALSE(replica_.driver().HasWork());
  Settle();
  EXPECT_EQ(store_.State(kGroup).first_index, LogIndex(6));
  EXPECT_EQ(replica_.core().terms().before_first(), LogIndex(5));
  Restart(FakeLogStore::kKeepUnsynced);
  EXPECT_EQ(replica_.core().commit_index(), LogIndex(5));
}

TEST_F(LeaderTest, SendsEntriesWithoutWaitingForItsOwnDisk) {
  ASSERT_EQ(replica_.core().role(), Role::kLeader);
  Receive(1, AppendReply{.accepted = true, .match = LogIndex(1), .last_index = LogIndex(1), .request = 1});
  Settle();
  replica_.TakeSent();
  store_.Stall();
  Propose(1);
  broker_.Turn();
  EXPECT_EQ(replica_.TakeSent().size(), 1u);
  EXPECT_EQ(replica_.core().commit_index(), LogIndex(1));
  EXPECT_EQ(replica_.core().stable_index(), LogIndex(1));
  store_.EndStall();
  Settle();
  EXPECT_EQ(replica_.core().stable_index(), LogIndex(2));
}

}  // namespace
}  // namespace millrace::raft
