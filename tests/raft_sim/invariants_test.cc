// The checkers against histories that are wrong: a checker that never fails proves nothing.
#include "tests/raft_sim/invariants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/raft_sim/node.h"
#include "tests/raft_sim/simulation.h"
#include "tests/raft_sim/survival.h"
#include "tests/raft_sim/world.h"

namespace millrace::raft::sim {
namespace {

using testing::StartsWith;

FaultSet All() { return FaultSet().set(); }

class InvariantsTest : public testing::Test {
 protected:
  InvariantsTest() {
    ReplicaSet voters;
    for (const auto& node : world.nodes) voters.push_back(node->id());
    for (const auto& node : world.nodes) node->disk().SetFirstMembership({.voters = voters});
    for (const auto& node : world.nodes) node->Start();
  }

  Node& node(int broker) { return *world.nodes[static_cast<size_t>(broker)]; }
  Glance Leading(Node& node, Term term, LogIndex commit) {
    Glance glance = node.seen();
    glance.role = Role::kLeader;
    glance.term = term;
    glance.commit = commit;
    return glance;
  }

  // The broker starts anew with this on its disk behind what was there.
  void Store(int broker, Batch batch) {
    node(broker).Stop(Disk::Level::kClean);
    node(broker).disk().Queue(std::move(batch));
    node(broker).disk().BeginRound();
    Batch done;
    EXPECT_EQ(node(broker).disk().FinishNext(&done), nullptr);
    node(broker).Start();
  }
  void Store(int broker, std::vector<Entry> entries, LogIndex commit = LogIndex(0)) {
    const Term term = entries.back().header.term;
    Store(broker, {.append = std::move(entries), .term_and_vote = TermAndVote{.term = term, .commit_index = commit}});
  }
  static Entry MakeEntry(int64_t term, int64_t index, uint64_t proposal = 0) {
    Entry entry{.header = {.term = Term(term), .index = LogIndex(index)}};
    entry.payload = absl::Cord(absl::string_view(reinterpret_cast<const char*>(&proposal), sizeof proposal));
    return entry;
  }

  Coverage coverage;
  World world{/*seed=*/4, /*without=*/All(), coverage};  // five voters
};

TEST_F(InvariantsTest, TwoLeadersOfOneTerm) {
  world.invariants.OnChange(node(0), node(0).seen(), Leading(node(0), Term(3), LogIndex(0)));
  world.violation.clear();
  world.invariants.OnChange(node(1), node(1).seen(), Leading(node(1), Term(3), LogIndex(0)));
  EXPECT_THAT(world.violation, StartsWith("election safety"));
}

TEST_F(InvariantsTest, ALeaderWithoutADurableVote) {
  world.invariants.OnChange(node(0), node(0).seen(), Leading(node(0), Term(3), LogIndex(0)));
  EXPECT_THAT(world.violation, StartsWith("votes are durable"));
}

TEST_F(InvariantsTest, AVoteThatIsNotOnTheDisk) {
  Message vote{.from = node(1).id(), .to = node(0).id(), .term = Term(2), .body = VoteReply{.granted = true}};
  world.invariants.OnSend(node(1), vote);
  EXPECT_THAT(world.violation, StartsWith("votes are durable"));
}

TEST_F(InvariantsTest, TwoVotesInOneTerm) {
  Message vote{.from = node(1).id(), .to = node(0).id(), .term = Term(2), .body = VoteReply{.granted = true}};
  world.invariants.OnSend(node(1), vote);
  world.violation.clear();
  vote.to = node(2).id();
  Batch stored{.term_and_vote = TermAndVote{.term = Term(2), .voted_for = node(2).id()}};
  node(1).disk().Queue(std::move(stored));
  node(1).disk().BeginRound();
  Batch done;
  EXPECT_EQ(node(1).disk().FinishNext(&done), nullptr);
  world.invariants.OnSend(node(1), vote);
  EXPECT_THAT(world.violation, StartsWith("one vote in a term"));
}

TEST_F(InvariantsTest, AnAckOfWhatIsNotOnTheDisk) {
  Message ack{.from = node(1).id(), .to = node(0).id(), .term = Term(1)};
  ack.body = AppendReply{.accepted = true, .match = LogIndex(1)};
  world.invariants.OnSend(node(1), ack);
  EXPECT_THAT(world.violation, StartsWith("acks are durable"));
}

TEST_F(InvariantsTest, AnAckOfWhatTheDiskHasAnotherEntryFor) {
  Store(1, {MakeEntry(1, 1)});
  Message ack{.from = node(1).id(), .to = node(0).id(), .term = Term(1)};
  ack.body = AppendReply{.accepted = true, .match = LogIndex(1)};
  world.invariants.OnSend(node(1), ack);
  EXPECT_EQ(world.violation, "");
  node(1).disk().Queue({.truncate_from = LogIndex(1), .append = {MakeEntry(2, 1)}});
  node(1).disk().BeginRound();
  Batch done;
  EXPECT_EQ(node(1).disk().FinishNext(&done), nullptr);
  world.invariants.OnSend(node(1), ack);
  EXPECT_THAT(world.violation, StartsWith("acks are durable"));
}

TEST_F(InvariantsTest, TwoLogsThatDifferBelowAnEqualEntry) {
  Store(0, {MakeEntry(1, 1), MakeEntry(3, 2)});
  Store(1, {MakeEntry(2, 1), MakeEntry(3, 2)});
  world.invariants.OnAppended(node(0), LogIndex(2));
  EXPECT_EQ(world.violation, "");
  world.invariants.OnAppended(node(1), LogIndex(2));
  EXPECT_THAT(world.violation, StartsWith("log matching"));
}

TEST_F(InvariantsTest, ARefusedProposalInALog) {
  const uint64_t proposal = world.invariants.NewProposal();
  Store(0, {MakeEntry(1, 1, proposal)});
  world.invariants.OnAppended(node(0), LogIndex(1));
  EXPECT_EQ(world.violation, "");
  world.invariants.OnRefused(proposal);
  world.invariants.OnAppended(node(0), LogIndex(1));
  EXPECT_THAT(world.violation, StartsWith("refused means not appended"));
}

TEST_F(InvariantsTest, TwoCommittedEntriesAtOnePlace) {
  Store(0, {MakeEntry(1, 1)}, LogIndex(1));
  EXPECT_EQ(world.violation, "");
  Store(1, {MakeEntry(2, 1)}, LogIndex(1));
  EXPECT_THAT(world.violation, StartsWith("committed entries agree"));
}

TEST_F(InvariantsTest, AnEntryThatIsCommittedTwice) {
  const uint64_t proposal = world.invariants.NewProposal();
  Store(0, {MakeEntry(1, 1, proposal), MakeEntry(1, 2, proposal)}, LogIndex(2));
  EXPECT_THAT(world.violation, StartsWith("committed once"));
}

TEST_F(InvariantsTest, ALeaderWithoutWhatIsCommitted) {
  Store(0, {MakeEntry(1, 1)}, LogIndex(1));
  for (int broker : {1, 2, 3}) {
    Store(broker, {.term_and_vote = TermAndVote{.term = Term(2), .voted_for = node(1).id()}});
    if (broker == 1) continue;
    Message vote{.from = node(broker).id(), .to = node(1).id(), .term = Term(2), .body = VoteReply{.granted = true}};
    world.invariants.OnSend(node(broker), vote);
  }
  EXPECT_EQ(world.violation, "");
  world.invariants.OnChange(node(1), node(1).seen(), Leading(node(1), Term(2), LogIndex(0)));
  EXPECT_THAT(world.violation, StartsWith("leader completeness"));
}

TEST_F(InvariantsTest, ACommitThatAMajorityDoesNotHold) {
  for (int broker : {0, 1, 2}) Store(broker, {MakeEntry(1, 1)});
  const auto commits = [&] {
    world.invariants.OnChange(node(0), Leading(node(0), Term(1), LogIndex(0)), Leading(node(0), Term(1), LogIndex(1)));
  };
  commits();
  EXPECT_EQ(world.violation, "");
  node(2).disk().SetAbstaining();
  commits();
  EXPECT_THAT(world.violation, StartsWith("acked means held by a quorum"));
}

TEST_F(InvariantsTest, ACommitOfAnOlderTermAlone) {
  for (int broker : {0, 1, 2}) Store(broker, {MakeEntry(1, 1)});
  world.invariants.OnChange(node(0), Leading(node(0), Term(2), LogIndex(0)), Leading(node(0), Term(2), LogIndex(1)));
  EXPECT_THAT(world.violation, StartsWith("only entries of the own term are counted"));
}

TEST_F(InvariantsTest, TwoChangesInFlight) {
  const Membership all = node(0).seen().membership->membership;
  Membership fewer = all;
  fewer.voters.pop_back();
  Batch changes{.append = {MakeEntry(1, 1), MakeEntry(1, 2)}, .term_and_vote = TermAndVote{.term = Term(1)}};
  changes.memberships = {{LogIndex(0), all}, {LogIndex(1), fewer}, {LogIndex(2), all}};
  Store(0, std::move(changes));
  Glance before = Leading(node(0), Term(1), LogIndex(0));
  before.membership = nullptr;
  world.invariants.OnChange(node(0), before, Leading(node(0), Term(1), LogIndex(0)));
  EXPECT_THAT(world.violation, StartsWith("one membership change in flight"));
}

TEST_F(InvariantsTest, AReadOfLessThanWasCommittedBefore) {
  Store(0, {MakeEntry(1, 1)}, LogIndex(1));
  world.invariants.OnReadIssued(0);
  world.invariants.OnReadReady(node(0), {.id = 0, .index = LogIndex(1)});
  EXPECT_EQ(world.violation, "");
  world.invariants.OnReadReady(node(0), {.id = 0, .index = LogIndex(0)});
  EXPECT_THAT(world.violation, StartsWith("linearizable reads"));
}

TEST_F(InvariantsTest, ACommitIndexThatMovesBack) {
  Glance before = node(0).seen();
  before.commit = LogIndex(2);
  world.invariants.OnChange(node(0), before, node(0).seen());
  EXPECT_THAT(world.violation, StartsWith("commit never moves back"));
}

TEST_F(InvariantsTest, ATruncationOfWhatIsCommitted) {
  world.invariants.OnTruncate(node(0), LogIndex(0));
  EXPECT_THAT(world.violation, StartsWith("no truncation below commit"));
}

TEST_F(InvariantsTest, AReadThatIsAnsweredBeforeItIsApplied) {
  world.invariants.OnReadIssued(0);
  world.invariants.OnReadReady(node(0), {.id = 0, .index = LogIndex(1)});
  EXPECT_THAT(world.violation, StartsWith("linearizable reads"));
}

TEST_F(InvariantsTest, ALossWhereEveryAckWasSynced) {
  world.invariants.OnPossibleLoss(node(0));
  EXPECT_THAT(world.violation, StartsWith("no loss"));
}

// A leader that is the only voter loses with its machine what it had committed (flush=async); a learner's driver is busy.
class LossTest : public testing::Test {
 protected:
  LossTest() {
    const Membership membership{.voters = {leader.id()}, .learners = {learner.id()}};
    for (Node* node : {&leader, &learner}) node->disk().SetFirstMembership(membership);
    for (Node* node : {&leader, &learner}) node->Start();
    Lead();
    for (LogIndex i(1); i <= leader.core().commit_index(); ++i) committed.push_back(leader.disk().acked().EntryAt(i));
    leader.Stop(Disk::Level::kMachine);
    leader.Start();
    kept = {leader.chain().back().term, leader.chain().last()};
    Lead();
    // From here on the learner's Readies wait for an event that nobody gives it.
    while (!learner.core().HasReady()) learner.Deliver({leader.id(), learner.id(), Term(1), Heartbeat()});
  }

  // Elected, and with some entries committed. What it sends reaches nobody.
  void Lead() {
    leader.Campaign();
    for (int entries = 0; entries < 20;) {
      world.now = world.queue.next_time();
      const Event event = world.queue.Pop();
      if (event.kind == EventKind::kDeliver) {
        world.network.Take(event.what);
      } else if (event.broker == leader.broker()) {
        leader.On(event);
        if (leader.leads() && leader.Propose(Entry()).ok()) ++entries;
      }
    }
  }
  void HearOfTheLost() {
    AppendEntries append{.entries = committed, .commit = LogIndex(std::ssize(committed))};
    learner.Deliver({leader.id(), learner.id(), Term(1), std::move(append)});
  }
  void HearOfWhatTookItsPlace() {
    AppendEntries append{.prev = kept, .entries = {leader.disk().acked().EntryAt(kept.index + 1)}};
    learner.Deliver({leader.id(), learner.id(), leader.core().term(), std::move(append)});
  }
  void HearOfASnapshot() {
    const LogIndex last = leader.seen().commit;
    const Link& link = leader.chain().At(last);
    InstallSnapshot snapshot{.last = {link.term, last},
                             .end_offset = link.end_offset,
                             .log_start = link.end_offset,
                             .append_time = link.append_time,
                             .membership = leader.core().membership()};
    snapshot.state = absl::Cord(absl::string_view(reinterpret_cast<const char*>(&link.digest), sizeof link.digest));
    learner.Deliver({leader.id(), learner.id(), leader.core().term(), std::move(snapshot)});
  }
  void On(EventKind kind) { learner.On({kind, static_cast<uint8_t>(learner.broker()), learner.life()}); }
  // The learner knows from its disk that the lost was committed, and dies when it has a snapshot in the place of it.
  void DieWithASnapshot(Disk::Level level) {
    HearOfTheLost();
    On(EventKind::kDrain);
    while (!learner.disk().idle() || learner.core().HasReady()) {
      On(EventKind::kDisk);
      On(EventKind::kDrain);
    }
    HearOfASnapshot();
    On(EventKind::kDrain);
    EXPECT_TRUE(world.invariants.IsVictim(learner.id()));
    learner.Stop(level);
    learner.Start();
    EXPECT_EQ(world.violation, "");
  }

  static FaultSet AllBut(Fault a, Fault b) { return All().reset(static_cast<size_t>(a)).reset(static_cast<size_t>(b)); }

  Coverage coverage;
  World world{/*seed=*/47, /*without=*/AllBut(Fault::kAsyncFlush, Fault::kBusyDriver), coverage};  // draws both
  Node& leader = *world.nodes[0];
  Node& learner = *world.nodes[1];
  std::vector<Entry> committed;  // before the loss
  EntryId kept;                  // the last of them that is not lost
};

TEST_F(LossTest, WhoHasJustLearntThatTheLostWasCommittedMaySaySo) {
  ASSERT_GT(committed.size(), static_cast<size_t>(kept.index.value()));
  EXPECT_FALSE(world.invariants.IsVictim(learner.id()));
  HearOfTheLost();
  EXPECT_TRUE(world.invariants.IsVictim(learner.id()));
  HearOfWhatTookItsPlace();
  On(EventKind::kDrain);
  EXPECT_EQ(world.violation, "");
  EXPECT_FALSE(learner.up());
}

TEST_F(LossTest, WhoIsStillToHearOfTheLostIsNotCountedOn) {
  const Membership grown{.voters = {leader.id(), learner.id()}, .outgoing = {leader.id()}};
  EXPECT_TRUE(Survives(world, grown));
  world.network.Send(world.now, {leader.id(), learner.id(), leader.core().term(), Heartbeat()});
  EXPECT_TRUE(Survives(world, grown));
  world.network.Send(world.now, {leader.id(), learner.id(), Term(1), Heartbeat()});
  EXPECT_FALSE(Survives(world, grown));
}

TEST_F(LossTest, WhoHasLearntOnlyOfWhatIsKeptMayNot) {
  committed.resize(static_cast<size_t>(kept.index.value()));
  HearOfTheLost();
  EXPECT_FALSE(world.invariants.IsVictim(learner.id()));
  kept.term = kept.term + 1;
  HearOfWhatTookItsPlace();
  On(EventKind::kDrain);
  EXPECT_THAT(world.violation, StartsWith("no contradiction"));
}

TEST_F(LossTest, WhoseSnapshotDoesNotReachTheDiskMaySaySoAfterAll) {
  DieWithASnapshot(Disk::Level::kProcess);
  ASSERT_EQ(learner.chain().last(), LogIndex(std::ssize(committed)));  // so the dice fall for this seed
  EXPECT_TRUE(world.invariants.IsVictim(learner.id()));
}

TEST_F(LossTest, WhoseSnapshotReachesTheDiskMayNotAnyMore) {
  DieWithASnapshot(Disk::Level::kClean);
  ASSERT_GT(learner.chain().before(), LogIndex(std::ssize(committed)));
  EXPECT_FALSE(world.invariants.IsVictim(learner.id()));
}

TEST(Simulation, TheSameSeedGivesTheSameEvents) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Plan plan{.seed = seed, .events = 2000};
    Coverage first, second;
    const Result result = Simulate(plan, first);
    EXPECT_EQ(result.violation, "");
    EXPECT_EQ(result.hash, Simulate(plan, second).hash);
    EXPECT_EQ(first.rare, second.rare);
  }
}

}  // namespace
}  // namespace millrace::raft::sim
