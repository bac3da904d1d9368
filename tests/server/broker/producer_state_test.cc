#include "server/producer_state.h"

#include <gtest/gtest.h>

#include <limits>

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
  for (const auto& [key, value] : table.TakeChanges()) EXPECT_TRUE(loaded.Load(key, value));
  const Verdict verdict = loaded.Check(Header(5, 2, 3));
  EXPECT_EQ(verdict.kind, Verdict::kDuplicate);
  EXPECT_EQ(verdict.base_offset, raft::Offset(13));
  EXPECT_EQ(loaded.Check(Header(5, 2, 1)).kind, Verdict::kOldDuplicate);
  EXPECT_EQ(loaded.Check(Header(5, 2, 7)).kind, Verdict::kAppend);
  EXPECT_TRUE(table.TakeChanges().empty());
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
