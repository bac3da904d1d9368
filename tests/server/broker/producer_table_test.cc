#include "server/producer_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace millrace::server {
namespace {

using Verdict = ProducerTable::Verdict;

BatchHeader Header(int64_t id, int32_t epoch, int32_t sequence, int32_t count = 1) {
  BatchHeader header;
  header.producer_id = id;
  header.producer_epoch = epoch;
  header.base_sequence = sequence;
  header.record_count = count;
  return header;
}

TEST(ProducerTable, SequencesWrapToZero) {
  constexpr int32_t kLast = std::numeric_limits<int32_t>::max();
  ProducerTable table;
  table.Update(Header(1, 0, kLast - 1, 2), raft::Offset(0), 0);
  EXPECT_EQ(table.Check(Header(1, 0, 0)).kind, Verdict::kAppend);
  EXPECT_EQ(table.Check(Header(1, 0, 1)).kind, Verdict::kOutOfOrder);
  EXPECT_EQ(table.Check(Header(1, 0, kLast - 1, 2)).kind, Verdict::kDuplicate);
  EXPECT_EQ(table.Check(Header(1, 0, kLast - 5)).kind, Verdict::kOldDuplicate);
}

TEST(ProducerTable, ARepeatWithAnotherLengthIsNoRepeat) {
  ProducerTable table;
  table.Update(Header(1, 0, 0, 3), raft::Offset(0), 0);
  EXPECT_EQ(table.Check(Header(1, 0, 0, 2)).kind, Verdict::kOldDuplicate);
}

TEST(ProducerTable, SavedChangesGiveTheSameTable) {
  ProducerTable table, loaded;
  for (int i = 0; i < 7; ++i) table.Update(Header(5, 2, i), raft::Offset(10 + i), 100 + i);
  for (const auto& [key, value] : table.TakeChanges()) EXPECT_TRUE(loaded.Load(key, value).ok());
  const Verdict verdict = loaded.Check(Header(5, 2, 3));
  EXPECT_EQ(verdict.kind, Verdict::kDuplicate);
  EXPECT_EQ(verdict.base_offset, raft::Offset(13));
  EXPECT_EQ(loaded.Check(Header(5, 2, 1)).kind, Verdict::kOldDuplicate);
  EXPECT_EQ(loaded.Check(Header(5, 2, 7)).kind, Verdict::kAppend);
  EXPECT_TRUE(table.TakeChanges().empty());
}

TEST(ProducerTable, ASavedProducerHasTheseBytes) {
  ProducerTable table;
  table.Update(Header(5, 2, 3, 4), raft::Offset(16), 258);
  const auto changes = table.TakeChanges();
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].first, "producer/5");
  EXPECT_EQ(changes[0].second,
            std::string("\x01\x02\0\0\0\x03\0\0\0\x06\0\0\0\x10\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0", 29));
}

TEST(ProducerTable, WhatIsNoSavedProducerIsRefused) {
  ProducerTable table;
  table.Update(Header(5, 2, 3, 4), raft::Offset(16), 258);
  const auto [key, value] = table.TakeChanges()[0];
  ProducerTable loaded;
  EXPECT_TRUE(absl::IsDataLoss(loaded.Load("producer/x", value)));
  EXPECT_TRUE(absl::IsDataLoss(loaded.Load(key, "")));
  EXPECT_TRUE(absl::IsDataLoss(loaded.Load(key, value.substr(0, value.size() - 1))));
  EXPECT_TRUE(absl::IsDataLoss(loaded.Load(key, value + "x")));
  EXPECT_TRUE(absl::IsDataLoss(loaded.Load(key, "\x02" + value.substr(1)))) << "a newer version";
  EXPECT_EQ(loaded.size(), 0u);
}

TEST(ProducerTable, WhoWasSilentForADayIsForgotten) {
  ProducerTable table;
  table.Update(Header(1, 0, 0), raft::Offset(0), 0);
  table.Update(Header(2, 0, 0), raft::Offset(1), 1000);
  table.TakeChanges();
  table.Update(Header(3, 0, 0), raft::Offset(2), ProducerTable::kSilenceMaxMs + 500);
  EXPECT_EQ(table.size(), 2u);
  EXPECT_EQ(table.Check(Header(1, 0, 1)).kind, Verdict::kUnknown);
  EXPECT_EQ(table.Check(Header(2, 0, 1)).kind, Verdict::kAppend);
  const auto changes = table.TakeChanges();
  EXPECT_THAT(changes, testing::Contains(testing::Pair("producer/1", "")));
}

TEST(ProducerTable, TheMostSilentAreForgottenFirst) {
  ProducerTable table;
  for (int64_t id = 1; id <= static_cast<int64_t>(ProducerTable::kProducersMax) + 1; ++id)
    table.Update(Header(id, 0, 0), raft::Offset(id), id);
  EXPECT_LE(table.size(), ProducerTable::kProducersMax);
  EXPECT_EQ(table.Check(Header(1, 0, 1)).kind, Verdict::kUnknown);
  EXPECT_EQ(table.Check(Header(ProducerTable::kProducersMax + 1, 0, 1)).kind, Verdict::kAppend);
}

}  // namespace
}  // namespace millrace::server
