#include "storage/keys.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace millrace::storage {
namespace {

using raft::GroupId;
using raft::LogIndex;
using raft::Offset;

std::string Entry(int64_t group, int64_t index, int64_t offset) {
  return std::string(EntryKey(GroupId(group), LogIndex(index), Offset(offset)).view());
}

TEST(Keys, EntryKeysLieInTheOrderOfGroupIndexAndOffset) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  const std::vector<std::string> keys = {Entry(0, 0, 0),      Entry(0, 0, 1),     Entry(0, 1, 0),   Entry(1, 0, 0),
                                         Entry(1, 255, 7),    Entry(1, 256, 0),   Entry(255, 3, 9), Entry(256, 1, 1),
                                         Entry(256, 1, kMax), Entry(256, kMax, 0)};
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end()));
}

TEST(Keys, EntryKeyParsesToWhatItWasBuiltFrom) {
  const auto parts = EntryKey::Parse(Entry(42, 1'000'000'007, 123456789012345));
  ASSERT_TRUE(parts.has_value());
  EXPECT_EQ(parts->group, GroupId(42));
  EXPECT_EQ(parts->index, LogIndex(1'000'000'007));
  EXPECT_EQ(parts->base_offset, Offset(123456789012345));
  EXPECT_FALSE(EntryKey::Parse(GroupKey(GroupId(42))).has_value());
  EXPECT_FALSE(EntryKey::Parse(Entry(1, 1, 1) + "x").has_value());
}

TEST(Keys, RangesHoldTheirOwnKeysAndNoOthers) {
  const GroupId group(7);
  const KeyRange from = EntriesFrom(group, LogIndex(10));
  EXPECT_FALSE(from.Contains(Entry(7, 9, 1000)));
  EXPECT_TRUE(from.Contains(Entry(7, 10, 0)));
  EXPECT_TRUE(from.Contains(Entry(7, 1 << 30, 0)));
  EXPECT_FALSE(from.Contains(Entry(8, 0, 0)));
  EXPECT_FALSE(from.Contains(Entry(6, 11, 0)));

  const KeyRange some = Entries(group, LogIndex(10), LogIndex(12));
  EXPECT_TRUE(some.Contains(Entry(7, 11, 99)));
  EXPECT_FALSE(some.Contains(Entry(7, 12, 0)));

  const KeyRange beside = BesideEntries(group);
  for (const std::string& key :
       {TermAndVoteKey(group), LogStartKey(group), ValueKey(group, ""), ValueKey(group, "\xff\xff"),
        SegmentKey(group, LogIndex(1)), IntervalKey(group, LogIndex(1 << 20))}) {
    EXPECT_TRUE(beside.Contains(key));
    EXPECT_FALSE(EntriesFrom(group, LogIndex(0)).Contains(key));
    EXPECT_FALSE(AllGroups().Contains(key));
  }
  EXPECT_FALSE(beside.Contains(TermAndVoteKey(GroupId(8))));
  EXPECT_FALSE(beside.Contains(IntervalKey(GroupId(6), LogIndex(5))));
  EXPECT_FALSE(beside.Contains(GroupKey(group)));

  EXPECT_TRUE(Values(group).Contains(ValueKey(group, std::string(100, '\xff'))));
  EXPECT_FALSE(Values(group).Contains(SegmentKey(group, LogIndex(0))));
  EXPECT_TRUE(Segments(group).Contains(SegmentKey(group, LogIndex(77))));
  EXPECT_FALSE(Segments(group).Contains(IntervalKey(group, LogIndex(0))));
  EXPECT_TRUE(IntervalsFrom(group, LogIndex(5)).Contains(IntervalKey(group, LogIndex(5))));
  EXPECT_FALSE(IntervalsFrom(group, LogIndex(5)).Contains(IntervalKey(group, LogIndex(4))));
  EXPECT_FALSE(Intervals(group, LogIndex(5), LogIndex(9)).Contains(IntervalKey(group, LogIndex(9))));
}

TEST(Keys, GroupAndValueNamesComeBackFromTheirKeys) {
  EXPECT_EQ(ParseGroupKey(GroupKey(GroupId(1234567))), GroupId(1234567));
  EXPECT_FALSE(ParseGroupKey(TermAndVoteKey(GroupId(1))).has_value());
  EXPECT_EQ(NameOfValueKey(ValueKey(GroupId(1), "producers-up-to")), "producers-up-to");
  EXPECT_EQ(NameOfValueKey(ValueKey(GroupId(1), "")), "");
}

TEST(KeysDeathTest, NegativeNumbersHaveNoPlaceInTheOrder) {
  EXPECT_DEATH(GroupKey(GroupId(-1)), "order of their numbers");
}

}  // namespace
}  // namespace millrace::storage
