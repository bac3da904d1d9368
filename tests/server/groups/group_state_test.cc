// Goal: a group is what its records say; what is saved gives the same, and records that come again change nothing.
#include "server/group_state.h"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

using internal::v1::GroupRecord;
using v1::Error;

constexpr PartitionId kP0{7, 0}, kP1{7, 1};

GroupRecord Change(int32_t epoch, const std::map<std::string, std::map<PartitionId, Holding>>& members) {
  GroupRecord record;
  record.mutable_change()->set_epoch(epoch);
  for (const auto& [id, holdings] : members) {
    MemberState member;
    member.epoch = epoch;
    member.holdings = holdings;
    Fill(*record.mutable_change()->add_members(), id, member);
  }
  return record;
}

GroupRecord Commit(const std::string& member, PartitionId partition, int32_t epoch, int64_t offset) {
  GroupRecord record;
  record.mutable_commit()->set_member_id(member);
  *record.mutable_commit()->add_offsets() = StubOf(partition, {.offset = offset});
  record.mutable_commit()->mutable_offsets(0)->set_epoch(epoch);
  return record;
}

GroupRecord Removal() {
  GroupRecord record;
  record.mutable_removal();
  return record;
}

int64_t OffsetOf(const GroupTable& table, PartitionId partition) {
  const GroupState* group = table.Find("g");
  return group == nullptr || !group->offsets.contains(partition) ? -1 : group->offsets.at(partition).offset;
}

TEST(GroupTable, ACommitCountsWhileThePartitionIsTheMembersUnderThatEpoch) {
  GroupTable table;
  table.Replay("g", Change(1, {{"a", {{kP0, {1, false}}}}}));
  EXPECT_EQ(table.Replay("g", Commit("a", kP0, 1, 10)), std::vector<ErrorCode>{Error::NONE});
  table.Replay("g", Change(2, {{"a", {{kP0, {1, true}}}}}));
  EXPECT_EQ(table.Replay("g", Commit("a", kP0, 1, 11)), std::vector<ErrorCode>{Error::NONE}) << "not let go yet";
  EXPECT_EQ(table.Replay("g", Commit("a", kP0, 2, 12)), std::vector<ErrorCode>{Error::FENCED_MEMBER_EPOCH});
  EXPECT_EQ(table.Replay("g", Commit("a", kP1, 1, 12)), std::vector<ErrorCode>{Error::FENCED_MEMBER_EPOCH});
  table.Replay("g", Change(3, {{"a", {}}, {"b", {{kP0, {3, false}}}}}));
  EXPECT_EQ(table.Replay("g", Commit("a", kP0, 1, 13)), std::vector<ErrorCode>{Error::FENCED_MEMBER_EPOCH});
  EXPECT_EQ(table.Replay("g", Commit("c", kP0, 3, 13)), std::vector<ErrorCode>{Error::UNKNOWN_MEMBER_ID});
  EXPECT_EQ(OffsetOf(table, kP0), 11);
}

TEST(GroupTable, OfTwoCommitsTheLaterOneStandsInWhateverOrderTheyCome) {
  GroupTable table;
  table.Replay("g", Change(1, {{"a", {{kP0, {1, false}}}}}));
  const auto commit = [&table](int32_t epoch, int64_t offset, uint64_t sequence) {
    GroupRecord record = Commit("a", kP0, epoch, offset);
    record.mutable_commit()->mutable_offsets(0)->set_sequence(sequence);
    EXPECT_EQ(table.Replay("g", record), std::vector<ErrorCode>{Error::NONE});
  };
  commit(1, 20, 2);
  commit(1, 10, 1);
  EXPECT_EQ(OffsetOf(table, kP0), 20);
  commit(1, 5, 3);
  EXPECT_EQ(OffsetOf(table, kP0), 5) << "whoever goes back may say so";
  table.Replay("g", Change(2, {{"a", {{kP0, {2, false}}}}}));
  commit(2, 7, 1);
  EXPECT_EQ(OffsetOf(table, kP0), 7) << "numbers are of one holding";
}

TEST(GroupTable, WithoutMembershipACommitCountsWhileThereAreNoMembers) {
  GroupTable table;
  EXPECT_EQ(table.Replay("g", Commit("", kP0, 0, 5)), std::vector<ErrorCode>{Error::NONE});
  table.Replay("g", Change(1, {{"a", {}}}));
  EXPECT_EQ(table.Replay("g", Commit("", kP0, 0, 6)), std::vector<ErrorCode>{Error::UNKNOWN_MEMBER_ID});
  EXPECT_EQ(OffsetOf(table, kP0), 5);
}

TEST(GroupTable, WhatHoldsNothingIsNotKept) {
  GroupTable table;
  table.Replay("g", Change(1, {{"a", {}}}));
  GroupRecord gone = Change(2, {});
  gone.mutable_change()->add_removed_members("a");
  table.Replay("g", gone);
  EXPECT_EQ(table.Find("g"), nullptr);
  AppliedState::Parts changes = table.TakeChanges();
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes[1], (std::pair<std::string, std::string>("group/g", "")));
  GroupTable loaded;
  EXPECT_TRUE(loaded.Load(changes[0].first, changes[0].second).ok());
  EXPECT_EQ(loaded.last_epoch(), 2) << "epochs of one that comes anew go on";
}

TEST(GroupTable, OffsetsOfATopicThatIsGoneGo) {
  GroupTable table;
  table.Replay("g", Commit("", kP0, 0, 5));
  table.Replay("g", Commit("", {8, 0}, 0, 6));
  GroupRecord gone = Change(1, {});
  gone.mutable_change()->add_removed_topics(7);
  table.Replay("g", gone);
  EXPECT_EQ(OffsetOf(table, kP0), -1);
  EXPECT_EQ(OffsetOf(table, {8, 0}), 6);
}

TEST(GroupTable, WhatIsSavedIsTheSameAgain) {
  GroupTable table;
  table.Replay("g", Change(3, {{"a", {{kP0, {2, true}}, {kP1, {3, false}}}}}));
  table.Replay("g", Commit("a", kP1, 3, 77));
  table.Replay("other", Commit("", kP0, 0, 1));
  GroupTable loaded;
  for (const auto& [key, value] : table.All()) {
    ASSERT_TRUE(GroupTable::IsKey(key));
    ASSERT_TRUE(loaded.Load(key, value).ok());
  }
  EXPECT_EQ(loaded.groups(), table.groups());
  EXPECT_EQ(loaded.TakeChanges(), AppliedState::Parts());
  EXPECT_EQ(loaded.Load("group/x", "\xff").code(), absl::StatusCode::kDataLoss);
}

// A snapshot may be ahead of the entries that follow it.
TEST(GroupTable, RecordsThatComeAgainEndInTheSameState) {
  const std::vector<GroupRecord> log = {Change(1, {{"a", {{kP0, {1, false}}}}}),
                                        Commit("a", kP0, 1, 10),
                                        Change(2, {{"a", {{kP0, {1, true}}}}, {"b", {}}}),
                                        Commit("a", kP0, 1, 20),
                                        Change(3, {{"a", {}}, {"b", {{kP0, {3, false}}}}}),
                                        Commit("a", kP0, 1, 25),
                                        Commit("b", kP0, 3, 30),
                                        Removal(),
                                        Commit("", kP1, 0, 4)};
  for (size_t end = 0; end <= log.size(); ++end) {
    GroupTable whole;
    for (size_t i = 0; i < end; ++i) whole.Replay("g", log[i]);
    for (size_t from = 0; from < end; ++from) {
      GroupTable again;
      for (const auto& [key, value] : whole.All()) ASSERT_TRUE(again.Load(key, value).ok());
      for (size_t i = from; i < end; ++i) again.Replay("g", log[i]);
      EXPECT_EQ(again.groups(), whole.groups()) << "from " << from << " to " << end;
    }
  }
}

}  // namespace
}  // namespace millrace::server
