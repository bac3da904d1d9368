#include "server/retention_rule.h"

#include <gtest/gtest.h>

#include <iostream>
#include <random>
#include <vector>

namespace millrace::server {
namespace {

using raft::Offset;
using raft::SegmentInfo;

constexpr int64_t kNow = 1'700'000'000'000;

// A segment of 10 records and 100 bytes each minute; the newest ended a minute ago.
std::vector<SegmentInfo> Segments(int count) {
  std::vector<SegmentInfo> segments;
  for (int i = 0; i < count; ++i) {
    segments.push_back({.first_index = raft::LogIndex(10 * i + 1),
                        .end_offset = Offset(10 * (i + 1)),
                        .last_append_time = kNow - 60'000 * (count - i),
                        .bytes = 100});
  }
  return segments;
}

TopicConfig Keep(int64_t ms, int64_t bytes) {
  TopicConfig config;
  config.retention_ms = ms;
  config.retention_bytes = bytes;
  return config;
}

const Offset kAllCommitted{1'000'000};

TEST(RetentionRule, ByAgeOfTheNewestRecord) {
  EXPECT_EQ(FindRetentionDue(Segments(5), Keep(180'000, kUnlimited), kNow, kAllCommitted).segments, 2u);
  EXPECT_EQ(FindRetentionDue(Segments(5), Keep(179'999, kUnlimited), kNow, kAllCommitted).segments, 3u);
  const RetentionDue all = FindRetentionDue(Segments(5), Keep(1, kUnlimited), kNow, kAllCommitted);
  EXPECT_EQ(all.segments, 5u) << "the active one, too";
  EXPECT_EQ(all.end, Offset(50));
  EXPECT_EQ(all.bytes, 500);
}

TEST(RetentionRule, BySizeOfWhatStaysBehind) {
  EXPECT_EQ(FindRetentionDue(Segments(5), Keep(kUnlimited, 300), kNow, kAllCommitted).segments, 2u);
  EXPECT_EQ(FindRetentionDue(Segments(5), Keep(kUnlimited, 301), kNow, kAllCommitted).segments, 1u);
  EXPECT_EQ(FindRetentionDue(Segments(5), Keep(kUnlimited, 1), kNow, kAllCommitted).segments, 4u);
  EXPECT_EQ(FindRetentionDue(Segments(5), Keep(kUnlimited, 500), kNow, kAllCommitted).segments, 0u);
}

TEST(RetentionRule, TheReasonIsThatOfTheLastThatGoes) {
  EXPECT_TRUE(FindRetentionDue(Segments(5), Keep(180'000, kUnlimited), kNow, kAllCommitted).by_time);
  EXPECT_FALSE(FindRetentionDue(Segments(5), Keep(kUnlimited, 300), kNow, kAllCommitted).by_time);
  EXPECT_TRUE(FindRetentionDue(Segments(5), Keep(180'000, 400), kNow, kAllCommitted).by_time)
      << "of two by age, one by size";
  EXPECT_FALSE(FindRetentionDue(Segments(5), Keep(240'000, 200), kNow, kAllCommitted).by_time)
      << "of one by age, three by size";
}

TEST(RetentionRule, EitherIsEnoughAndNoneKeepsAll) {
  EXPECT_EQ(FindRetentionDue(Segments(5), Keep(180'000, 400), kNow, kAllCommitted).segments, 2u);
  EXPECT_EQ(FindRetentionDue(Segments(5), Keep(240'000, 200), kNow, kAllCommitted).segments, 3u);
  EXPECT_EQ(FindRetentionDue(Segments(5), Keep(kUnlimited, kUnlimited), kNow, kAllCommitted).segments, 0u);
  EXPECT_EQ(FindRetentionDue({}, Keep(1, 1), kNow, kAllCommitted).segments, 0u);
}

TEST(RetentionRule, InDoubtNothingGoesByAge) {
  EXPECT_EQ(FindRetentionDue(Segments(5), Keep(1, kUnlimited), std::nullopt, kAllCommitted).segments, 0u);
  EXPECT_EQ(FindRetentionDue(Segments(5), Keep(1, 300), std::nullopt, kAllCommitted).segments, 2u);
}

TEST(RetentionRule, WhatIsNotCommittedStays) {
  EXPECT_EQ(FindRetentionDue(Segments(5), Keep(1, kUnlimited), kNow, Offset(29)).segments, 2u);
  EXPECT_EQ(FindRetentionDue(Segments(5), Keep(1, kUnlimited), kNow, Offset(30)).segments, 3u);
}

// What the settings promise, said without segments in order: of any log, what is due goes and what is not stays.
TEST(RetentionRule, RemovesWhatIsDueAndNothingElse) {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << '\n';
  std::mt19937_64 random(seed);
  for (int round = 0; round < 2000; ++round) {
    std::vector<SegmentInfo> segments;
    SegmentInfo next;
    for (uint64_t i = random() % 12; i > 0; --i) {
      next.end_offset += static_cast<int64_t>(random() % 3);
      next.last_append_time += static_cast<int64_t>(random() % 50);
      next.bytes = static_cast<int64_t>(random() % 100);
      segments.push_back(next);
    }
    const int64_t ms = random() % 3 == 0 ? kUnlimited : static_cast<int64_t>(random() % 400) + 1;
    const int64_t bytes = random() % 3 == 0 ? kUnlimited : static_cast<int64_t>(random() % 600) + 1;
    const int64_t now = next.last_append_time + static_cast<int64_t>(random() % 300);
    const Offset committed(static_cast<int64_t>(random() % 20));
    const RetentionDue due = FindRetentionDue(segments, Keep(ms, bytes), now, committed);

    const auto is_due = [&](size_t i) {
      int64_t behind = 0;
      for (size_t j = i + 1; j < segments.size(); ++j) behind += segments[j].bytes;
      return segments[i].end_offset <= committed && ((ms != kUnlimited && now - segments[i].last_append_time > ms) ||
                                                     (bytes != kUnlimited && behind >= bytes));
    };
    for (size_t i = 0; i < segments.size(); ++i) {
      ASSERT_EQ(i < due.segments, is_due(i)) << "seed " << seed << " round " << round << " segment " << i;
    }
    ASSERT_TRUE(due.segments == 0 || due.end == segments[due.segments - 1].end_offset);
  }
}

}  // namespace
}  // namespace millrace::server
