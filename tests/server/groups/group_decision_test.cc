// Goal: whatever happens to a group, no partition is in two members' hands, none is given under an epoch that it was given under before,
// and once nothing happens any more everybody has his share.
#include "server/group_decision.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/server/groups/topics.h"
#include "tests/support/sim_executor.h"

namespace millrace::server {
namespace {

MemberState Reader(std::vector<std::string> topics, std::string pattern = "") {
  MemberState member;
  member.session_timeout_ms = 10'000;
  member.topics = std::move(topics);
  member.topic_pattern = std::move(pattern);
  return member;
}

// A group and members that do what they are told.
class GroupDecisionTest : public ::testing::Test {
 protected:
  void Step(const GroupEvents& events) {
    const internal::v1::GroupChange change = Decide(state_, events, *topics_.image(), patterns_);
    last_changed_ = IsChange(change);
    if (!last_changed_) return;
    EXPECT_EQ(change.epoch(), state_.epoch + 1);
    internal::v1::GroupRecord record;
    *record.mutable_change() = change;
    table_.Replay("g", record);
    const GroupState* state = table_.Find("g");
    state_ = state == nullptr ? GroupState{.epoch = change.epoch()} : *state;
  }

  void Join(const std::string& id, MemberState member) {
    GroupEvents events;
    events.described[id] = std::move(member);
    events.joined.insert(id);
    Step(events);
  }

  void Leave(const std::string& id) {
    GroupEvents events;
    events.left.insert(id);
    Step(events);
  }

  // All that everybody was told to let go of.
  void LetGo() {
    GroupEvents events;
    for (const auto& [id, member] : state_.members) {
      for (const auto& [partition, holding] : member.holdings) {
        if (holding.revoking) events.let_go[id].insert(partition);
      }
    }
    Step(events);
  }

  std::vector<int32_t> Told(const std::string& id) const {
    std::vector<int32_t> told;
    for (const auto& [partition, holding] : state_.members.at(id).holdings) {
      if (!holding.revoking) told.push_back(partition.partition);
    }
    return told;
  }

  TestTopics topics_;
  TopicPatterns patterns_;
  GroupTable table_;
  GroupState state_;
  bool last_changed_ = false;
};

TEST_F(GroupDecisionTest, APartitionMovesOnlyOnceItWasLetGo) {
  topics_.Add("t", 2);
  Join("a", Reader({"t"}));
  EXPECT_EQ(Told("a"), (std::vector{0, 1}));
  Join("b", Reader({"t"}));
  EXPECT_EQ(Told("a").size(), 1u);
  EXPECT_TRUE(Told("b").empty());
  EXPECT_EQ(state_.members.at("a").holdings.size(), 2u);
  Step({});
  EXPECT_FALSE(last_changed_) << "nothing has happened";
  LetGo();
  EXPECT_EQ(Told("b").size(), 1u);
  EXPECT_EQ(state_.members.at("a").holdings.size(), 1u);
}

TEST_F(GroupDecisionTest, WhatWasNotToBeLetGoIsNot) {
  topics_.Add("t", 2);
  Join("a", Reader({"t"}));
  GroupEvents events;
  events.let_go["a"].insert({1, 0});
  Step(events);
  EXPECT_EQ(Told("a"), (std::vector{0, 1}));
}

TEST_F(GroupDecisionTest, WhoJoinsAgainHoldsNothingAndGetsItUnderAnotherEpoch) {
  topics_.Add("t", 1);
  Join("a", Reader({"t"}));
  const int32_t first = state_.members.at("a").holdings.at({1, 0}).epoch;
  Join("a", Reader({"t"}));
  EXPECT_GT(state_.members.at("a").holdings.at({1, 0}).epoch, first);
}

TEST_F(GroupDecisionTest, AnInstanceThatComesBackHasWhatItHad) {
  topics_.Add("t", 4);
  MemberState one = Reader({"t"});
  one.instance_id = "one";
  Join("a", one);
  Join("b", Reader({"t"}));
  LetGo();
  const std::vector<int32_t> had = Told("a"), other = Told("b");
  Join("a2", one);
  EXPECT_FALSE(state_.members.contains("a"));
  EXPECT_EQ(Told("a2"), had);
  EXPECT_EQ(Told("b"), other);
  EXPECT_EQ(state_.members.at("a2").holdings.begin()->second.epoch, state_.epoch);
}

TEST_F(GroupDecisionTest, AResetTellsTheOwner) {
  const uint64_t topic = topics_.Add("t", 2);
  Join("a", Reader({"t"}));
  const int32_t told = state_.members.at("a").epoch;
  GroupEvents events;
  events.resets[{topic, 1}] = {.offset = 5};
  Step(events);
  EXPECT_EQ(state_.offsets.at({topic, 1}).offset, 5);
  EXPECT_GT(state_.members.at("a").epoch, told);
  EXPECT_EQ(state_.members.at("a").holdings.at({topic, 1}).epoch, state_.epoch);
  EXPECT_LT(state_.members.at("a").holdings.at({topic, 0}).epoch, state_.epoch);
  events.resets[{topic, 1}] = {.offset = -1};
  Step(events);
  EXPECT_FALSE(state_.offsets.contains({topic, 1}));
}

TEST_F(GroupDecisionTest, TopicsThatComeAndGoAreNoticed) {
  Join("a", Reader({"late"}, "log-.*"));
  EXPECT_TRUE(Told("a").empty());
  topics_.Add("late", 1);
  topics_.Add("log-1", 2);
  topics_.Add("other", 1);
  topics_.Add("__own", 1);
  GroupEvents events;
  events.topics_changed = true;
  Step(events);
  EXPECT_EQ(Told("a").size(), 3u);
  topics_.AddPartition(1, 1);
  Step(events);
  EXPECT_EQ(Told("a").size(), 4u);
  events.resets[{1, 0}] = {.offset = 3};
  Step(events);
  topics_.Remove(1);
  events.resets.clear();
  Step(events);
  EXPECT_EQ(Told("a").size(), 2u);
  EXPECT_TRUE(state_.offsets.empty());
}

TEST_F(GroupDecisionTest, PatternsAreOfWholeNamesAndNeverOfTheClustersOwn) {
  EXPECT_TRUE(patterns_.Matches("a.c", "abc"));
  EXPECT_FALSE(patterns_.Matches("a.c", "abcd"));
  EXPECT_FALSE(patterns_.Matches(".*", "__consumer_groups"));
  EXPECT_FALSE(patterns_.Matches("(", "("));
  EXPECT_EQ(patterns_.Problem("a.c"), "");
  EXPECT_NE(patterns_.Problem("("), "");
}

TEST_F(GroupDecisionTest, TheOldestMemberSaysHowPartitionsAreShared) {
  topics_.Add("t", 4);
  topics_.Add("u", 4);
  MemberState range = Reader({"t", "u"});
  range.assignor = 1;
  Join("z", range);
  Join("a", Reader({"t", "u"}));
  LetGo();
  EXPECT_EQ(Told("a"), (std::vector{0, 1, 0, 1}));
  EXPECT_EQ(Told("z"), (std::vector{2, 3, 2, 3}));
}

// Members come, go, are lost, change their mind, and let go sooner or later; topics and positions change.
class RandomGroup : public GroupDecisionTest {
 protected:
  void Run(uint64_t seed) {
    SimRandom random(seed);
    const auto below = [&random](uint64_t n) { return random.Next() % n; };
    topics_.Add("t1", 1 + static_cast<int>(below(8)));
    topics_.Add("t2", 1 + static_cast<int>(below(4)));
    for (int step = 0; step < 60; ++step) {
      const GroupState before = state_;
      GroupEvents events;
      for (uint64_t n = 1 + below(3); n > 0; --n) AddEvent(below, events);
      Step(events);
      CheckStep(before);
      if (HasFailure()) return;
    }
    for (int quiet = 0; quiet < 20; ++quiet) {
      const GroupState before = state_;
      LetGo();
      CheckStep(before);
    }
    EXPECT_FALSE(last_changed_);
    CheckShares();
  }

 private:
  template <typename Below>
  void AddEvent(const Below& below, GroupEvents& events) {
    const std::string id = "m" + std::to_string(below(6));
    switch (below(8)) {
      case 0:
      case 1:
        events.described[id] =
            Reader(below(4) == 0 ? std::vector<std::string>{"t1"} : std::vector<std::string>{"t1", "t2"});
        if (below(3) == 0) events.described[id].instance_id = "i" + std::to_string(below(2));
        events.joined.insert(id);
        events.left.erase(id);
        break;
      case 2:
        if (!events.joined.contains(id)) events.left.insert(id);
        break;
      case 3:
        if (below(4) == 0) {  // made anew
          topics_.Remove(topics_.image()->FindTopic("t2")->topic_id);
          topics_.Add("t2", 2);
        }
        events.topics_changed = true;
        break;
      case 4:
        events.resets[{1, static_cast<int32_t>(below(3))}] = {.offset = static_cast<int64_t>(below(100))};
        break;
      default:
        for (const auto& [member, state] : state_.members) {
          for (const auto& [partition, holding] : state.holdings) {
            if (holding.revoking && below(2) == 0) events.let_go[member].insert(partition);
          }
        }
    }
  }

  void CheckStep(const GroupState& before) {
    std::map<PartitionId, std::string> holders;
    for (const auto& [id, member] : state_.members) {
      for (const auto& [partition, holding] : member.holdings) {
        const auto [other, is_first] = holders.emplace(partition, id);
        EXPECT_TRUE(is_first) << other->second << " and " << id << " both hold partition " << partition.partition;
        const std::string* held_by = before.HolderOf(partition);
        if (held_by != nullptr && *held_by == id) continue;
        EXPECT_GT(holding.epoch, before.epoch) << "given anew under an epoch of before";
      }
    }
  }

  void CheckShares() {
    size_t least = SIZE_MAX, most = 0;
    for (const auto& [id, member] : state_.members) {
      if (member.topics.size() < 2) return;  // what is even then is the assignor's business
      least = std::min(least, member.holdings.size());
      most = std::max(most, member.holdings.size());
    }
    EXPECT_TRUE(state_.members.empty() || most <= least + 1);
  }
};

TEST_F(RandomGroup, NeverGivesAPartitionTwice) {
  for (uint64_t seed = 1; seed <= 300 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    topics_ = TestTopics();
    table_ = GroupTable();
    state_ = GroupState();
    Run(seed);
  }
}

}  // namespace
}  // namespace millrace::server
