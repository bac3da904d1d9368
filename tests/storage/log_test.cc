#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <rocksdb/db.h>

#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "raft/damage.h"
#include "storage/entry_format.h"
#include "storage/keys.h"
#include "storage/rocks_util.h"
#include "tests/storage/store_fixture.h"

namespace millrace::storage {
namespace {

using raft::Entry;
using raft::EntryType;
using raft::GroupId;
using raft::LogIndex;
using raft::LogState;
using raft::Offset;
using raft::Term;
using testing::HasSubstr;

class LogTest : public StoreTest {
 protected:
  std::vector<int64_t> Indexes(const absl::StatusOr<std::vector<Entry>>& entries) {
    if (!entries.ok()) {
      ADD_FAILURE() << entries.status();
      return {};
    }
    std::vector<int64_t> indexes;
    for (const Entry& entry : *entries) indexes.push_back(entry.header.index.value());
    return indexes;
  }
  std::vector<int64_t> ReadIndexes(int64_t from, int64_t end, size_t bytes_max = kAll) {
    return Indexes(store_->Read(group_, Offset(from), Offset(end), bytes_max));
  }
  // Closes the store and changes what lies under it.
  void ChangeDatabase(const std::function<void(rocksdb::DB&)>& change) {
    round_.reset();
    ASSERT_TRUE(store_->Close().ok());
    store_.reset();
    rocksdb::Options options;
    options.disable_auto_compactions = true;  // a table it made would not say which WAL files it refers to
    rocksdb::DB* raw = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options, options_.directory, &raw).ok());
    const std::unique_ptr<rocksdb::DB> db(raw);
    change(*db);
  }
  // Of an entry that lies in the store; opens the store anew.
  void ChangeStored(LogIndex index, Offset base_offset, const std::function<void(std::string&)>& change) {
    ChangeDatabase([&](rocksdb::DB& db) {
      const std::string key(EntryKey(group_, index, base_offset).view());
      std::string value;
      ASSERT_TRUE(db.Get(rocksdb::ReadOptions(), key, &value).ok());
      change(value);
      ASSERT_TRUE(db.Put(rocksdb::WriteOptions(), key, value).ok());
    });
    OpenStore();
  }
};

using Ints = std::vector<int64_t>;

TEST_F(LogTest, NewLogIsEmpty) {
  OpenStore();
  const LogState state = State();
  EXPECT_EQ(state.first_index, LogIndex(1));
  EXPECT_EQ(state.last_index, LogIndex(0));
  EXPECT_EQ(state.log_end, Offset(0));
  EXPECT_EQ(state.bytes, 0);
  EXPECT_EQ(ReadIndexes(0, 100), Ints{});
  EXPECT_TRUE(absl::IsOutOfRange(store_->Read(group_, Offset(1), Offset(2), kAll).status()));
  EXPECT_EQ(store_->TermAt(group_, LogIndex(0)).value(), Term(0));
  EXPECT_EQ(store_->OffsetForTime(group_, 0).value(), Offset(0));
}

TEST_F(LogTest, ReadStopsAtEndAndBytesButGivesOneEntry) {
  OpenStore();
  WriteMany(5, {.records = 10, .bytes = 1000});
  EXPECT_EQ(ReadIndexes(0, 50), (Ints{1, 2, 3, 4, 5}));
  EXPECT_EQ(ReadIndexes(15, 50), (Ints{2, 3, 4, 5}));
  EXPECT_EQ(ReadIndexes(15, 49), (Ints{2, 3, 4}));
  EXPECT_EQ(ReadIndexes(15, 19), Ints{});
  EXPECT_EQ(ReadIndexes(0, 50, 2500), (Ints{1, 2}));
  EXPECT_EQ(ReadIndexes(20, 50, 10), (Ints{3}));
  EXPECT_EQ(ReadIndexes(50, 50), Ints{});
  const absl::Status beyond = store_->Read(group_, Offset(51), Offset(60), kAll).status();
  EXPECT_TRUE(absl::IsOutOfRange(beyond));
  EXPECT_THAT(std::string(beyond.message()), HasSubstr("51 is not in the log, which has 0 to 50"));
}

TEST_F(LogTest, EntriesWithoutRecordsHoldNoOffset) {
  OpenStore();
  WriteMany(1, {.records = 10});
  WriteMany(2, {.records = 0, .bytes = 0});
  WriteMany(1, {.records = 10});
  EXPECT_EQ(ReadIndexes(9, 20), (Ints{1, 2, 3, 4}));
  EXPECT_EQ(ReadIndexes(10, 20), (Ints{4}));
  EXPECT_EQ(Indexes(store_->ReadEntries(group_, LogIndex(2), LogIndex(3), kAll)), (Ints{2, 3}));
}

TEST_F(LogTest, SequentialReadsFindTheirPlaceAgainAfterACut) {
  OpenStore();
  WriteMany(4, {.records = 10, .bytes = 2000});
  EXPECT_EQ(ReadIndexes(0, 40, 4500), (Ints{1, 2}));  // remembers that entry 3 begins at 20
  round_->TruncateSuffix(group_, LogIndex(2));
  ASSERT_TRUE(store_->Write(*round_).ok());
  WriteMany(1, {.records = 30, .bytes = 2000, .term = Term(2)});
  EXPECT_EQ(ReadIndexes(20, 40), (Ints{2}));
  WriteMany(3, {.records = 1, .bytes = 2000, .term = Term(2)});
  EXPECT_EQ(ReadIndexes(20, 43), (Ints{2, 3, 4, 5}));
}

// A restart within an interval of a segment: what is appended then must not be looked for where it is not.
TEST_F(LogTest, EveryOffsetIsFoundAfterRestartsWithinASegment) {
  OpenStore();
  for (int restart = 0; restart < 4; ++restart) {
    WriteMany(300, {.records = 2, .bytes = 10});
    Reopen();
  }
  for (Offset offset; offset < State().log_end; offset += 1) {
    auto entries = store_->Read(group_, offset, State().log_end, 1);
    ASSERT_TRUE(entries.ok()) << entries.status();
    ASSERT_EQ(entries->front().header.base_offset, Offset(offset.value() / 2 * 2));
  }
}

TEST_F(LogTest, SegmentsRollBySizeAndAgeAndGoWhole) {
  OpenStore({.bytes_max = 1000, .age_ms_max = 500});
  WriteMany(4, {.bytes = 400});                      // 2 in each segment: [1 2] [3 4]
  WriteMany(1, {.bytes = 300, .append_time = 499});  // [5
  WriteMany(1, {.bytes = 10, .append_time = 998});   // 6], less than 500 ms after entry 5
  WriteMany(1, {.bytes = 10, .append_time = 1000});  // [7]
  ASSERT_TRUE(SetLogStart(39).ok());                 // the last record of [3 4] stays readable, and so both
  EXPECT_EQ(State().first_index, LogIndex(3));
  EXPECT_EQ(State().bytes, 1120);
  ASSERT_TRUE(SetLogStart(40).ok());
  EXPECT_EQ(State().first_index, LogIndex(5));
  ASSERT_TRUE(SetLogStart(60).ok());
  EXPECT_EQ(State().first_index, LogIndex(7));
  EXPECT_EQ(ReadIndexes(60, 70), (Ints{7}));
  EXPECT_TRUE(absl::IsOutOfRange(store_->Read(group_, Offset(59), Offset(70), kAll).status()));
  EXPECT_EQ(store_->TermAt(group_, LogIndex(6)).value(), Term(1));
  EXPECT_TRUE(absl::IsOutOfRange(store_->TermAt(group_, LogIndex(5)).status()));
  Reopen();
  EXPECT_EQ(State().first_index, LogIndex(7));
  EXPECT_EQ(State().log_start, Offset(60));
  EXPECT_EQ(store_->TermAt(group_, LogIndex(6)).value(), Term(1));
}

TEST_F(LogTest, LogStartWithinAnEntrySurvivesAndNeverGoesBack) {
  OpenStore();
  WriteMany(3, {.records = 10});
  ASSERT_TRUE(SetLogStart(15).ok());
  ASSERT_TRUE(SetLogStart(12).ok());
  Reopen();
  EXPECT_EQ(State().log_start, Offset(15));
  EXPECT_EQ(State().first_index, LogIndex(1));
  EXPECT_EQ(ReadIndexes(15, 30), (Ints{2, 3}));
  EXPECT_TRUE(absl::IsOutOfRange(store_->Read(group_, Offset(14), Offset(30), kAll).status()));
}

TEST_F(LogTest, TrimToTheEndLeavesOnlyWhatMayBeUncommitted) {
  OpenStore();
  WriteMany(3, {.records = 10, .term = Term(4)});
  WriteMany(1, {.records = 0, .bytes = 5, .term = Term(5)});  // a new leader's first entry
  ASSERT_TRUE(SetLogStart(30).ok());
  EXPECT_EQ(State().first_index, LogIndex(4));
  EXPECT_EQ(State().bytes, 5);
  EXPECT_EQ(store_->TermAt(group_, LogIndex(3)).value(), Term(4));
  Reopen();
  EXPECT_EQ(State().first_index, LogIndex(4));
  EXPECT_EQ(State().bytes, 5);

  const LogState before = State();
  round_->SetTermAndVote(group_, {.term = Term(5), .commit_index = LogIndex(4)});
  ASSERT_TRUE(store_->Write(*round_).ok());
  WriteMany(1, {.records = 1, .term = Term(5)});
  ASSERT_TRUE(SetLogStart(31).ok());
  EXPECT_EQ(State().first_index, LogIndex(6));
  EXPECT_EQ(State().last_index, LogIndex(5));
  EXPECT_EQ(State().bytes, 0);
  EXPECT_NE(State().chain, before.chain);
  Reopen();
  EXPECT_EQ(State().last_index, LogIndex(5));
  EXPECT_EQ(State().last_term, Term(5));
  EXPECT_EQ(State().log_end, Offset(31));
  WriteMany(1, {.records = 2, .term = Term(6)});
  EXPECT_EQ(ReadIndexes(31, 33), (Ints{6}));
}

TEST_F(LogTest, TruncationReopensSealedSegments) {
  OpenStore({.bytes_max = 1000});
  WriteMany(9, {.records = 10, .bytes = 400});  // [1 2] [3 4] [5 6] [7 8] [9]
  round_->TruncateSuffix(group_, LogIndex(4));
  ASSERT_TRUE(store_->Write(*round_).ok());
  EXPECT_EQ(State().last_index, LogIndex(3));
  EXPECT_EQ(State().bytes, 1200);
  WriteMany(2, {.records = 5, .bytes = 300, .term = Term(2)});  // fit: [1 2] [3 4' 5']
  ASSERT_TRUE(SetLogStart(20).ok());
  EXPECT_EQ(State().first_index, LogIndex(3));
  EXPECT_EQ(ReadIndexes(20, 40), (Ints{3, 4, 5}));
  Reopen();
  EXPECT_EQ(ReadIndexes(20, 40), (Ints{3, 4, 5}));
  EXPECT_EQ(store_->TermAt(group_, LogIndex(3)).value(), Term(1));
  EXPECT_EQ(store_->TermAt(group_, LogIndex(4)).value(), Term(2));
}

// Of a replica that is sent where the leader's log begins; its own may lie before or overlap.
TEST_F(LogTest, ResetLogGoesOnBehindAnEntryItNeverHad) {
  const raft::LogBegin begin = {
      .before = {Term(3), LogIndex(7)}, .end_offset = Offset(500), .append_time = 77, .chain = 0xabcd};
  OpenStore({.bytes_max = 1000});
  WriteMany(9, {.records = 10, .bytes = 400});
  round_->PutValue(group_, "members", "old");
  round_->SetTermAndVote(group_, {.term = Term(3), .commit_index = LogIndex(4)});
  ASSERT_TRUE(store_->Write(*round_).ok());

  round_->Reset(group_, begin);
  round_->SetTermAndVote(group_, {.term = Term(3), .commit_index = LogIndex(7)});
  round_->PutValue(group_, "members", "new");
  ASSERT_TRUE(store_->Write(*round_).ok());
  for (int opened = 0; opened < 2; ++opened) {
    const LogState state = State();
    EXPECT_EQ(state.begin, begin);
    EXPECT_EQ(state.first_index, LogIndex(8));
    EXPECT_EQ(state.last_index, LogIndex(7));
    EXPECT_EQ(state.last_term, Term(3));
    EXPECT_EQ(state.log_start, Offset(500));
    EXPECT_EQ(state.log_end, Offset(500));
    EXPECT_EQ(state.bytes, 0);
    EXPECT_TRUE(store_->Segments(group_).empty());
    EXPECT_EQ(store_->Values(group_)->front().second, "new");
    EXPECT_EQ(store_->TermAt(group_, LogIndex(7)).value(), Term(3));
    EXPECT_TRUE(absl::IsOutOfRange(store_->Read(group_, Offset(10), Offset(20), kAll).status()));
    EXPECT_TRUE(absl::IsOutOfRange(store_->HeaderAt(group_, LogIndex(7)).status()));
    std::vector<Entry> cached;
    EXPECT_FALSE(store_->ReadCachedEntries(group_, LogIndex(8), LogIndex(9), kAll, &cached));
    Reopen();
  }
  WriteMany(2, {.records = 10, .bytes = 400, .term = Term(3)});
  EXPECT_EQ(ReadIndexes(500, 520), (Ints{8, 9}));
  raft::EntryHeader first = store_->HeaderAt(group_, LogIndex(8)).value();
  EXPECT_EQ(first.chain, ChainDigest(begin.chain, first));
  EXPECT_GE(first.append_time, begin.append_time);
}

TEST_F(LogTest, ResetTakesWithItWhatItsOwnRoundAppended) {
  OpenStore();
  WriteMany(300, {});
  Stage({});
  round_->Reset(group_, {.before = {Term(1), LogIndex(200)}, .end_offset = Offset(2000)});
  for (int64_t i = 201; i <= 290; ++i) {
    Entry entry;
    entry.header.term = Term(2);
    entry.header.index = LogIndex(i);
    entry.header.base_offset = Offset(2000 + i - 201);
    entry.header.record_count = 1;
    round_->Append(group_, std::move(entry));
  }
  round_->TruncateSuffix(group_, LogIndex(280));  // where the old log's intervals lie
  ASSERT_TRUE(store_->Write(*round_).ok());
  EXPECT_EQ(State().first_index, LogIndex(201));
  EXPECT_EQ(State().last_index, LogIndex(279));
  Reopen();
  EXPECT_EQ(State().log_end, Offset(2079));
  EXPECT_EQ(ReadIndexes(2070, 2072), (Ints{271, 272}));
}

TEST_F(LogTest, OffsetIsFoundByTimeWhateverTheOrderOfTimestamps) {
  OpenStore({.bytes_max = 20000});
  for (int64_t i = 0; i < 600; ++i) {
    // Rising on the whole, every seventh far behind, one far ahead.
    const int64_t timestamp = i == 300 ? 100000 : i % 7 == 3 ? 5 : 1000 + i;
    ASSERT_TRUE(Write({.records = 2, .bytes = 100, .timestamp = timestamp}).ok());
  }
  for (int restarts = 0; restarts < 2; ++restarts) {
    EXPECT_EQ(store_->OffsetForTime(group_, 0).value(), Offset(0));
    EXPECT_EQ(store_->OffsetForTime(group_, 1001).value(), Offset(2));
    EXPECT_EQ(store_->OffsetForTime(group_, 1003).value(), Offset(8));  // entry 3 carries 5
    EXPECT_EQ(store_->OffsetForTime(group_, 1299).value(), Offset(598));
    EXPECT_EQ(store_->OffsetForTime(group_, 1400).value(), Offset(600));  // the one that is far ahead
    EXPECT_EQ(store_->OffsetForTime(group_, 100001).value(), Offset(1200));
    Reopen();
  }
  ASSERT_TRUE(SetLogStart(603).ok());  // within entry 301, past the one far ahead
  EXPECT_EQ(store_->OffsetForTime(group_, 0).value(), Offset(603));
  EXPECT_EQ(store_->OffsetForTime(group_, 1400).value(), Offset(800));
  EXPECT_EQ(store_->OffsetForTime(group_, 1600).value(), Offset(1200));
}

TEST_F(LogTest, ValuesLieBesideALogAndGoWithIt) {
  OpenStore();
  ASSERT_TRUE(store_->Create(GroupId(2), {}).ok());
  ASSERT_TRUE(store_->Open(GroupId(2)).ok());
  round_->PutValue(group_, "a", "1");
  round_->PutValue(group_, "b", std::string(5000, 'x'));
  round_->PutValue(GroupId(2), "a", "other");
  round_->DeleteValue(group_, "a");
  ASSERT_TRUE(store_->Write(*round_).ok());
  Reopen();
  const auto values = store_->Values(group_).value();
  ASSERT_EQ(values.size(), 1u);
  EXPECT_EQ(values[0].first, "b");
  EXPECT_EQ(values[0].second, std::string(5000, 'x'));
  ASSERT_TRUE(store_->Remove({group_}).ok());
  ASSERT_TRUE(store_->Create(group_, {}).ok());
  ASSERT_TRUE(store_->Open(group_).ok());
  EXPECT_TRUE(store_->Values(group_).value().empty());
}

TEST_F(LogTest, RemovedLogIsGoneForReadersAndForWhatWasStaged) {
  OpenStore();
  WriteMany(3, {.bytes = 5000});
  ASSERT_TRUE(store_->Create(GroupId(2), {}).ok());
  ASSERT_TRUE(store_->Open(GroupId(2)).ok());
  round_->PutValue(group_, "late", "1");
  round_->PutValue(GroupId(2), "kept", "1");
  ASSERT_TRUE(store_->Remove({group_}).ok());
  ASSERT_TRUE(store_->Write(*round_).ok());
  EXPECT_EQ(store_->Values(GroupId(2)).value().size(), 1u);
  EXPECT_TRUE(absl::IsNotFound(store_->Read(group_, Offset(0), Offset(30), kAll).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->Values(group_).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->Open(group_).status()));
  EXPECT_TRUE(store_->Remove({group_}).ok());  // once more changes nothing
  EXPECT_EQ(store_->List().value(), std::vector<GroupId>{GroupId(2)});
  std::vector<Entry> entries;
  EXPECT_FALSE(store_->ReadCached(group_, Offset(0), Offset(30), kAll, &entries));
}

TEST_F(LogTest, ManyLogsAreRemovedAtOnceAndTheirNeighboursStay) {
  OpenStore();
  for (int64_t group = 10; group < 20; ++group) {
    ASSERT_TRUE(store_->Create(GroupId(group), {}).ok());
    ASSERT_TRUE(store_->Open(GroupId(group)).ok());
    round_->PutValue(GroupId(group), "a", "1");
    Entry entry;
    entry.header = {.term = Term(1), .index = LogIndex(1), .record_count = 1};
    entry.payload = absl::Cord(std::string(5000, 'x'));
    round_->Append(GroupId(group), std::move(entry));
  }
  ASSERT_TRUE(store_->Write(*round_).ok());
  ASSERT_TRUE(store_->Remove({GroupId(18), GroupId(11), GroupId(12), GroupId(14), GroupId(12), GroupId(13)}).ok());
  const std::vector<GroupId> left = {group_, GroupId(10), GroupId(15), GroupId(16), GroupId(17), GroupId(19)};
  for (int pass = 0; pass < 2; ++pass) {
    EXPECT_EQ(store_->List().value(), left);
    for (const int64_t group : {10, 15, 17, 19}) {
      ASSERT_TRUE(store_->Open(GroupId(group)).ok());
      EXPECT_EQ(store_->Values(GroupId(group)).value().size(), 1u);
      EXPECT_EQ(store_->Read(GroupId(group), Offset(0), Offset(1), kAll).value().size(), 1u);
    }
    Reopen();
  }
}

TEST_F(LogTest, PayloadsOfEverySizeAndShapeComeBack) {
  OpenStore();
  std::vector<absl::Cord> payloads;
  for (const size_t size : {size_t{0}, size_t{1}, size_t{1023 - kStoredHeaderBytes}, size_t{1024}, size_t{4096},
                            size_t{70000}, size_t{3 << 20}}) {
    absl::Cord payload;
    while (payload.size() < size) payload.Append(std::string(std::min(size - payload.size(), size / 3 + 1), 'p'));
    payloads.push_back(payload);
    Entry entry;
    entry.header.index = State().last_index + 1;
    entry.header.base_offset = State().log_end;
    entry.header.record_count = 1;
    entry.payload = payload;
    round_->Append(group_, entry);
    ASSERT_TRUE(store_->Write(*round_).ok());
  }
  for (int restarts = 0; restarts < 2; ++restarts) {
    const auto entries = store_->Read(group_, Offset(0), State().log_end, kAll);
    ASSERT_TRUE(entries.ok());
    ASSERT_EQ(entries->size(), payloads.size());
    for (size_t i = 0; i < payloads.size(); ++i) EXPECT_EQ((*entries)[i].payload, payloads[i]);
    Reopen();
  }
}

TEST_F(LogTest, DamagedEntryCostsItselfOnly) {
  OpenStore();
  WriteMany(3, {.records = 10, .bytes = 3000});
  ChangeStored(LogIndex(2), Offset(10), [](std::string& value) { value[20] ^= 1; });
  EXPECT_EQ(ReadIndexes(0, 30), (Ints{1}));
  const absl::Status damaged = store_->Read(group_, Offset(10), Offset(30), kAll).status();
  EXPECT_TRUE(absl::IsDataLoss(damaged)) << damaged;
  EXPECT_THAT(std::string(damaged.message()), HasSubstr("group 1 entry 2"));
  EXPECT_EQ(ReadIndexes(20, 30), (Ints{3}));
  EXPECT_TRUE(absl::IsDataLoss(store_->ReadEntries(group_, LogIndex(2), LogIndex(3), kAll).status()));
}

TEST(ReadError, IsDamageOnlyIfAskingAgainIsOfNoUse) {
  using rocksdb::Status;
  EXPECT_TRUE(absl::IsDataLoss(ReadError("it", Status::Corruption("block checksum mismatch"))));
  EXPECT_TRUE(absl::IsDataLoss(ReadError("it", Status::IOError("While pread: 000010.payloads", "Input/output error"))));
  EXPECT_TRUE(absl::IsDataLoss(ReadError("it", Status::PathNotFound("000010.payloads", "No such file or directory"))));
  EXPECT_TRUE(
      absl::IsUnavailable(ReadError("it", Status::IOError("While open: 000010.payloads", "Too many open files"))));
  EXPECT_TRUE(absl::IsUnavailable(ReadError("it", Status::Incomplete())));
}

// As with a sector that cannot be read: the system call fails.
TEST_F(LogTest, EntriesThatTheDiskDoesNotGiveCostThemselvesOnly) {
  OpenStore();
  const auto payload_files = [this] {
    std::set<std::string> names;
    for (const auto& file : std::filesystem::directory_iterator(options_.directory)) {
      if (file.path().extension() == ".payloads") names.insert(file.path());
    }
    return names;
  };
  int64_t timestamp = 0;
  for (int flush = 0; flush < 3; ++flush) {
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(Write({.records = 10, .bytes = 5000, .timestamp = ++timestamp}).ok());
    round_.reset();
    ASSERT_TRUE(store_->Close().ok());
    OpenStore();
  }
  const std::set<std::string> files = payload_files();
  ASSERT_EQ(files.size(), 3u);
  ASSERT_TRUE(std::filesystem::remove(*std::next(files.begin())));

  EXPECT_EQ(ReadIndexes(0, 90), (Ints{1, 2, 3}));
  for (int64_t from : {30, 45, 59}) {  // without and with a hint
    const absl::Status lost = store_->Read(group_, Offset(from), Offset(90), kAll).status();
    EXPECT_TRUE(absl::IsDataLoss(lost)) << lost;
    EXPECT_EQ(raft::DamagedOffsets(lost), (raft::OffsetRange{Offset(from), Offset(from / 10 * 10 + 10)}));
  }
  EXPECT_EQ(ReadIndexes(60, 90), (Ints{7, 8, 9}));
  EXPECT_EQ(ReadIndexes(15, 90), (Ints{2, 3}));
  EXPECT_TRUE(absl::IsDataLoss(store_->ReadEntries(group_, LogIndex(5), LogIndex(9), kAll).status()));
  EXPECT_EQ(store_->OffsetForTime(group_, 5).value(), Offset(40)) << "headers do not lie there";
}

TEST_F(LogTest, LogWhoseLastHeaderHasOneDamagedByteGoesOn) {
  for (const size_t at : {size_t{1}, size_t{4}, size_t{20}, size_t{24}, size_t{52}, size_t{79}}) {
    SCOPED_TRACE(at);
    OpenStore();
    if (State().last_index == LogIndex(0)) WriteMany(2, {.records = 10, .bytes = 3000});
    WriteMany(1, {.records = 10, .bytes = 3000});
    const LogState before = State();
    ChangeStored(before.last_index, before.log_end - 10, [at](std::string& value) { value[at] ^= 0x5a; });
    const LogState after = State();
    EXPECT_FALSE(after.read_only);
    EXPECT_EQ(after.log_end, before.log_end);
    EXPECT_EQ(after.chain, before.chain);
    EXPECT_EQ(after.bytes, before.bytes);
    WriteMany(1, {.records = 10, .bytes = 3000});
    const absl::Status damaged = store_->Read(group_, before.log_end - 10, State().log_end, kAll).status();
    const auto lost = raft::DamagedOffsets(damaged);
    ASSERT_TRUE(lost) << damaged;
    EXPECT_EQ(*lost, (raft::OffsetRange{before.log_end - 10, before.log_end}));
    EXPECT_EQ(store_->Read(group_, before.log_end, State().log_end, kAll).value().size(), 1u);
  }
}

TEST_F(LogTest, LogWhoseEndIsUnknownIsReadOnly) {
  const auto ruin = [](std::string& value) { value.replace(0, kStoredHeaderBytes, kStoredHeaderBytes, '\0'); };
  OpenStore();
  WriteMany(3, {.records = 10, .bytes = 3000, .timestamp = 50});
  WriteMany(2, {.records = 10, .bytes = 3000, .timestamp = 70});
  ChangeStored(LogIndex(5), Offset(40), ruin);
  EXPECT_TRUE(State().read_only);
  EXPECT_EQ(store_->Stats().read_only_logs, 1u);
  EXPECT_EQ(State().last_index, LogIndex(4));
  EXPECT_EQ(State().log_end, Offset(40));
  EXPECT_EQ(ReadIndexes(0, 50), (Ints{1, 2, 3, 4}));
  EXPECT_EQ(store_->OffsetForTime(group_, 60).value(), Offset(30));
  EXPECT_EQ(store_->OffsetForTime(group_, 80).value(), Offset(40));
  round_->PutValue(group_, "beside", "1");
  EXPECT_TRUE(store_->Write(*round_).ok());
  ChangeStored(LogIndex(4), Offset(30), ruin);  // the one before it as well
  EXPECT_TRUE(State().read_only);
  EXPECT_EQ(ReadIndexes(0, 50), (Ints{1, 2, 3}));
  ASSERT_TRUE(store_->Remove({group_}).ok());
  EXPECT_EQ(store_->Stats().read_only_logs, 0u);
  ASSERT_TRUE(store_->Create(group_, {}).ok());
  EXPECT_FALSE(store_->Open(group_).value().read_only);
}

TEST_F(LogTest, LogOfWhichAWholeSegmentIsDamagedIsReadUpToIt) {
  const auto ruin = [](std::string& value) { value.replace(0, kStoredHeaderBytes, kStoredHeaderBytes, '\0'); };
  OpenStore({.bytes_max = 3000});
  WriteMany(3, {.records = 10, .bytes = 3000});
  ChangeStored(LogIndex(3), Offset(20), ruin);
  EXPECT_TRUE(State().read_only);
  EXPECT_EQ(ReadIndexes(0, 30), (Ints{1, 2}));
  EXPECT_EQ(store_->TermAt(group_, LogIndex(2)).value(), Term(1));
  ChangeStored(LogIndex(2), Offset(10), ruin);
  EXPECT_EQ(ReadIndexes(0, 10), (Ints{1}));
  EXPECT_TRUE(absl::IsDataLoss(store_->Read(group_, Offset(10), Offset(20), kAll).status())) << "its segment is sealed";
}

TEST_F(LogTest, TimesAreFoundBelowADamagedEndThatClosedAnInterval) {
  OpenStore();
  WriteMany(1, {.records = 10, .timestamp = 50});
  WriteMany(1, {.records = 10, .timestamp = 70});
  WriteMany(1, {.records = 10, .bytes = 2 << 20, .timestamp = 90});
  ChangeStored(LogIndex(3), Offset(20), [](std::string& value) { value.resize(10); });
  EXPECT_EQ(store_->OffsetForTime(group_, 60).value(), Offset(10));
  EXPECT_EQ(store_->OffsetForTime(group_, 80).value(), Offset(20));
  for (int64_t offset = 0; offset < 20; ++offset) EXPECT_EQ(ReadIndexes(offset, 20).front(), 1 + offset / 10);
}

TEST_F(LogTest, LogOfWhichAllIsDamagedIsEmpty) {
  OpenStore();
  WriteMany(1, {.records = 10, .bytes = 3000});
  ChangeStored(LogIndex(1), Offset(0), [](std::string& value) { value.resize(10); });
  EXPECT_TRUE(State().read_only);
  EXPECT_EQ(State().log_end, Offset(0));
}

// A segment's metadata is missing: the oldest, one in the middle.
TEST_F(LogTest, LogThatContradictsItselfIsNotOpened) {
  for (const int64_t missing : {1, 2}) {
    const GroupId group(10 + missing);
    OpenStore();
    ASSERT_TRUE(store_->Create(group, {.bytes_max = 100}).ok());
    ASSERT_TRUE(store_->Open(group).ok());
    for (int64_t i = 0; i < 4; ++i) {
      round_->Append(group, {.header = {.index = LogIndex(1 + i), .base_offset = Offset(i), .record_count = 1},
                             .payload = absl::Cord(std::string(100, 'x'))});
    }
    ASSERT_TRUE(store_->Write(*round_).ok());
    ChangeDatabase([&](rocksdb::DB& db) {
      ASSERT_TRUE(db.Delete(rocksdb::WriteOptions(), SegmentKey(group, LogIndex(missing))).ok());
    });
    OpenStore();
    const absl::Status status = store_->Open(group).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("group ", group.value())));
    round_.reset();
    store_.reset();
  }
}

TEST_F(LogTest, WritersOfDifferentGroupsAndReadersWorkAtOnce) {
  constexpr int kWriters = 3;
  constexpr int kEntries = 300;
  options_.cache_bytes = 100 << 10;
  options_.memory_bytes = 4 << 20;
  OpenStore();
  std::vector<std::thread> threads;
  for (int w = 0; w < kWriters; ++w) {
    const GroupId group(10 + w);
    ASSERT_TRUE(store_->Create(group, {.bytes_max = 50000}).ok());
    ASSERT_TRUE(store_->Open(group).ok());
    threads.emplace_back([this, group] {
      auto round = store_->NewRound();
      for (int i = 0; i < kEntries; ++i) {
        Entry entry;
        entry.header.index = LogIndex(i + 1);
        entry.header.base_offset = Offset(i);
        entry.header.record_count = 1;
        entry.payload = absl::Cord(std::string(3000, 'x'));
        round->Append(group, std::move(entry));
        if (i % 50 == 49) round->SetLogStart(group, Offset(i - 40));
        EXPECT_TRUE(ThroughStalls(*store_, [&] { return store_->Write(*round); }).ok());
        std::vector<Entry> cached;  // unless the others have written much since
        if (store_->ReadCached(group, Offset(i), Offset(i + 1), kAll, &cached)) {
          EXPECT_EQ(cached.size(), 1u);
        }
      }
    });
    threads.emplace_back([this, group] {
      for (Offset next; next < Offset(kEntries);) {
        auto entries = store_->Read(group, next, Offset(kEntries), 20000);
        if (absl::IsOutOfRange(entries.status())) {
          next = std::max(next, store_->State(group).log_start);
          continue;
        }
        ASSERT_TRUE(entries.ok()) << entries.status();
        if (!entries->empty()) next = entries->back().header.end_offset();
      }
    });
  }
  threads.emplace_back([this] {
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(SyncNow().ok());
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(store_->Stats().cached_bytes, options_.cache_bytes);
}

TEST_F(LogTest, ManyLogsAreOpenedOneByOne) {
  OpenStore();
  std::unique_ptr<raft::Round> round = store_->NewRound();
  for (int64_t i = 2; i <= 2000; ++i) {
    ASSERT_TRUE(store_->Create(GroupId(i), {}).ok());
    ASSERT_TRUE(store_->Open(GroupId(i)).ok());
    Entry entry;
    entry.header.index = LogIndex(1);
    entry.header.record_count = static_cast<int32_t>(i);
    round->Append(GroupId(i), std::move(entry));
  }
  ASSERT_TRUE(store_->Write(*round).ok());
  round.reset();
  Reopen();
  EXPECT_EQ(store_->List().value().size(), 2000u);
  for (int64_t i = 2; i <= 2000; ++i) ASSERT_EQ(store_->Open(GroupId(i)).value().log_end, Offset(i));
}

using LogDeathTest = LogTest;

TEST_F(LogDeathTest, WhatDoesNotFollowTheLogIsABug) {
  OpenStore();
  WriteMany(2, {});
  Entry entry;
  entry.header.index = LogIndex(4);
  entry.header.base_offset = Offset(20);
  EXPECT_DEATH(
      {
        round_->Append(group_, entry);
        (void)store_->Write(*round_);
      },
      "group 1");
  round_->SetTermAndVote(group_, {.term = Term(1), .commit_index = LogIndex(2)});
  ASSERT_TRUE(store_->Write(*round_).ok());
  EXPECT_DEATH(
      {
        round_->TruncateSuffix(group_, LogIndex(2));
        (void)store_->Write(*round_);
      },
      "committed");
  EXPECT_DEATH(
      {
        round_->Reset(group_, {.before = {Term(1), LogIndex(1)}, .end_offset = Offset(10)});
        (void)store_->Write(*round_);
      },
      "group 1");
}

}  // namespace
}  // namespace millrace::storage
