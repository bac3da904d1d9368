#include "server/leader_table.h"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

using raft::BrokerId;
using raft::GroupId;
using raft::Term;

constexpr GroupId kGroup{7};

TEST(LeaderTable, TheNewestTermWins) {
  LeaderTable table;
  EXPECT_EQ(table.Find(kGroup), std::nullopt);
  EXPECT_TRUE(table.Learn(kGroup, {Term(3), BrokerId(1)}));
  EXPECT_FALSE(table.Learn(kGroup, {Term(2), BrokerId(2)}));
  EXPECT_FALSE(table.Learn(kGroup, {Term(3), BrokerId(1)})) << "no news";
  EXPECT_EQ(table.Find(kGroup), (Leadership{Term(3), BrokerId(1)}));
  EXPECT_TRUE(table.Learn(kGroup, {Term(4), BrokerId(2)}));
  EXPECT_EQ(table.Find(kGroup), (Leadership{Term(4), BrokerId(2)}));
}

TEST(LeaderTable, ATermMayBeHeardOfBeforeItsLeader) {
  LeaderTable table;
  table.Learn(kGroup, {Term(3), BrokerId(1)});
  EXPECT_TRUE(table.Learn(kGroup, {Term(4)}));
  EXPECT_EQ(table.Find(kGroup)->broker, BrokerId(-1));
  EXPECT_TRUE(table.Learn(kGroup, {Term(4), BrokerId(2)}));
  EXPECT_FALSE(table.Learn(kGroup, {Term(4)}));
  EXPECT_EQ(table.Find(kGroup)->broker, BrokerId(2));
}

TEST(LeaderTable, WhatIsForgottenIsNotKnown) {
  LeaderTable table;
  table.Learn(GroupId(1), {Term(1), BrokerId(1)});
  table.Learn(GroupId(2), {Term(5), BrokerId(2)});
  table.Forget(GroupId(2));
  EXPECT_FALSE(table.Find(GroupId(2)).has_value());
  EXPECT_TRUE(table.Find(GroupId(1)).has_value());
}

}  // namespace
}  // namespace millrace::server
