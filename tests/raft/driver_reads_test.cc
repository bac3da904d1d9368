// Goal: what GroupDriver reads: entries to apply, entries for a member, and the reads that it answers.
#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "tests/raft/driver_fixture.h"

namespace millrace::raft {
namespace {

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

// With the log start go committed entries that have no records and lie right behind it.
TEST_F(DriverTest, LogStartWaitsForEntriesThatAreBeingReadToApply) {
  std::vector<Entry> entries = MakeEntries(1, 1, 2);
  for (int64_t index : {3, 4}) {
    entries.push_back(
        {.header = {.type = EntryType::kNoop, .term = Term(1), .index = LogIndex(index), .base_offset = Offset(2)}});
  }
  Append(1, {}, entries, 2);
  Entry of_next_segment = MakeEntry(1, 5, 2);
  of_next_segment.payload = absl::Cord(std::string(4090, 'x'));
  Append(1, {Term(1), LogIndex(4)}, {of_next_segment});
  Settle();
  store_.DropCache();
  Append(1, {Term(1), LogIndex(5)}, {MakeEntry(1, 6, 3)}, 4);
  broker_.Turn();
  ASSERT_EQ(replica_.asked().size(), 1u);
  replica_.driver().SetLogStart(Offset(2));
  Settle();
  EXPECT_TRUE(replica_.AnswerReads());
  EXPECT_EQ(replica_.driver().applied_index(), LogIndex(4));
  Settle();
  EXPECT_EQ(store_.State(kGroup).log_start, Offset(2));
  EXPECT_EQ(store_.State(kGroup).first_index, LogIndex(5));
}

// A follower whose committed entries 1 to 3 are no longer in memory: they are being read.
class ReadToApplyTest : public DriverTest {
 protected:
  ReadToApplyTest() {
    Append(1, {}, MakeEntries(1, 1, 3));
    Settle();
    store_.DropCache();
    Receive(1, Heartbeat{.commit = {Term(1), LogIndex(3)}});
    broker_.Turn();
    EXPECT_EQ(replica_.asked().size(), 1u);
    EXPECT_EQ(replica_.driver().applied_index(), LogIndex(0));
  }
};

TEST_F(ReadToApplyTest, IsTriedAgainWithTheNextWorkAfterAFailure) {
  replica_.FailReads(absl::UnavailableError("the disk is in trouble"));
  EXPECT_FALSE(replica_.driver().HasWork()) << "at once would be a loop";
  EXPECT_TRUE(replica_.asked().empty());
  Receive(1, Heartbeat{.commit = {Term(1), LogIndex(3)}});
  broker_.Turn();
  EXPECT_TRUE(replica_.AnswerReads());
  EXPECT_EQ(replica_.driver().applied_index(), LogIndex(3));
  EXPECT_FALSE(replica_.driver().fatal());
}

TEST_F(ReadToApplyTest, IsTriedAgainThoughTheGroupIsQuiet) {
  Receive(1, Heartbeat{.commit = {Term(1), LogIndex(3)}, .quiesce = true, .last_index = LogIndex(3)});
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
  Receive(1, Heartbeat{.commit = {Term(1), LogIndex(3)}});
  do {
    Settle();
  } while (replica_.AnswerReads());
  EXPECT_EQ(replica_.passed_over(), std::vector<LogIndex>{LogIndex(2)});
  EXPECT_EQ(replica_.driver().applied_index(), LogIndex(3));
}

// What is committed meanwhile replaces entries that the store still has.
TEST_F(ReadToApplyTest, IsFollowedOnlyByWhatIsWritten) {
  Append(1, {Term(1), LogIndex(3)}, MakeEntries(1, 4, 5));
  Settle();
  store_.DropCache();
  store_.Stall();
  Append(2, {Term(1), LogIndex(3)}, MakeEntries(2, 4, 5), 5);
  broker_.Turn();
  while (replica_.AnswerReads()) broker_.Turn();
  EXPECT_EQ(replica_.driver().applied_index(), LogIndex(3));
  store_.EndStall();
  Settle();
  while (replica_.AnswerReads()) Settle();
  EXPECT_EQ(replica_.applied().back(), (EntryId{Term(2), LogIndex(5)}));
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
  Receive(1, Heartbeat{.commit = {Term(1), LogIndex(3)}});
  broker_.Turn();
  ASSERT_EQ(replica_.asked().size(), 2u);
  replica_.driver().OnRead(earlier, absl::DataLossError("of another time"));
  EXPECT_FALSE(replica_.driver().fatal());
  EXPECT_TRUE(replica_.AnswerReads());
  EXPECT_EQ(replica_.driver().applied_index(), LogIndex(3));
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

TEST_F(ReadForAMemberTest, IsReplacedByTheNextForThatMember) {
  replica_.core().OnUnreachable(kOther);
  Receive(1, HeartbeatReply{.last_index = LogIndex(1)}, kOther);
  Settle();
  ASSERT_EQ(replica_.asked().size(), 2u);
  const uint64_t replaced = replica_.asked().front().id;
  EXPECT_FALSE(replica_.driver().Awaits(replaced));
  EXPECT_TRUE(replica_.driver().Awaits(replica_.asked().back().id));
  replica_.driver().OnRead(replaced, absl::DataLossError("nobody waits for it"));
  EXPECT_TRUE(replica_.notices().empty());
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
  EXPECT_EQ(replica_.reads(), (std::vector<TestReplica::Answer>{{42, true, LogIndex(1)}}));
}

TEST_F(LeaderTest, ReadsOfAReadyThatCannotBeDoneFail) {
  Propose(2);
  Settle();
  ASSERT_TRUE(replica_.core().ReadIndex(42).ok());
  Append(2, {Term(1), LogIndex(1)}, {MakeEntry(2, 2, 77)});
  Settle();
  ASSERT_TRUE(replica_.driver().fatal());
  EXPECT_EQ(replica_.reads(), (std::vector<TestReplica::Answer>{{42, false, LogIndex(0)}}));
}

}  // namespace
}  // namespace millrace::raft
