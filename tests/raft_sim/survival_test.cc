// Faults that a group cannot survive would fail the liveness check of a group without a defect.
#include "tests/raft_sim/survival.h"

#include <gtest/gtest.h>

#include "tests/raft_sim/node.h"
#include "tests/raft_sim/world.h"

namespace millrace::raft::sim {
namespace {

class SurvivalTest : public testing::Test {
 protected:
  Node& node(int broker) { return *world.nodes[static_cast<size_t>(broker)]; }
  ReplicaId id(int broker) { return node(broker).id(); }
  void Hold(const Membership& membership) {
    for (const auto& node : world.nodes) node->disk().SetFirstMembership(membership);
    for (const auto& node : world.nodes) node->Start();
  }

  Coverage coverage;
  World world{/*seed=*/4, /*without=*/FaultSet().set(), coverage};  // five brokers
};

TEST_F(SurvivalTest, OneOfThreeVotersMayGo) {
  Hold({.voters = {id(0), id(1), id(2)}});
  EXPECT_TRUE(MayWipe(world, node(0)));
  node(0).Wipe();
  EXPECT_FALSE(MayWipe(world, node(1)));
}

TEST_F(SurvivalTest, AMajorityOfBothHalves) {
  Hold({.voters = {id(0), id(1), id(2)}, .outgoing = {id(0), id(3)}});
  EXPECT_FALSE(MayWipe(world, node(0)));
  EXPECT_TRUE(MayWipe(world, node(1)));
}

TEST_F(SurvivalTest, ALearnerWhoseBrokerIsGoneMayStillBecomeTheSecondVoter) {
  Hold({.voters = {id(0)}, .learners = {id(1), id(2)}, .promote = {id(1), id(2)}});
  EXPECT_FALSE(MayWipe(world, node(1)));
}

TEST_F(SurvivalTest, AThirdVoterWhoseBrokerIsGoneDoesNoHarm) {
  Hold({.voters = {id(0), id(3)}, .learners = {id(1), id(2)}, .promote = {id(1), id(2)}});
  EXPECT_TRUE(MayWipe(world, node(1)));
  node(1).Wipe();
  EXPECT_FALSE(MayWipe(world, node(2)));
}

TEST_F(SurvivalTest, AMembershipThatACrashBringsBackCounts) {
  Hold({.voters = {id(0), id(1), id(2)}});
  const std::vector<MembershipAt> removed = {{LogIndex(0), {.voters = {id(0), id(1), id(2)}}},
                                             {LogIndex(4), {.voters = {id(1), id(2)}}}};
  node(1).disk().Queue({.memberships = removed});
  EXPECT_FALSE(MayWipe(world, node(2)));
  EXPECT_TRUE(MayWipe(world, node(0)));
}

TEST_F(SurvivalTest, AMembershipThatIsUnderWayCounts) {
  Hold({.voters = {id(0), id(1), id(2)}});
  Entry entry{.header = {.type = EntryType::kMembership}};
  entry.payload = absl::Cord(Encode({.voters = {id(1), id(2)}}));
  world.network.Send(world.now,
                     {.from = id(1), .to = id(2), .term = Term(1), .body = AppendEntries{.entries = {entry}}});
  EXPECT_FALSE(MayWipe(world, node(2)));
  EXPECT_TRUE(MayWipe(world, node(0)));
}

TEST_F(SurvivalTest, AllMayAbstain) {
  Hold({.voters = {id(0), id(1), id(2)}});
  for (int broker = 0; broker < 3; ++broker) {
    EXPECT_TRUE(MayAbstain(world, node(broker)));
    node(broker).disk().SetAbstaining();
  }
  EXPECT_FALSE(MayWipe(world, node(0)));
}

}  // namespace
}  // namespace millrace::raft::sim
