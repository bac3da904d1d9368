// Goal: partitions are spread evenly, move only where that makes them more even, and meet where they should.
#include "server/assignor.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "millrace/v1/group.pb.h"

namespace millrace::server {
namespace {

SubscribedTopic Topic(uint64_t id, size_t partitions) { return {id, std::vector<std::string>(partitions)}; }

AssignorInput InputOf(std::vector<SubscribedTopic> topics, int members, int32_t assignor = v1::ASSIGNOR_UNIFORM) {
  AssignorInput input{.topics = std::move(topics), .members = {}, .assignor = assignor};
  for (int m = 0; m < members; ++m) {
    Subscriber& member = input.members.emplace_back();
    member.id = member.order = "m" + std::to_string(m);
    for (size_t t = 0; t < input.topics.size(); ++t) member.topics.push_back(t);
  }
  return input;
}

std::map<std::string, int> Loads(const Target& target) {
  std::map<std::string, int> loads;
  for (const auto& [partition, member] : target) ++loads[member];
  return loads;
}

void SetCurrent(const Target& target, AssignorInput& input) {
  for (Subscriber& member : input.members) {
    member.current.clear();
    for (const auto& [partition, id] : target) {
      if (id == member.id) member.current.push_back(partition);
    }
  }
}

int Moved(const Target& from, const Target& to) {
  return static_cast<int>(std::ranges::count_if(from, [&to](const auto& each) {
    const auto now = to.find(each.first);
    return now == to.end() || now->second != each.second;
  }));
}

TEST(Assignor, SpreadsEvenlyOverAllTopics) {
  const Target target = Assign(InputOf({Topic(1, 5), Topic(2, 5), Topic(3, 1)}, 4));
  EXPECT_EQ(target.size(), 11u);
  for (const auto& [member, load] : Loads(target)) EXPECT_TRUE(load == 2 || load == 3) << member << " " << load;
}

TEST(Assignor, AMemberThatComesTakesItsShareAndNothingElseMoves) {
  const Target before = Assign(InputOf({Topic(1, 64)}, 7));
  AssignorInput input = InputOf({Topic(1, 64)}, 8);
  SetCurrent(before, input);
  const Target after = Assign(input);
  EXPECT_EQ(Loads(after)["m7"], 8);
  EXPECT_EQ(Moved(before, after), 8);
}

TEST(Assignor, AMemberThatGoesLeavesTheOthersWhatTheyHave) {
  const Target before = Assign(InputOf({Topic(1, 64)}, 8));
  AssignorInput input = InputOf({Topic(1, 64)}, 8);
  SetCurrent(before, input);
  input.members.pop_back();
  const Target after = Assign(input);
  EXPECT_EQ(after.size(), 64u);
  EXPECT_EQ(Moved(before, after), 8);
}

TEST(Assignor, WhoMayKeepNothingTwiceDoesNot) {
  AssignorInput input = InputOf({Topic(1, 2)}, 2);
  input.members[0].current = input.members[1].current = {{1, 0}};
  const Target target = Assign(input);
  EXPECT_EQ(target.at({1, 0}), "m0");
  EXPECT_EQ(target.at({1, 1}), "m1");
}

TEST(Assignor, NobodyGetsWhatHeDoesNotRead) {
  AssignorInput input = InputOf({Topic(1, 6), Topic(2, 2)}, 3);
  input.members[0].topics = {1};
  input.members[0].current = {{1, 0}};
  const Target target = Assign(input);
  for (const auto& [partition, member] : target) {
    if (partition.topic_id == 1) {
      EXPECT_NE(member, "m0");
    }
  }
  EXPECT_EQ(Loads(target)["m0"], 2);
  EXPECT_EQ(Loads(target)["m1"], 3);
}

TEST(Assignor, WithMoreMembersThanPartitionsSomeHaveNone) {
  const Target target = Assign(InputOf({Topic(1, 2)}, 5));
  EXPECT_EQ(Loads(target).size(), 2u);
}

TEST(Assignor, PrefersTheLeadersRackAmongEquals) {
  AssignorInput input = InputOf({Topic(1, 4)}, 2);
  input.topics[0].racks = {"a", "b", "b", "a"};
  input.members[0].rack = "b";
  input.members[1].rack = "a";
  const Target target = Assign(input);
  EXPECT_EQ(target.at({1, 0}), "m1");
  EXPECT_EQ(target.at({1, 1}), "m0");
  EXPECT_EQ(Loads(target)["m0"], 2);
}

TEST(Assignor, RangesOfTopicsOfOneSizeMeet) {
  AssignorInput input = InputOf({Topic(1, 7), Topic(2, 7)}, 3, v1::ASSIGNOR_RANGE);
  input.members[0].order = "z";  // an instance id that comes last
  const Target target = Assign(input);
  for (int32_t p = 0; p < 7; ++p) EXPECT_EQ(target.at({1, p}), target.at({2, p})) << p;
  EXPECT_EQ(target.at({1, 0}), "m1");
  EXPECT_EQ(target.at({1, 2}), "m1");
  EXPECT_EQ(target.at({1, 3}), "m2");
  EXPECT_EQ(target.at({1, 6}), "m0");
}

}  // namespace
}  // namespace millrace::server
