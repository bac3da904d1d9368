#include "tests/raft/test_group.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace millrace::raft {
namespace {

constexpr int kTurnsMax = 1000;

}  // namespace

void TestDisk::Write(const Ready& ready) {
  ReadyLog::Write(ready);
  if (ready.term_and_vote) term_and_vote = *ready.term_and_vote;
  if (ready.memberships) memberships = *ready.memberships;
}

PersistedState TestDisk::State() const {
  PersistedState state{.term_and_vote = term_and_vote, .terms = TermTable(before), .end_offset = before_offset};
  for (const Entry& entry : entries) {
    state.terms.Append({entry.header.term, entry.header.index});
    state.end_offset = entry.header.end_offset();
    state.last_append_time = entry.header.append_time;
  }
  state.memberships = memberships;
  return state;
}

TestGroup::TestGroup(int voters, Config config) {
  Membership membership;
  for (int n = 1; n <= voters; ++n) membership.voters.push_back(Id(n));
  for (int n = 1; n <= voters; ++n) {
    AddEmpty(n, config);
    node(n).disk.memberships = {{LogIndex(0), membership}};
    Restart(n);
  }
}

void TestGroup::AddEmpty(int n, Config config) {
  nodes_[Id(n)] = TestNode{.id = Id(n), .config = config};
  Restart(n);
}

void TestGroup::Restart(int n) {
  TestNode& node = nodes_.at(Id(n));
  node.held.clear();
  node.core = std::make_unique<Core>(node.config, GroupId(1), node.id, node.disk.State(), random_);
}

void TestGroup::Send(std::vector<Message>& messages) {
  for (Message& m : messages) {
    if (!drop || !drop(m)) network.push_back(std::move(m));
  }
  messages.clear();
}

void TestGroup::Take(int n) {
  TestNode& node = this->node(n);
  while (node.core->HasReady()) {
    Ready ready = node.core->TakeReady();
    Send(ready.send_now);
    if (ready.fatal) node.fatal = ready.fatal;
    for (const ReadReady& read : ready.reads_ready) node.reads_ready.push_back(read);
    for (uint64_t read : ready.reads_failed) node.reads_failed.push_back(read);
    for (const Notice& notice : ready.notices) node.notices.push_back(notice);
    node.held.push_back(std::move(ready));
    if (!node.hold_writes) Persist(n);
  }
}

void TestGroup::PersistOne(int n) {
  TestNode& node = this->node(n);
  Ready ready = std::move(node.held.front());
  node.held.pop_front();
  node.disk.Write(ready);
  Finish(node, ready);
}

void TestGroup::Persist(int n) {
  while (!node(n).held.empty()) PersistOne(n);
}

void TestGroup::Finish(TestNode& node, Ready& ready) {
  Send(ready.send_after_persist);
  node.core->OnPersisted(ready.seq);
  if (!ready.committed.empty()) {
    for (const Entry& entry : node.disk.Read(ready.committed.first, ready.committed.last, SIZE_MAX)) {
      if (entry.header.type == EntryType::kRecords) node.applied.emplace_back(entry.payload);
    }
    node.core->OnApplied(ready.committed.last);
  }
  for (const EntryRequest& request : ready.entry_requests) {
    node.core->OnEntries(request, node.disk.Read(request.first, request.last, request.bytes_max));
  }
  for (ReplicaId to : ready.snapshot_requests) {
    const TestDisk& disk = node.disk;
    node.core->OnSnapshot(
        to, InstallSnapshot{.last = disk.before,
                            .end_offset = disk.before_offset,
                            .log_start = disk.before_offset,
                            .membership = disk.memberships.front().membership,
                            .membership_index = std::min(disk.memberships.front().index, disk.before.index),
                            .state = absl::Cord("state")});
  }
  ready.append.clear();
  node.log.push_back(std::move(ready));
}

void TestGroup::DeliverTo(int n) {
  std::deque<Message> rest;
  while (!network.empty()) {
    Message m = std::move(network.front());
    network.pop_front();
    if (m.to == Id(n)) {
      EXPECT_TRUE(core(n).Step(std::move(m)).ok());
    } else {
      rest.push_back(std::move(m));
    }
  }
  network = std::move(rest);
}

void TestGroup::Run() {
  int turns = 0;
  for (bool busy = true; busy;) {
    busy = false;
    for (auto& [id, node] : nodes_) Take(static_cast<int>(id.broker.value()));
    if (++turns > kTurnsMax) FAIL() << "no end; next " << (network.empty() ? "nothing" : ToString(network.front()));
    std::deque<Message> now = std::exchange(network, {});
    for (Message& m : now) {
      busy = true;
      const auto to = nodes_.find(m.to);
      if (to != nodes_.end() && (!drop || !drop(m))) (void)to->second.core->Step(std::move(m));
    }
    for (auto& [id, node] : nodes_) busy = busy || node.core->HasReady();
  }
}

void TestGroup::Tick(int n, int ticks) {
  for (int i = 0; i < ticks; ++i) {
    core(n).Tick();
    Run();
  }
}

void TestGroup::TickAll(int ticks) {
  for (int i = 0; i < ticks; ++i) {
    for (auto& [id, node] : nodes_) node.core->Tick();
    Run();
  }
}

void TestGroup::Elect(int n) {
  for (auto& [id, node] : nodes_) {
    if (id != Id(n) && node.core->role() == Role::kLeader) (void)node.core->TransferLeadership(Id(n));
  }
  Run();
  if (core(n).role() != Role::kLeader) {
    for (auto& [id, node] : nodes_) node.core->OnUnreachable(node.core->leader());
    core(n).Campaign();
    Run();
  }
  ASSERT_EQ(core(n).role(), Role::kLeader) << core(n).Dump();
}

EntryId TestGroup::Propose(int n, const std::string& payload) {
  const auto id = core(n).Propose({.header = {.record_count = 1}, .payload = absl::Cord(payload)});
  EXPECT_TRUE(id.ok()) << id.status();
  return id.value_or(EntryId());
}

std::string LogText(const TestDisk& disk) {
  std::string text;
  for (const Entry& entry : disk.entries) {
    absl::StrAppend(&text, text.empty() ? "" : " ", entry.header.term.value(), "/", entry.header.index.value());
  }
  return text;
}

}  // namespace millrace::raft
