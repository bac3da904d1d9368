// Goal: the store answers every question as the plain model does, whatever happened before. Method: the same random changes
// go to a RocksLogStore and to MemoryLogs, all answers are compared, and the store is stopped in between: in order, without
// Close(), or by kill -9 of a child process that does the writing.
//
//     storage_model_test --seed=7        // MILLRACE_SEED=7 does the same
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "proto/wire/crc32c.h"
#include "storage/rocks_log_store.h"
#include "tests/storage/temp_dir.h"
#include "tests/storage/workload.h"
#include "tests/support/through_stalls.h"

extern char** environ;

namespace millrace::storage {
namespace {

using raft::Entry;
using raft::GroupId;
using raft::LogIndex;
using raft::LogState;
using raft::Offset;

constexpr size_t kAllBytes = size_t{1} << 40;

uint64_t seed_of_this_run = 0;

RocksLogStore::Options StoreOptions(const std::string& directory) {
  RocksLogStore::Options options;
  options.directory = directory;
  options.memory_bytes = 4 << 20;   // flushes and compactions happen
  options.cache_bytes = 300 << 10;  // evictions too
  options.reclaim_delay = std::chrono::milliseconds(1);
  options.dead_bytes_max = 0;  // payloads are moved all the time
  return options;
}

void ExpectSameState(const LogState& a, const LogState& b) {
  EXPECT_EQ(a.begin, b.begin);
  EXPECT_EQ(a.first_index, b.first_index);
  EXPECT_EQ(a.last_index, b.last_index);
  EXPECT_EQ(a.last_term, b.last_term);
  EXPECT_EQ(a.log_start, b.log_start);
  EXPECT_EQ(a.log_end, b.log_end);
  EXPECT_EQ(a.last_append_time, b.last_append_time);
  EXPECT_EQ(a.chain, b.chain);
  EXPECT_EQ(a.bytes, b.bytes);
  EXPECT_EQ(a.term_and_vote, b.term_and_vote);
}

void ExpectSameHeader(const raft::EntryHeader& a, const raft::EntryHeader& b) {
  ASSERT_EQ(a.type, b.type);
  ASSERT_EQ(a.term, b.term);
  ASSERT_EQ(a.index, b.index);
  ASSERT_EQ(a.base_offset, b.base_offset);
  ASSERT_EQ(a.record_count, b.record_count);
  ASSERT_EQ(a.append_time, b.append_time);
  ASSERT_EQ(a.max_timestamp, b.max_timestamp);
  ASSERT_EQ(a.payload_crc, b.payload_crc);
  ASSERT_EQ(a.chain, b.chain);
}

void ExpectSameEntries(const absl::StatusOr<std::vector<Entry>>& a, const absl::StatusOr<std::vector<Entry>>& b) {
  ASSERT_EQ(a.status().code(), b.status().code()) << a.status() << " and " << b.status();
  if (!a.ok()) return;
  ASSERT_EQ(a->size(), b->size());
  for (size_t i = 0; i < a->size(); ++i) {
    ExpectSameHeader((*a)[i].header, (*b)[i].header);
    ASSERT_EQ(Crc32c(0, (*a)[i].payload), (*a)[i].header.payload_crc);
    ASSERT_EQ((*a)[i].payload.size(), (*b)[i].payload.size());
  }
}

void CompareAnswers(Workload& draw, RocksLogStore& store, GroupId group, const MemoryLog& model) {
  const LogState state = model.State();
  ExpectSameState(store.State(group), state);
  ASSERT_TRUE(store.Segments(group) == model.Segments());
  const Offset from(draw.UpTo(state.log_end.value() + 1));
  const Offset end = from + draw.UpTo(200);
  const size_t bytes = draw.OneIn(3) ? kAllBytes : static_cast<size_t>(draw.UpTo(20000));
  ExpectSameEntries(store.Read(group, from, end, bytes), model.Read(from, end, bytes));
  std::vector<Entry> cached;
  if (store.ReadCached(group, from, end, bytes, &cached)) ExpectSameEntries(cached, model.Read(from, end, bytes));

  const LogIndex index(draw.UpTo(state.last_index.value() + 2));
  ExpectSameEntries(store.ReadEntries(group, index, index + 5, kAllBytes),
                    model.ReadEntries(index, index + 5, kAllBytes));
  if (store.ReadCachedEntries(group, index, index + 5, bytes, &cached)) {
    ExpectSameEntries(cached, model.ReadEntries(index, index + 5, bytes));
  }
  const auto header = store.HeaderAt(group, index);
  const auto model_header = model.HeaderAt(index);
  ASSERT_EQ(header.status().code(), model_header.status().code()) << header.status() << model_header.status();
  if (header.ok()) ExpectSameHeader(*header, *model_header);
  const auto holding = store.HeaderFor(group, from);
  const auto held = model.Read(from, state.log_end, 1);
  ASSERT_EQ(holding.ok(), held.ok() && !held->empty()) << holding.status() << held.status();
  if (holding.ok()) ExpectSameHeader(*holding, held->front().header);
  const auto term = store.TermAt(group, index);
  const auto model_term = model.TermAt(index);
  ASSERT_EQ(term.status().code(), model_term.status().code()) << term.status() << model_term.status();
  if (term.ok()) {
    ASSERT_EQ(*term, *model_term);
  }
  const int64_t time = state.last_append_time - draw.UpTo(draw.OneIn(2) ? 300 : 20000) + 300;
  ASSERT_EQ(store.OffsetForTime(group, time).value(), model.OffsetForTime(time)) << "time " << time;
}

std::map<std::string, std::string> ValuesOf(RocksLogStore& store, GroupId group) {
  const auto values = store.Values(group);
  MILLRACE_CHECK(values.ok()) << values.status().ToString();
  return {values->begin(), values->end()};
}

void CompareEverything(RocksLogStore& store, const Workload::Logs& logs) {
  std::vector<GroupId> groups;
  for (const auto& [group, model] : logs) groups.push_back(group);
  auto listed = store.List();
  ASSERT_TRUE(listed.ok());
  ASSERT_EQ(*listed, groups);
  for (const auto& [group, model] : logs) {
    auto state = store.Open(group);
    ASSERT_TRUE(state.ok()) << state.status();
    ExpectSameState(*state, model.State());
    ExpectSameEntries(store.ReadEntries(group, state->first_index, state->last_index, kAllBytes),
                      model.ReadEntries(state->first_index, state->last_index, kAllBytes));
    ASSERT_EQ(ValuesOf(store, group), model.values());
    ASSERT_TRUE(store.Segments(group) == model.Segments());
  }
}

// Groups come and go.
void CreateOrRemove(Workload& draw, RocksLogStore& store, Workload::Logs& logs) {
  const GroupId group = draw.AnyGroup();
  if (!logs.contains(group)) {
    const raft::SegmentLimits limits = draw.Limits();
    ASSERT_TRUE(ThroughStalls(store, [&] { return store.Create(group, limits); }).ok());
    ASSERT_TRUE(store.Open(group).ok());
    logs.emplace(group, MemoryLog(limits));
    return;
  }
  ASSERT_EQ(store.Create(group, {}).code(), absl::StatusCode::kAlreadyExists);
  if (!draw.OneIn(5)) return;
  ASSERT_TRUE(ThroughStalls(store, [&] { return store.Remove({group}); }).ok());
  logs.erase(group);
  ASSERT_TRUE(absl::IsNotFound(store.Open(group).status()));
  ASSERT_TRUE(absl::IsNotFound(store.Read(group, Offset(0), Offset(1), 1).status()));
}

// Limits live as long as the log is open.
void SetAllLimits(Workload& draw, RocksLogStore& store, Workload::Logs& logs) {
  for (auto& [group, model] : logs) {
    const raft::SegmentLimits limits = draw.Limits();
    store.SetLimits(group, limits);
    model.SetLimits(limits);
  }
}

TEST(Model, StoreAnswersAsThePlainModelOverRestarts) {
  std::cout << "seed " << seed_of_this_run << "\n";
  Workload draw(seed_of_this_run);
  TempDir directory;
  Workload::Logs logs;
  auto store = RocksLogStore::Open(StoreOptions(directory / "store"));
  ASSERT_TRUE(store.ok()) << store.status();
  for (int life = 0; life < 8; ++life) {
    std::unique_ptr<raft::Round> round = (*store)->NewRound();
    for (int step = 0; step < 400; ++step) {
      SCOPED_TRACE(absl::StrCat("seed ", seed_of_this_run, " life ", life, " step ", step));
      if (draw.OneIn(40)) CreateOrRemove(draw, **store, logs);
      draw.FillRound(logs, *round);
      ASSERT_TRUE(ThroughStalls(**store, [&] { return (*store)->Write(*round); }).ok());
      ASSERT_TRUE(round->empty());
      if (auto log = logs.find(draw.AnyGroup()); log != logs.end()) {
        CompareAnswers(draw, **store, log->first, log->second);
      }
      ASSERT_FALSE(HasFailure());
    }
    SCOPED_TRACE(absl::StrCat("seed ", seed_of_this_run, " life ", life));
    CompareEverything(**store, logs);
    round.reset();
    const bool in_order = draw.OneIn(2);
    if (in_order) {
      ASSERT_TRUE((*store)->Close().ok());
    }
    store->reset();
    store = RocksLogStore::Open(StoreOptions(directory / "store"));
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_EQ((*store)->opened_clean(), in_order);
    CompareEverything(**store, logs);
    ASSERT_FALSE(HasFailure());
    SetAllLimits(draw, **store, logs);
  }
}

// What both sides of the kill test do from the same seed. Limits are those of creation: the child never opens a log twice.
class Script {
 public:
  explicit Script(uint64_t seed) : draw_(seed) {}

  template <typename Create>
  void Begin(Create create) {
    for (int group = 1; group <= Workload::kGroups; ++group) {
      const raft::SegmentLimits limits = draw_.Limits();
      create(GroupId(group), limits);
      logs_.emplace(GroupId(group), MemoryLog(limits));
    }
  }
  void Step(raft::Round& round) { draw_.FillRound(logs_, round); }
  const Workload::Logs& logs() const { return logs_; }

 private:
  Workload draw_;
  Workload::Logs logs_;
};

class NoRound : public raft::Round {
 public:
  void Append(GroupId, Entry) override {}
  void TruncateSuffix(GroupId, LogIndex) override {}
  void Reset(GroupId, const raft::LogBegin&) override {}
  void SetTermAndVote(GroupId, const raft::TermAndVote&) override {}
  void SetLogStart(GroupId, Offset) override {}
  void PutValue(GroupId, std::string_view, std::string_view) override {}
  void DeleteValue(GroupId, std::string_view) override {}
  bool empty() const override { return true; }
  size_t bytes() const override { return 0; }
};

// The child: writes one byte to stdout after each round, until it is killed.
int WriteUntilKilled(const std::string& directory, uint64_t seed) {
  auto store = RocksLogStore::Open(StoreOptions(directory));
  if (!store.ok()) return 1;
  Script script(seed);
  script.Begin([&](GroupId group, const raft::SegmentLimits& limits) {
    MILLRACE_CHECK(ThroughStalls(**store, [&] { return (*store)->Create(group, limits); }).ok());
    MILLRACE_CHECK((*store)->Open(group).ok());
  });
  std::unique_ptr<raft::Round> round = (*store)->NewRound();
  while (true) {
    script.Step(*round);
    MILLRACE_CHECK(ThroughStalls(**store, [&] { return (*store)->Write(*round); }).ok());
    if (write(STDOUT_FILENO, ".", 1) != 1) return 1;
  }
}

// Returns how many rounds the child reported before it was killed, at least `rounds_min`.
int RunAndKillChild(const std::string& directory, uint64_t seed, int rounds_min) {
  int pipe_ends[2];
  MILLRACE_CHECK(pipe(pipe_ends) == 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addclose(&actions, pipe_ends[0]);
  std::string program = "/proc/self/exe";
  std::string child = "--child=" + directory;
  std::string child_seed = absl::StrCat("--seed=", seed);
  char* arguments[] = {program.data(), child.data(), child_seed.data(), nullptr};
  pid_t pid;
  MILLRACE_CHECK(posix_spawn(&pid, program.c_str(), &actions, nullptr, arguments, environ) == 0);
  posix_spawn_file_actions_destroy(&actions);
  close(pipe_ends[1]);

  int reported = 0;
  char byte;
  while (reported < rounds_min && read(pipe_ends[0], &byte, 1) == 1) ++reported;
  kill(pid, SIGKILL);
  while (read(pipe_ends[0], &byte, 1) == 1) ++reported;
  close(pipe_ends[0]);
  int status;
  waitpid(pid, &status, 0);
  return WIFSIGNALED(status) ? reported : -1;
}

// Whether the logs stand where the models do.
bool HasAllOf(RocksLogStore& store, const Workload::Logs& logs) {
  for (const auto& [group, model] : logs) {
    const auto state = store.Open(group);
    MILLRACE_CHECK(state.ok()) << state.status().ToString();
    const LogState expected = model.State();
    if (state->chain != expected.chain || state->log_start != expected.log_start ||
        state->term_and_vote.term != expected.term_and_vote.term ||
        state->term_and_vote.voted_for != expected.term_and_vote.voted_for ||
        state->term_and_vote.commit_index != expected.term_and_vote.commit_index ||
        ValuesOf(store, group) != model.values()) {
      return false;
    }
  }
  return true;
}

TEST(Model, KilledStoreHasEveryWrittenRoundWhole) {
  std::cout << "seed " << seed_of_this_run << "\n";
  Workload draw(seed_of_this_run);
  for (int kills = 0; kills < 6; ++kills) {
    SCOPED_TRACE(absl::StrCat("seed ", seed_of_this_run, " kill ", kills));
    TempDir directory;
    const uint64_t seed = seed_of_this_run + kills + 1;
    const int reported = RunAndKillChild(directory / "store", seed, static_cast<int>(1 + draw.UpTo(1500)));
    ASSERT_GT(reported, 0);

    auto store = RocksLogStore::Open(StoreOptions(directory / "store"));
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_FALSE((*store)->opened_clean());
    EXPECT_FALSE((*store)->os_crashed());
    Script script(seed);
    script.Begin([](GroupId, const raft::SegmentLimits&) {});
    NoRound nowhere;
    for (int i = 0; i < reported; ++i) script.Step(nowhere);
    if (!HasAllOf(**store, script.logs())) script.Step(nowhere);  // the last round was written, but not yet reported
    CompareEverything(**store, script.logs());
    ASSERT_FALSE(HasFailure());
  }
}

}  // namespace
}  // namespace millrace::storage

int main(int argc, char** argv) {
  using namespace millrace::storage;
  testing::InitGoogleMock(&argc, argv);
  std::string child_directory;
  if (const char* text = std::getenv("MILLRACE_SEED")) seed_of_this_run = std::strtoull(text, nullptr, 10);
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--seed=")) {
      seed_of_this_run = std::strtoull(argv[i] + 7, nullptr, 10);
    } else if (argument.starts_with("--child=")) {
      child_directory = argument.substr(8);
    } else {
      std::cerr << "unknown argument " << argument << "\n";
      return 2;
    }
  }
  if (!child_directory.empty()) return WriteUntilKilled(child_directory, seed_of_this_run);
  if (seed_of_this_run == 0) seed_of_this_run = std::random_device()() + uint64_t{1};
  return RUN_ALL_TESTS();
}
