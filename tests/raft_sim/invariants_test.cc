// The checkers against histories that are wrong: a checker that never fails proves nothing.
#include "tests/raft_sim/invariants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/raft_sim/node.h"
#include "tests/raft_sim/simulation.h"
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
