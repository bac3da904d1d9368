// A replica of three, driven alone: the test is its peers and its broker's disk.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "proto/wire/crc32c.h"
#include "tests/support/fake_log_store.h"
#include "tests/support/test_broker.h"
#include "tests/support/test_replica.h"

namespace millrace::raft {

inline constexpr GroupId kGroup{1};
inline constexpr ReplicaId kSelf{BrokerId(1), 11};
inline constexpr ReplicaId kLeader{BrokerId(2), 22};
inline constexpr ReplicaId kOther{BrokerId(3), 33};

inline Entry MakeEntry(int64_t term, int64_t index, int64_t offset, int64_t time = 0) {
  Entry entry;
  entry.header.term = Term(term);
  entry.header.index = LogIndex(index);
  entry.header.base_offset = Offset(offset);
  entry.header.record_count = 1;
  entry.header.append_time = time;
  entry.payload = absl::Cord(std::string(100, static_cast<char>('a' + index % 26)));
  entry.header.payload_crc = Crc32c(0, entry.payload);
  return entry;
}

// Entries of one record each; entry i begins at offset i - 1.
inline std::vector<Entry> MakeEntries(int64_t term, int64_t first, int64_t last) {
  std::vector<Entry> entries;
  for (int64_t index = first; index <= last; ++index) entries.push_back(MakeEntry(term, index, index - 1));
  return entries;
}

inline InstallSnapshot MakeSnapshot(int64_t index, int64_t end_offset, const std::string& state) {
  return {.last = {Term(1), LogIndex(index)},
          .end_offset = Offset(end_offset),
          .log_start = Offset(end_offset + 3),
          .append_time = 5,
          .chain = 99,
          .membership = {.voters = {kSelf, kLeader}},
          .membership_index = LogIndex(1),
          .state = absl::Cord(state)};
}

inline std::string SumOf(int64_t index) { return TestReplica::Sum{.index = LogIndex(index), .sum = 7}.Encode(); }

// A follower whose leader is the test.
class DriverTest : public testing::Test {
 protected:
  explicit DriverTest(Flush flush = Flush::kCommit) : replica_({.group = kGroup, .self = kSelf, .flush = flush}) {
    EXPECT_TRUE(TestReplica::Make(store_, kGroup, {.voters = {kSelf, kLeader, kOther}}).ok());
    Sync();
    Start();
  }

  void Start() {
    const absl::Status status = replica_.Start(store_);
    ASSERT_TRUE(status.ok()) << status;
    broker_.Add(&replica_);
  }
  void Restart(size_t kept) {
    broker_.StopAll();
    store_.Crash(kept);
    Start();
  }
  void Sync() {
    store_.Sync([](const absl::Status&) {});
    store_.CompleteSyncs();
  }
  // Of this term, with a body.
  template <typename Body>
  void Receive(int64_t term, Body body, ReplicaId from = kLeader) {
    const absl::Status status =
        replica_.core().Step({.from = from, .to = kSelf, .term = Term(term), .body = std::move(body)});
    ASSERT_TRUE(status.ok()) << status;
  }
  void Append(int64_t term, EntryId prev, std::vector<Entry> entries, int64_t commit = 0) {
    Receive(term, AppendEntries{.prev = prev, .entries = std::move(entries), .commit = LogIndex(commit), .request = 1});
  }
  // Turns, syncs, until nothing happens.
  void Settle() {
    do {
      broker_.RequestSync();
      store_.CompleteSyncs();
      broker_.FinishSyncs();
    } while (broker_.Turn());
  }
  // What was acked of the log since it was asked last.
  std::vector<int64_t> Acks() {
    std::vector<int64_t> acks;
    for (const Message& message : replica_.TakeSent()) {
      const auto* reply = std::get_if<AppendReply>(&message.body);
      if (reply != nullptr && reply->accepted) acks.push_back(reply->match.value());
    }
    return acks;
  }

  FakeLogStore store_;
  TestReplica replica_;
  TestBroker broker_{store_};
};

using Indexes = std::vector<int64_t>;

// A leader whose members the test plays.
class LeaderTest : public DriverTest {
 protected:
  LeaderTest() {
    replica_.core().Campaign();
    Settle();
    Receive(0, VoteReply{.granted = true, .pre_vote = true});
    Settle();
    Receive(1, VoteReply{.granted = true, .asked = Term(1)});
    Settle();
  }
  void Propose(int count) {
    for (int i = 0; i < count; ++i) ASSERT_TRUE(replica_.core().Propose(MakeEntry(0, 0, 0)).ok());
  }
};

}  // namespace millrace::raft
