#include "storage/tail_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace millrace::storage {
namespace {

using raft::Entry;
using raft::LogIndex;
using raft::Offset;

constexpr size_t kAll = size_t{1} << 40;
constexpr Offset kEnd(1 << 30);

// Entries of ten records each, so entry i begins at offset 10 * (i - 1).
std::vector<Entry> MakeEntries(int first, int last, size_t bytes) {
  std::vector<Entry> entries;
  for (int i = first; i <= last; ++i) {
    Entry entry;
    entry.header.index = LogIndex(i);
    entry.header.base_offset = Offset(10 * (i - 1));
    entry.header.record_count = 10;
    entry.payload = absl::Cord(std::string(bytes, static_cast<char>('a' + i % 26)));
    entries.push_back(std::move(entry));
  }
  return entries;
}

void Append(TailCache& cache, const std::shared_ptr<CachedTail>& tail, std::vector<Entry> entries) {
  cache.Append(tail, entries);
}

std::vector<int64_t> IndexesFrom(const CachedTail& tail, int64_t from, Offset end = kEnd, size_t bytes_max = kAll) {
  std::vector<Entry> entries;
  if (!tail.Read(Offset(from), end, bytes_max, &entries)) return {-1};
  std::vector<int64_t> indexes;
  for (const Entry& entry : entries) indexes.push_back(entry.header.index.value());
  return indexes;
}

using Indexes = std::vector<int64_t>;

TEST(TailCache, ReadsFromTheEntryThatHoldsTheOffset) {
  TailCache cache(1 << 20);
  auto tail = std::make_shared<CachedTail>();
  Append(cache, tail, MakeEntries(5, 8, 100));
  EXPECT_EQ(IndexesFrom(*tail, 40), (Indexes{5, 6, 7, 8}));
  EXPECT_EQ(IndexesFrom(*tail, 59), (Indexes{6, 7, 8}));
  EXPECT_EQ(IndexesFrom(*tail, 60, Offset(80)), (Indexes{7, 8}));
  EXPECT_EQ(IndexesFrom(*tail, 60, Offset(79)), (Indexes{7}));
  EXPECT_EQ(IndexesFrom(*tail, 40, kEnd, 2 * (100 + sizeof(raft::EntryHeader))), (Indexes{5, 6}));
  EXPECT_EQ(IndexesFrom(*tail, 40, kEnd, 1), (Indexes{5}));
  EXPECT_EQ(IndexesFrom(*tail, 39), (Indexes{-1}));

  std::vector<Entry> entries;
  ASSERT_TRUE(tail->ReadEntries(LogIndex(6), LogIndex(7), kAll, &entries));
  EXPECT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries.front().header.index, LogIndex(6));
  ASSERT_TRUE(tail->ReadEntries(LogIndex(6), LogIndex(8), 1, &entries));
  EXPECT_EQ(entries.size(), 1u);
  EXPECT_FALSE(tail->ReadEntries(LogIndex(4), LogIndex(8), kAll, &entries));
  EXPECT_FALSE(tail->ReadEntries(LogIndex(9), LogIndex(9), kAll, &entries));
}

TEST(TailCache, OldestEntriesOfAllLogsGoFirst) {
  auto a = std::make_shared<CachedTail>();
  auto b = std::make_shared<CachedTail>();
  TailCache cache(100 << 10);
  Append(cache, a, MakeEntries(1, 3, 20 << 10));
  Append(cache, b, MakeEntries(1, 1, 20 << 10));
  EXPECT_EQ(IndexesFrom(*a, 0), (Indexes{1, 2, 3}));
  Append(cache, b, MakeEntries(2, 3, 20 << 10));
  EXPECT_EQ(IndexesFrom(*a, 0), (Indexes{-1}));
  EXPECT_EQ(IndexesFrom(*a, 20), (Indexes{3}));
  EXPECT_EQ(IndexesFrom(*b, 0), (Indexes{1, 2, 3}));
  EXPECT_LE(cache.bytes(), size_t{100 << 10});
}

TEST(TailCache, CutEntriesAreGivenBackAndDoNotTakeTheirSuccessorsAlong) {
  TailCache cache(100 << 10);
  auto tail = std::make_shared<CachedTail>();
  Append(cache, tail, MakeEntries(1, 4, 20 << 10));
  cache.TruncateSuffix(*tail, LogIndex(2));
  EXPECT_LT(cache.bytes(), size_t{25 << 10});
  Append(cache, tail, MakeEntries(2, 4, 20 << 10));
  EXPECT_EQ(IndexesFrom(*tail, 0), (Indexes{1, 2, 3, 4}));
  cache.TruncateSuffix(*tail, LogIndex(0));
  EXPECT_EQ(cache.bytes(), 0u);
  EXPECT_EQ(IndexesFrom(*tail, 0), (Indexes{-1}));
}

// Logs of different writers evict each other's entries; none may be left behind uncounted for.
TEST(TailCache, WritersAtOnceStayWithinTheBudget) {
  constexpr int kWriters = 4;
  constexpr int kEntries = 20'000;
  TailCache cache(20 << 10);
  std::vector<std::shared_ptr<CachedTail>> tails;
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([&cache, tail = tails.emplace_back(std::make_shared<CachedTail>())] {
      for (int i = 1; i <= kEntries; ++i) Append(cache, tail, MakeEntries(i, i, 100));
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_LE(cache.bytes(), size_t{20 << 10});
}

TEST(TailCache, RemovedLogsAreForgottenBeforeTheBudgetIsUsed) {
  TailCache cache(1 << 30);
  std::vector<std::weak_ptr<CachedTail>> logs;
  for (int i = 0; i < 20'000; ++i) {
    auto tail = std::make_shared<CachedTail>();
    logs.push_back(tail);
    Append(cache, tail, MakeEntries(1, 1, 10));
    cache.TruncateSuffix(*tail, LogIndex(0));
  }
  const auto held = std::count_if(logs.begin(), logs.end(), [](const auto& log) { return !log.expired(); });
  EXPECT_LT(held, 2'000);
}

TEST(TailCache, PayloadsAreSharedUnlessTheyAreSmallSlicesOfMuchMore) {
  TailCache cache(64 << 20);
  auto tail = std::make_shared<CachedTail>();
  const std::string large(1 << 20, 'x');
  bool freed = false;
  {
    absl::Cord network = absl::MakeCordFromExternal(large, [&freed] { freed = true; });
    std::vector<Entry> entries = MakeEntries(1, 1, 0);
    entries[0].payload = network.Subcord(1000, 100);
    cache.Append(tail, entries);
  }
  EXPECT_TRUE(freed) << "100 bytes keep a megabyte alive";

  const absl::Cord whole = absl::MakeCordFromExternal(large, [] {});
  std::vector<Entry> entries = MakeEntries(2, 2, 0);
  entries[0].payload = whole;
  cache.Append(tail, entries);
  std::vector<Entry> read;
  ASSERT_TRUE(tail->Read(Offset(10), kEnd, kAll, &read));
  EXPECT_EQ(read[0].payload.Flatten().data(), large.data());
}

}  // namespace
}  // namespace millrace::storage
