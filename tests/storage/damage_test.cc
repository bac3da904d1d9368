// Damage of every kind of file: it is found by who only looks, and what all logs share is never gone on with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "proto/wire/crc32c.h"
#include "raft/damage.h"
#include "storage/entry_format.h"
#include "storage/store_inspector.h"
#include "tests/storage/faulty_file_system.h"
#include "tests/storage/store_fixture.h"

namespace millrace::storage {
namespace {

using raft::GroupId;
using raft::LogIndex;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr size_t kPayloadBytes = 10'000;

class DamageTest : public StoreTest {
 protected:
  DamageTest() {
    options_.cache_bytes = 0;
    options_.reclaim_delay = std::chrono::milliseconds(1);
  }

  // An entry with a checksum that can be held against it.
  void Write(GroupId group) {
    if (absl::Status created = store_->Create(group, {}); created.ok() || absl::IsAlreadyExists(created)) {
      ASSERT_TRUE(store_->Open(group).ok());
    }
    raft::Entry entry;
    entry.header.record_count = 1;
    entry.header.index = store_->State(group).last_index + 1;
    entry.header.base_offset = store_->State(group).log_end;
    entry.payload = absl::Cord(std::string(kPayloadBytes, static_cast<char>('a' + entry.header.index.value() % 26)));
    entry.header.payload_crc = Crc32c(0, entry.payload);
    round_->Append(group, std::move(entry));
    ASSERT_TRUE(ThroughStalls(*store_, [this] { return store_->Write(*round_); }).ok());
  }
  void WriteMany(GroupId group, int count) {
    for (int i = 0; i < count; ++i) Write(group);
  }
  // Everything in tables.
  void Close() {
    round_.reset();
    ASSERT_TRUE(store_->Close().ok());
    store_.reset();
  }
  // As kill -9 leaves it.
  void Kill() {
    round_.reset();
    store_.reset();
  }

  std::string FileWith(const std::string& part) const {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(options_.directory)) {
      if (entry.path().filename().string().find(part) != std::string::npos) paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    return paths.empty() ? "" : paths.back();
  }
  static void Flip(const std::string& path, uint64_t offset, int mask = 0x10) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const char flipped = static_cast<char>(file.get() ^ mask);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(flipped);
    ASSERT_TRUE(file.good()) << path << " at " << offset;
  }
  // Name, and what is in it.
  std::map<std::string, std::string> Content() const {
    std::map<std::string, std::string> content;
    for (const auto& entry : std::filesystem::directory_iterator(options_.directory)) {
      std::ifstream file(entry.path(), std::ios::binary);
      content[entry.path().filename()] = std::string(std::istreambuf_iterator<char>(file), {});
    }
    return content;
  }

  void ServeWithFlippedBit(const std::string& file, uint64_t offset, int mask, const std::vector<raft::Entry>& written);

  struct Findings {
    std::vector<std::string> files;  // damaged ones
    std::string damage;
    std::string mark;
    bool has_logs = false;
    std::map<int64_t, int64_t> entries;             // of each group, whose checksum is right
    std::vector<std::pair<int64_t, int64_t>> lost;  // group and first offset, as far as known
  };
  Findings Inspect() const {
    Findings found;
    const auto content = Content();
    auto store = StoreInspector::Open(options_.directory);
    if (!store.ok()) {
      found.damage = store.status().ToString();
      return found;
    }
    for (const StoreInspector::File& file : (*store)->files()) {
      if (!file.status.ok()) found.files.push_back(file.name);
    }
    if (!(*store)->damage().ok()) found.damage = std::string((*store)->damage().message());
    found.mark = (*store)->damaged_mark();
    found.has_logs = (*store)->has_logs();
    if (found.has_logs) ReadLogs(**store, &found);
    EXPECT_EQ(Content(), content) << "was changed";
    return found;
  }
  static void ReadLogs(const StoreInspector& store, Findings* found) {
    const auto groups = store.Groups();
    if (!groups.ok()) return;  // a damaged table
    for (GroupId group : *groups) {
      const auto log = store.Log(group);
      if (!log.ok()) {
        found->lost.emplace_back(group.value(), -1);
        continue;
      }
      store.ReadLog(
          group, *log,
          [&](const raft::Entry& entry) {
            const bool right = Crc32c(0, entry.payload) == entry.header.payload_crc;
            if (right) {
              ++found->entries[group.value()];
            } else {
              found->lost.emplace_back(group.value(), entry.header.base_offset.value());
            }
          },
          [&](LogIndex, const absl::Status& status) {
            const auto offsets = raft::DamagedOffsets(status);
            found->lost.emplace_back(group.value(), offsets ? offsets->first.value() : -1);
          });
    }
  }

  const GroupId second_{7};
};

TEST_F(DamageTest, NoneInAStoreThatIsWholeWhereverItsEntriesLie) {
  OpenStore();
  WriteMany(group_, 30);
  Close();
  OpenStore();
  WriteMany(second_, 20);
  Kill();
  const Findings found = Inspect();
  EXPECT_THAT(found.files, IsEmpty());
  EXPECT_EQ(found.damage, "");
  EXPECT_THAT(found.lost, IsEmpty());
  EXPECT_EQ(found.entries, (std::map<int64_t, int64_t>{{1, 30}, {7, 20}}));
}

TEST_F(DamageTest, AStoreInUseAndADirectoryWithoutOneAreNotLookedAt) {
  OpenStore();
  EXPECT_THAT(Inspect().damage, HasSubstr("already open in this process"));
  EXPECT_THAT(StoreInspector::Open(directory_.path()).status().ToString(), HasSubstr("there is no store in"));
  EXPECT_THAT(StoreInspector::Open(directory_ / "nowhere").status().ToString(), HasSubstr("No such file"));
}

TEST_F(DamageTest, OfAPayloadCostsItsEntry) {
  OpenStore();
  WriteMany(group_, 30);
  Close();
  Flip(FileWith(".payloads"), 5 * kPayloadBytes);
  const Findings found = Inspect();
  EXPECT_THAT(found.lost, ElementsAre(testing::Pair(1, testing::AnyOf(3, 4, 5))));
  EXPECT_EQ(found.entries.at(1), 29);
}

TEST_F(DamageTest, OfAFileOfPayloadsThatIsGoneCostsWhatLayInIt) {
  OpenStore();
  WriteMany(group_, 3);
  Close();
  OpenStore();
  WriteMany(group_, 2);
  Close();
  std::filesystem::remove(FileWith(".payloads"));
  const Findings found = Inspect();
  EXPECT_THAT(found.lost, ElementsAre(testing::Pair(1, 3), testing::Pair(1, 4)));
  EXPECT_EQ(found.entries.at(1), 3);
}

TEST_F(DamageTest, OfATableIsFoundInEachByte) {
  OpenStore();
  WriteMany(group_, 30);
  Close();
  const std::string table = FileWith(".sst");
  constexpr uint64_t kFooterBytes = 53;  // some of which nothing uses
  const uint64_t bytes = std::filesystem::file_size(table) - kFooterBytes;
  for (uint64_t at = 0; at < bytes; at += 97) {
    Flip(table, at);
    const Findings found = Inspect();
    EXPECT_TRUE(!found.files.empty() || !found.damage.empty()) << "byte " << at << " of " << bytes;
    Flip(table, at);
  }
  EXPECT_EQ(Inspect().entries.at(1), 30);
}

// Opens a copy of the store whose `file` has one bit flipped, and its log: what is served is what was written, and nothing is given
// out anew that was.
void DamageTest::ServeWithFlippedBit(const std::string& file, uint64_t offset, int mask,
                                     const std::vector<raft::Entry>& written) {
  RocksLogStore::Options options = options_;
  options.directory = directory_ / "copy";
  options.on_fatal = [](const absl::Status&) {};  // also a compaction may meet it
  std::filesystem::remove_all(options.directory);
  std::filesystem::copy(options_.directory, options.directory);
  Flip(absl::StrCat(options.directory, "/", file), offset, mask);
  const std::string where = absl::StrCat(file, " byte ", offset, " mask ", mask);
  const auto store = RocksLogStore::Open(options);
  if (!store.ok()) {
    EXPECT_TRUE(absl::IsDataLoss(store.status())) << where << ": " << store.status();
    return;
  }
  const auto state = (*store)->Open(group_);
  if (!state.ok()) {
    EXPECT_TRUE(absl::IsDataLoss(state.status())) << where << ": " << state.status();
    return;
  }
  EXPECT_TRUE(state->read_only || state->log_end == written.back().header.end_offset())
      << where << ": ends at " << state->log_end.value();
  for (raft::Offset from = state->log_start; from < state->log_end;) {
    const auto entries = (*store)->Read(group_, from, state->log_end, kAll);
    if (!entries.ok()) {
      EXPECT_TRUE(absl::IsDataLoss(entries.status())) << where << ": " << entries.status();
      return;
    }
    ASSERT_FALSE(entries->empty()) << where;
    for (const raft::Entry& entry : *entries) {
      const raft::Entry& original = written.at(static_cast<size_t>(entry.header.index.value() - 1));
      EXPECT_EQ(ChainDigest(0, entry.header), ChainDigest(0, original.header)) << where;
      EXPECT_EQ(entry.payload, original.payload) << where;
      from = entry.header.end_offset();
    }
  }
}

TEST_F(DamageTest, OfATableIsNeverServedAndHidesNothing) {
  OpenStore();
  WriteMany(group_, 4);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(StoreTest::Write({.records = 1, .bytes = 50}).ok());
  const auto written = store_->Read(group_, raft::Offset(0), State().log_end, kAll);
  ASSERT_TRUE(written.ok()) << written.status();
  const GroupId other(2);  // so that this log's entries have a block that is not read for anything else
  ASSERT_TRUE(store_->Create(other, {}).ok());
  ASSERT_TRUE(store_->Open(other).ok());
  for (int64_t i = 1; i <= 300; ++i) {
    raft::Entry entry;
    entry.header.record_count = 1;
    entry.header.index = LogIndex(i);
    entry.header.base_offset = raft::Offset(i - 1);
    entry.payload = absl::Cord(std::string(50, 'o'));
    round_->Append(other, std::move(entry));
  }
  ASSERT_TRUE(store_->Write(*round_).ok());
  Close();
  const std::string table = std::filesystem::path(FileWith(".sst")).filename();
  const uint64_t bytes = std::filesystem::file_size(FileWith(".sst"));
  constexpr uint64_t kEntriesBytes = 1200;  // they come first; a lowest bit makes a removal of a key's type
  for (uint64_t at = 0; at < std::min(bytes, kEntriesBytes); ++at) ServeWithFlippedBit(table, at, 1, *written);
  for (uint64_t at = 0; at < bytes; at += 41) ServeWithFlippedBit(table, at, 1 << (at % 8), *written);
}

TEST_F(DamageTest, OfTheManifestRefusesTheStore) {
  OpenStore();
  WriteMany(group_, 3);
  Close();
  const std::string manifest = FileWith("MANIFEST");
  const uint64_t bytes = std::filesystem::file_size(manifest);
  const auto content = Content();
  for (uint64_t at = 0; at < bytes; ++at) {
    for (int mask = 1; mask <= 0x80; mask <<= 1) {
      Flip(manifest, at, mask);
      const auto store = RocksLogStore::Open(options_);
      ASSERT_TRUE(absl::IsDataLoss(store.status())) << "byte " << at << " mask " << mask << ": " << store.status();
      EXPECT_THAT(std::string(store.status().message()), HasSubstr("all partitions share this file"));
      Flip(manifest, at, mask);
    }
  }
  EXPECT_EQ(Content(), content) << "was changed";
  OpenStore();
}

// A power cut may leave the last record in part, or zeros.
TEST_F(DamageTest, ATornManifestIsNone) {
  OpenStore();
  WriteMany(group_, 3);
  Close();
  const std::string manifest = FileWith("MANIFEST");
  std::ofstream(manifest, std::ios::binary | std::ios::app) << std::string(5, 'x');
  OpenStore();
  Close();
  const std::string next = FileWith("MANIFEST");
  std::filesystem::resize_file(next, std::filesystem::file_size(next) + 5000);
  OpenStore();
  EXPECT_EQ(State().last_index, LogIndex(3));
}

TEST_F(DamageTest, OfTheManifestLeavesNoLogsToRead) {
  OpenStore();
  WriteMany(group_, 3);
  Close();
  Flip(FileWith("MANIFEST"), 20);
  const Findings found = Inspect();
  EXPECT_FALSE(found.has_logs);
  EXPECT_THAT(found.damage, AllOf(HasSubstr("is damaged"), HasSubstr("MANIFEST")));
}

TEST_F(DamageTest, OfTheLogNamesThePlaceAndLeavesWhatIsBeforeIt) {
  OpenStore();
  WriteMany(group_, 10);
  ASSERT_TRUE(SyncNow().ok());
  WriteMany(group_, 1);
  Kill();
  const std::string log = FileWith(".log");
  Flip(log, 5 * kPayloadBytes);
  const Findings found = Inspect();
  EXPECT_THAT(found.damage, AllOf(HasSubstr(log), HasSubstr("cannot be read at offset")));
  ASSERT_TRUE(found.has_logs);
  EXPECT_THAT(found.entries.at(1), testing::AllOf(testing::Ge(3), testing::Le(5)));
  EXPECT_THAT(found.lost, IsEmpty());
}

// A compaction that meets a damaged table would end every broker on this store, soon after each start.
TEST_F(DamageTest, MetByACompactionMarksTheStore) {
  std::promise<absl::Status> failed;
  options_.name_logs = [](GroupId first, GroupId last) {
    return absl::StrCat("orders-", first.value(), " and orders-", last.value());
  };
  OpenStore();
  WriteMany(group_, 1000);
  Close();
  const std::string table = FileWith(".sst");
  options_.on_fatal = [&](const absl::Status& status) { failed.set_value(status); };
  OpenStore();
  // A block that opening the log did not bring into the cache.
  const uint64_t middle = std::filesystem::file_size(table) / 2;
  Flip(table, middle);
  ASSERT_TRUE(store_->Remove({group_}).ok());  // and so its keys are compacted
  const std::string name = std::filesystem::path(table).filename();
  EXPECT_THAT(failed.get_future().get().ToString(),
              AllOf(HasSubstr("DATA_LOSS"), HasSubstr(name), HasSubstr("parts of orders-1 and orders-1 (")));
  Kill();

  for (int start = 0; start < 2; ++start) {
    const auto refused = RocksLogStore::Open(options_);
    EXPECT_TRUE(absl::IsDataLoss(refused.status())) << refused.status();
    EXPECT_THAT(std::string(refused.status().message()),
                AllOf(HasSubstr(name), HasSubstr("millrace inspect"), HasSubstr("DAMAGED")));
  }
  const Findings found = Inspect();
  EXPECT_THAT(found.files, ElementsAre(name));
  EXPECT_THAT(found.mark, HasSubstr(name));
  Flip(table, middle);
  std::filesystem::remove(options_.directory + "/DAMAGED");
  options_.on_fatal = nullptr;
  OpenStore();
  EXPECT_TRUE(store_->Close().ok());
  store_.reset();
  std::ofstream(options_.directory + "/999999.sst") << "as far as a killed process came";
  EXPECT_THAT(Inspect().files, IsEmpty());
}

// A bad sector: each start would end at it, as at a flipped bit.
TEST_F(DamageTest, IsAlsoATableThatTheDiskDoesNotGive) {
  const auto disk = std::make_shared<FaultyFileSystem>();
  std::promise<absl::Status> failed;
  options_.file_system = disk;
  OpenStore();
  WriteMany(group_, 1000);
  Close();
  const std::string table = FileWith(".sst");
  options_.on_fatal = [&](const absl::Status& status) { failed.set_value(status); };
  OpenStore();
  disk->FailReads(table);
  ASSERT_TRUE(store_->Remove({group_}).ok());  // and so its keys are compacted
  EXPECT_THAT(failed.get_future().get().ToString(), AllOf(HasSubstr("DATA_LOSS"), HasSubstr("is damaged: IO error: "),
                                                          HasSubstr(table), HasSubstr("groups 1 to 1")));
  Kill();
  const auto refused = RocksLogStore::Open(options_);
  EXPECT_TRUE(absl::IsDataLoss(refused.status())) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), AllOf(HasSubstr(table), HasSubstr("DAMAGED")));
}

}  // namespace
}  // namespace millrace::storage
