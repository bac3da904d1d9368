#include "raft/group_driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/wire/crc32c.h"
#include "tests/support/fake_log_store.h"
#include "tests/support/test_broker.h"
#include "tests/support/test_replica.h"

namespace millrace::raft {
namespace {

constexpr GroupId kGroup{1};
constexpr ReplicaId kSelf{BrokerId(1), 11};
constexpr ReplicaId kLeader{BrokerId(2), 22};
constexpr ReplicaId kOther{BrokerId(3), 33};

Entry MakeEntry(int64_t term, int64_t index, int64_t offset, int64_t time = 0) {
  Entry entry;
  entry.header.term = Term(term);
  entry.header.index = LogIndex(index);
  entry.header.base_offset = Offset(offset);
  entry.header.record_count = 1;
  entry.header.append_time = time;
  entry.payload = absl::Cord(std::string(100, static_cast<char>('a' + index % 26)));
  entry.header.payload_crc = Crc32c(0, entry.payload);
  return entry;
}

// Entries of one record each; entry i begins at offset i - 1.
std::vector<Entry> MakeEntries(int64_t term, int64_t first, int64_t last) {
  std::vector<Entry> entries;
  for (int64_t index = first; index <= last; ++index) entries.push_back(MakeEntry(term, index, index - 1));
  return entries;
}

// A follower whose leader is the test.
class DriverTest : public testing::Test {
 protected:
  explicit DriverTest(Flush flush = Flush::kCommit) : replica_({.group = kGroup, .self = kSelf, .flush = flush}) {
    EXPECT_TRUE(TestReplica::Make(store_, kGroup, {.voters = {kSelf, kLeader, kOther}}).ok());
    Sync();
    Start();
  }

  void Start() {
    const absl::Status status = replica_.Start(store_);
    ASSERT_TRUE(status.ok()) << status;
    broker_.Add(&replica_);
  }
  void Restart(size_t kept) {
    broker_.StopAll();
    store_.Crash(kept);
    Start();
  }
  void Sync() {
    store_.Sync([](const absl::Status&) {});
    store_.CompleteSyncs();
  }
  // Of this term, with a body.
  template <typename Body>
  void Receive(int64_t term, Body body, ReplicaId from = kLeader) {
    const absl::Status status =
        replica_.core().Step({.from = from, .to = kSelf, .term = Term(term), .body = std::move(body)});
    ASSERT_TRUE(status.ok()) << status;
  }
  void Append(int64_t term, EntryId prev, std::vector<Entry> entries, int64_t commit = 0) {
    Receive(term, AppendEntries{.prev = prev, .entries = std::move(entries), .commit = LogIndex(commit), .request = 1});
  }
  // Turns, syncs, until nothing happens.
  void Settle() {
    do {
      broker_.RequestSync();
      store_.CompleteSyncs();
      broker_.FinishSyncs();
    } while (broker_.Turn());
  }
  // What was acked of the log since it was asked last.
  std::vector<int64_t> Acks() {
    std::vector<int64_t> acks;
    for (const Message& message : replica_.TakeSent()) {
      const auto* reply = std::get_if<AppendReply>(&message.body);
      if (reply != nullptr && reply->accepted) acks.push_back(reply->match.value());
    }
    return acks;
  }

  FakeLogStore store_;
  TestReplica replica_;
  TestBroker broker_{store_};
};

using Indexes = std::vector<int64_t>;

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
  broker_.Turn();
  store_.FailNextSync(absl::InternalError("lost"));
  Settle();
  EXPECT_FALSE(replica_.driver().status().ok());
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

TEST_F(DriverTest, SeveralCutsInOneRoundAreHeldAgainstWhatIsStaged) {
  Append(1, {}, MakeEntries(1, 1, 4));
  Settle();
  store_.Stall();  // so that what comes is staged together
  Append(2, {Term(1), LogIndex(2)}, MakeEntries(2, 3, 6));
  broker_.Turn();
  store_.EndStall();
  Append(3, {Term(2), LogIndex(5)}, {MakeEntry(3, 6, 5)});
  Settle();
  EXPECT_FALSE(replica_.driver().fatal()) << replica_.driver().fatal()->text;
  EXPECT_EQ(replica_.truncations(), (std::vector<LogIndex>{LogIndex(3), LogIndex(6)}));
  EXPECT_EQ(store_.State(kGroup).last_term, Term(3));
}

InstallSnapshot MakeSnapshot(int64_t index, int64_t end_offset, const std::string& state) {
  return {.last = {Term(1), LogIndex(index)},
          .end_offset = Offset(end_offset),
          .log_start = Offset(end_offset + 3),
          .append_time = 5,
          .chain = 99,
          .membership = {.voters = {kSelf, kLeader}},
          .membership_index = LogIndex(1),
          .state = absl::Cord(state)};
}

std::string SumOf(int64_t index) { return TestReplica::Sum{.index = LogIndex(index), .sum = 7}.Encode(); }

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

TEST_F(DriverTest, WhatWasCommittedBeforeTheRestartIsAppliedFirst) {
  Append(1, {}, MakeEntries(1, 1, 5), 5);
  Settle();
  Append(1, {Term(1), LogIndex(5)}, MakeEntries(1, 6, 6), 6);  // the commit index goes along with a write
  Settle();
  broker_.StopAll();
  const std::unique_ptr<Round> round = store_.NewRound();
  round->DeleteValue(kGroup, "sum");
  ASSERT_TRUE(store_.Write(*round).ok());
  store_.DropCache();
  Start();
  EXPECT_TRUE(replica_.applied().empty());
  EXPECT_TRUE(replica_.driver().HasWork());
  broker_.Turn();
  EXPECT_TRUE(replica_.AnswerReads()) << "nothing of it is in memory";
  EXPECT_EQ(replica_.applied().size(), 6u);
  EXPECT_EQ(replica_.driver().applied_index(), LogIndex(6));
}

// A follower whose committed entries 1 to 3 are no longer in memory: they are being read.
class ReadToApplyTest : public DriverTest {
 protected:
  ReadToApplyTest() {
    Append(1, {}, MakeEntries(1, 1, 3));
    Settle();
    store_.DropCache();
    Receive(1, Heartbeat{.commit = LogIndex(3)});
    broker_.Turn();
    EXPECT_EQ(replica_.asked().size(), 1u);
    EXPECT_EQ(replica_.driver().applied_index(), LogIndex(0));
  }
};

TEST_F(ReadToApplyTest, IsTriedAgainWithTheNextWorkAfterAFailure) {
  replica_.FailReads(absl::UnavailableError("the disk is in trouble"));
  EXPECT_FALSE(replica_.driver().HasWork()) << "at once would be a loop";
  EXPECT_TRUE(replica_.asked().empty());
  Receive(1, Heartbeat{.commit = LogIndex(3)});
  broker_.Turn();
  EXPECT_TRUE(replica_.AnswerReads());
  EXPECT_EQ(replica_.driver().applied_index(), LogIndex(3));
  EXPECT_FALSE(replica_.driver().fatal());
}

TEST_F(ReadToApplyTest, IsTriedAgainThoughTheGroupIsQuiet) {
  Receive(1, Heartbeat{.commit = LogIndex(3), .quiesce = true, .last_index = LogIndex(3)});
  broker_.Turn();
  ASSERT_TRUE(replica_.core().quiet());
  replica_.FailReads(absl::UnavailableError("the disk is in trouble"));
  for (int tick = 0; tick < 100 && replica_.asked().empty(); ++tick) {
    replica_.core().Tick();
    broker_.Turn();
  }
  EXPECT_TRUE(replica_.AnswerReads());
  EXPECT_EQ(replica_.driver().applied_index(), LogIndex(3));
}

TEST_F(ReadToApplyTest, DamageStopsTheReplicaOrIsPassedOver) {
  store_.Damage(kGroup, LogIndex(2));
  EXPECT_TRUE(replica_.AnswerReads());
  EXPECT_EQ(replica_.driver().applied_index(), LogIndex(1)) << "what lies before it is whole";
  EXPECT_TRUE(replica_.AnswerReads());
  ASSERT_TRUE(replica_.driver().fatal());
  EXPECT_EQ(replica_.driver().fatal()->kind, Fatal::kDamagedLog);
  EXPECT_EQ(replica_.driver().applied_index(), LogIndex(1));

  replica_.PassOverDamage();
  Restart(FakeLogStore::kKeepUnsynced);
  Receive(1, Heartbeat{.commit = LogIndex(3)});
  do {
    Settle();
  } while (replica_.AnswerReads());
  EXPECT_EQ(replica_.passed_over(), std::vector<LogIndex>{LogIndex(2)});
  EXPECT_EQ(replica_.driver().applied_index(), LogIndex(3));
}

TEST_F(ReadToApplyTest, IsNotAnsweredAnyMoreOnceASnapshotHasTakenItsPlace) {
  const uint64_t asked = replica_.asked().front().id;
  Receive(1, MakeSnapshot(40, 50, SumOf(40)));
  Append(1, {Term(1), LogIndex(40)}, {MakeEntry(1, 41, 50, 6)}, 41);
  store_.Stall();
  broker_.Turn();
  replica_.driver().OnRead(asked, MakeEntries(1, 1, 3));
  EXPECT_EQ(replica_.sum().index, LogIndex(40));
  store_.EndStall();
  Settle();
  EXPECT_EQ(replica_.driver().applied_index(), LogIndex(41));
}

// The reader may answer a driver that is gone when another runs the group.
TEST_F(ReadToApplyTest, IsNotAnsweredByWhatAnEarlierDriverHadAsked) {
  const uint64_t earlier = replica_.asked().front().id;
  Restart(FakeLogStore::kKeepUnsynced);
  Receive(1, Heartbeat{.commit = LogIndex(3)});
  broker_.Turn();
  ASSERT_EQ(replica_.asked().size(), 2u);
  replica_.driver().OnRead(earlier, absl::DataLossError("of another time"));
  EXPECT_FALSE(replica_.driver().fatal());
  EXPECT_TRUE(replica_.AnswerReads());
  EXPECT_EQ(replica_.driver().applied_index(), LogIndex(3));
}

// A leader whose members the test plays.
class LeaderTest : public DriverTest {
 protected:
  LeaderTest() {
    replica_.core().Campaign();
    Settle();
    Receive(0, VoteReply{.granted = true, .pre_vote = true});
    Settle();
    Receive(1, VoteReply{.granted = true, .asked = Term(1)});
    Settle();
  }
  void Propose(int count) {
    for (int i = 0; i < count; ++i) ASSERT_TRUE(replica_.core().Propose(MakeEntry(0, 0, 0)).ok());
  }
};

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

TEST_F(LeaderTest, OldEntriesComeFromMemoryOrThroughTheReader) {
  Propose(4);
  Settle();
  replica_.TakeSent();
  Receive(1, AppendReply{.accepted = true, .match = LogIndex(1), .last_index = LogIndex(1), .request = 1});
  Settle();
  EXPECT_EQ(replica_.cold_reads(), 0);
  const auto sent = replica_.TakeSent();
  ASSERT_FALSE(sent.empty());
  EXPECT_EQ(std::get<AppendEntries>(sent.front().body).entries.size(), 4u);

  store_.DropCache();
  const ReplicaId other = kOther;
  Receive(1, AppendReply{.accepted = true, .match = LogIndex(1), .last_index = LogIndex(1), .request = 1}, other);
  Settle();
  EXPECT_TRUE(replica_.TakeSent().empty());
  EXPECT_TRUE(replica_.AnswerReads());
  Settle();
  ASSERT_EQ(replica_.sent().size(), 1u);
  EXPECT_EQ(std::get<AppendEntries>(replica_.sent().front().body).entries.size(), 4u);
}

// Entries 1 to 5, of which kOther says that it has the first; the others have to be read for it.
class ReadForAMemberTest : public LeaderTest {
 protected:
  ReadForAMemberTest() {
    Receive(1, AppendReply{.accepted = true, .match = LogIndex(1), .last_index = LogIndex(1), .request = 1});
    Propose(4);
    Settle();
    EXPECT_EQ(replica_.driver().applied_index(), LogIndex(1));
    store_.DropCache();
    replica_.TakeSent();
    Ask();
  }
  // Answers what it was asked, so that the rest is sent.
  void Ask() {
    Receive(1, AppendReply{.accepted = true, .match = LogIndex(1), .last_index = LogIndex(1), .request = 1}, kOther);
    Settle();
  }
  std::vector<int64_t> SentToOther() {
    std::vector<int64_t> indexes;
    for (const Message& message : replica_.TakeSent()) {
      const auto* request = std::get_if<AppendEntries>(&message.body);
      if (request == nullptr || message.to != kOther) continue;
      for (const Entry& entry : request->entries) indexes.push_back(entry.header.index.value());
    }
    return indexes;
  }
};

TEST_F(ReadForAMemberTest, DamageIsToldOfAndStopsNobody) {
  store_.Damage(kGroup, LogIndex(2));
  EXPECT_TRUE(replica_.AnswerReads());
  ASSERT_EQ(replica_.notices().size(), 1u);
  EXPECT_EQ(replica_.notices().front().kind, Notice::kDamagedEntry);
  EXPECT_EQ(replica_.notices().front().replica, kOther);
  EXPECT_EQ(replica_.notices().front().index, LogIndex(2));
  Settle();
  EXPECT_FALSE(replica_.driver().fatal());
  EXPECT_EQ(replica_.core().role(), Role::kLeader);
  EXPECT_EQ(SentToOther(), Indexes{});
}

TEST_F(ReadForAMemberTest, IsAskedAgainWhenTheMemberIsHeardOf) {
  replica_.FailReads(absl::UnavailableError("the disk is in trouble"));
  Settle();
  EXPECT_TRUE(replica_.notices().empty()) << "nothing is damaged";
  EXPECT_TRUE(replica_.asked().empty()) << "at once would be a loop";
  Receive(1, HeartbeatReply{.last_index = LogIndex(1)}, kOther);
  Settle();
  Ask();
  EXPECT_TRUE(replica_.AnswerReads());
  Settle();
  EXPECT_EQ(SentToOther(), (Indexes{2, 3, 4, 5}));
}

TEST_F(LeaderTest, ReadIsAnsweredOnceConfirmed) {
  Receive(1, AppendReply{.accepted = true, .match = LogIndex(1), .last_index = LogIndex(1), .request = 1});
  Settle();
  ASSERT_TRUE(replica_.core().ReadIndex(42).ok());
  Settle();
  EXPECT_TRUE(replica_.reads().empty());
  Receive(1, HeartbeatReply{.read_round = 1, .last_index = LogIndex(1)});
  Settle();
  EXPECT_EQ(replica_.reads(), (std::vector<std::pair<uint64_t, bool>>{{42, true}}));
}

TEST_F(LeaderTest, ReadsOfAReadyThatCannotBeDoneFail) {
  Propose(2);
  Settle();
  ASSERT_TRUE(replica_.core().ReadIndex(42).ok());
  Append(2, {Term(1), LogIndex(1)}, {MakeEntry(2, 2, 77)});
  Settle();
  ASSERT_TRUE(replica_.driver().fatal());
  EXPECT_EQ(replica_.reads(), (std::vector<std::pair<uint64_t, bool>>{{42, false}}));
}

}  // namespace
}  // namespace millrace::raft
