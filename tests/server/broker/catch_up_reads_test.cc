// Goal: old entries are read for a member as fast as its link takes them, and whoever waits is told, whatever becomes of the link.
#include "server/catch_up_reads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <vector>

namespace millrace::server {
namespace {

using raft::BrokerId;
using raft::ReplicaId;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr size_t kReadBytes = CatchUpReads::kUnsentBytesMax / 2;
constexpr ReplicaId kTwo{BrokerId(2), 7};
constexpr ReplicaId kThree{BrokerId(3), 7};

class CatchUpReadsTest : public ::testing::Test {
 protected:
  void Admit(ReplicaId to, int number) {
    reads_.Admit(to, kReadBytes, [this, number](bool connected) { turns_.emplace_back(number, connected); });
  }
  // What was read is on the link.
  void HandOn(ReplicaId to) {
    unsent_[to] += kReadBytes;
    reads_.OnHandedOn(to, kReadBytes);
  }
  void Drain(ReplicaId to, size_t left) {
    unsent_[to] = left;
    reads_.OnDrained(to.broker);
  }

  std::map<ReplicaId, size_t> unsent_{{kTwo, 0}, {kThree, 0}};
  std::vector<std::pair<int, bool>> turns_;
  CatchUpReads reads_{[this](ReplicaId to) {
    const auto link = unsent_.find(to);
    return link == unsent_.end() ? std::nullopt : std::optional(link->second);
  }};
};

TEST_F(CatchUpReadsTest, NoMoreIsReadThanTheLinkMayHold) {
  for (int i = 1; i <= 4; ++i) Admit(kTwo, i);
  EXPECT_THAT(turns_, ElementsAre(Pair(1, true), Pair(2, true)));
  EXPECT_FALSE(reads_.HasRoom(kTwo));
}

TEST_F(CatchUpReadsTest, WhatIsReadMakesRoomWhenItIsSent) {
  for (int i = 1; i <= 4; ++i) Admit(kTwo, i);
  HandOn(kTwo);
  HandOn(kTwo);
  EXPECT_THAT(turns_, ElementsAre(Pair(1, true), Pair(2, true))) << "it only went from the reader to the link";
  Drain(kTwo, kReadBytes);
  EXPECT_THAT(turns_, ElementsAre(Pair(1, true), Pair(2, true), Pair(3, true)));
}

TEST_F(CatchUpReadsTest, OneMemberDoesNotWaitForAnother) {
  for (int i = 1; i <= 3; ++i) Admit(kTwo, i);
  EXPECT_TRUE(reads_.HasRoom(kThree));
  Admit(kThree, 4);
  EXPECT_THAT(turns_, ElementsAre(Pair(1, true), Pair(2, true), Pair(4, true)));
}

TEST_F(CatchUpReadsTest, NewEntriesOnTheLinkComeFirst) {
  unsent_[kTwo] = CatchUpReads::kUnsentBytesMax;
  EXPECT_FALSE(reads_.HasRoom(kTwo));
  Admit(kTwo, 1);
  EXPECT_THAT(turns_, IsEmpty());
  Drain(kTwo, CatchUpReads::kUnsentBytesMax - 1);
  EXPECT_THAT(turns_, ElementsAre(Pair(1, true)));
}

TEST_F(CatchUpReadsTest, WhoWaitsForALinkThatBreaksIsTold) {
  for (int i = 1; i <= 4; ++i) Admit(kTwo, i);
  unsent_.erase(kTwo);
  reads_.OnDrained(kTwo.broker);
  EXPECT_THAT(turns_, ElementsAre(Pair(1, true), Pair(2, true), Pair(3, false), Pair(4, false)));
  EXPECT_FALSE(reads_.HasRoom(kTwo));
  Admit(kTwo, 5);
  EXPECT_EQ(turns_.back(), std::pair(5, false));
  // Reads that were under way come back to the link that was made since.
  unsent_[kTwo] = 0;
  HandOn(kTwo);
  HandOn(kTwo);
  Drain(kTwo, 0);
  Admit(kTwo, 6);
  EXPECT_EQ(turns_.back(), std::pair(6, true));
}

TEST_F(CatchUpReadsTest, AnotherDiskOfTheBrokerIsAnotherMember) {
  for (int i = 1; i <= 3; ++i) Admit(kTwo, i);
  unsent_.erase(kTwo);
  unsent_[{kTwo.broker, 8}] = 0;
  reads_.OnDrained(kTwo.broker);
  EXPECT_EQ(turns_.back(), std::pair(3, false));
}

}  // namespace
}  // namespace millrace::server
