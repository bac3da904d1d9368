// A group of cores in one thread, with messages, disks and time moved by the test:
//
//     TestGroup g(3);
//     g.Elect(1);
//     g.Propose(1, "a");
//     g.Run();                              // until nothing is left to do
//     g.drop = [](const Message& m) { return m.to.broker == BrokerId(3); };
//     g.node(2).hold_writes = true;         // its Readies are taken, and not durable until Persist()
//
// A node's disk keeps what was durable; Restart() begins anew from there.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "gtest/gtest.h"
#include "raft/core.h"
#include "tests/support/ready_log.h"

namespace millrace::raft {

inline ReplicaId Id(int n) { return {BrokerId(n), 7}; }
inline ReplicaSet Ids(std::initializer_list<int> numbers) {
  ReplicaSet set;
  for (int n : numbers) set.push_back(Id(n));
  return set;
}

// The message's body if it is of this kind, else nullptr.
template <typename Body>
const Body* As(const Message& m) {
  return std::get_if<Body>(&m.body);
}

inline Message From(int from, int to, int64_t term, decltype(Message::body) body) {
  return {.from = Id(from), .to = Id(to), .term = Term(term), .body = std::move(body)};
}

// What a node's disk holds.
struct TestDisk : ReadyLog {
  TermAndVote term_and_vote;
  std::vector<MembershipAt> memberships;

  void Write(const Ready& ready);
  PersistedState State() const;
};

struct TestNode {
  ReplicaId id;
  Config config;
  TestDisk disk;
  std::unique_ptr<Core> core;
  bool hold_writes = false;
  std::deque<Ready> held;  // taken, not durable
  std::vector<Ready> log;  // all that were taken, without their entries' payload
  std::vector<ReadReady> reads_ready;
  std::vector<uint64_t> reads_failed;
  std::vector<Notice> notices;
  std::optional<Fatal> fatal;
  std::vector<std::string> applied;  // payloads of records
};

class TestGroup {
 public:
  explicit TestGroup(int voters, Config config = TestConfig());

  static Config TestConfig() { return {.election_ticks = 10, .heartbeat_ticks = 1, .quiesce_ticks = 0}; }

  TestNode& node(int n) { return nodes_.at(Id(n)); }
  Core& core(int n) { return *node(n).core; }
  // Adds a replica without log or membership.
  void AddEmpty(int n, Config config = TestConfig());
  // As after kill -9: what was not durable is gone.
  void Restart(int n);

  // Takes Readies and delivers messages until nothing is left. Lost: what `drop` says.
  void Run();
  // Only takes the Readies of one node; its messages wait in `network`.
  void Take(int n);
  // Makes the oldest held Ready durable (all of them).
  void PersistOne(int n);
  void Persist(int n);
  // Delivers what waits for `n` now, without taking its Readies.
  void DeliverTo(int n);
  // Time passes for one node, then Run().
  void Tick(int n, int ticks = 1);
  void TickAll(int ticks = 1);

  // By transfer from a leader that can be reached, else with the others free to vote.
  void Elect(int n);
  EntryId Propose(int n, const std::string& payload);

  std::function<bool(const Message&)> drop;
  std::deque<Message> network;

 private:
  void Send(std::vector<Message>& messages);
  void Finish(TestNode& node, Ready& ready);

  SeededRandom random_{1};
  std::map<ReplicaId, TestNode> nodes_;
};

// "1/1 2/2 …": (term/index) of a disk's entries.
std::string LogText(const TestDisk& disk);

}  // namespace millrace::raft
