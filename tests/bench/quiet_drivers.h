// Groups of three with their drivers on one store in memory, brought to rest.
//
//     QuietDrivers drivers(1000);
//     drivers.Lead();                      // or Follow(), once
//     drivers.all().front()->core().quiet()
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "raft/group_driver.h"
#include "raft/persisted_state.h"
#include "tests/support/fake_log_store.h"

namespace millrace::raft {

class QuietDrivers : private Transport, private StateMachine, private EntryReader {
 public:
  explicit QuietDrivers(int groups) {
    const Membership membership{.voters = {Id(1), Id(2), Id(3)}};
    const std::unique_ptr<Round> round = store_.NewRound();
    for (int group = 1; group <= groups; ++group) {
      (void)store_.Create(GroupId(group), {});
      (void)store_.Open(GroupId(group));
      StageMemberships(*round, GroupId(group), {{LogIndex(0), membership}});
    }
    (void)store_.Write(*round);
    store_.Sync([](const absl::Status&) {});
    store_.CompleteSyncs();
    drivers_.reserve(static_cast<size_t>(groups));
    for (int group = 1; group <= groups; ++group) {
      drivers_.push_back(*GroupDriver::Open(config_, {.group = GroupId(group), .self = Id(1)}, *this, seams_));
    }
  }

  const std::vector<std::unique_ptr<GroupDriver>>& all() const { return drivers_; }
  // Only their logs stay.
  void Clear() { std::vector<std::unique_ptr<GroupDriver>>().swap(drivers_); }

  // Of a leader that has had one entry.
  void Follow() {
    const Entry first{.header = {.type = EntryType::kNoop, .term = Term(1), .index = LogIndex(1)}};
    ToAll(2, 1, AppendEntries{.entries = {first}, .commit = LogIndex(1)});
    ToAll(2, 1, Heartbeat{.commit = {Term(1), LogIndex(1)}, .quiesce = true, .last_index = LogIndex(1)});
  }
  // After a burst of 64 proposals.
  void Lead() {
    for (const auto& driver : drivers_) driver->core().Campaign();
    Settle();
    ToAll(2, 0, VoteReply{.granted = true, .pre_vote = true});
    ToAll(2, 1, VoteReply{.granted = true, .asked = Term(1)});
    for (int64_t last = 1; last <= 65; ++last) {
      for (int from : {2, 3}) {
        ToAll(from, 1,
              AppendReply{.accepted = true, .match = LogIndex(last), .last_index = LogIndex(last), .request = 1000});
      }
      for (const auto& driver : drivers_) {
        if (last < 65) (void)driver->core().Propose({.payload = absl::Cord("x")});
      }
      Settle();
    }
    for (int tick = 0; tick < 8; ++tick) {
      for (const auto& driver : drivers_) driver->core().Tick();
      Settle();
      for (int from : {2, 3}) ToAll(from, 1, HeartbeatReply{.quiet = true, .last_index = LogIndex(65)});
    }
  }

 private:
  static ReplicaId Id(int n) { return {BrokerId(n), 1}; }

  template <typename Body>
  void ToAll(int from, int term, const Body& body) {
    for (const auto& driver : drivers_) {
      (void)driver->core().Step({.from = Id(from), .to = Id(1), .term = Term(term), .body = body});
    }
    Settle();
  }

  void Settle() {
    const std::unique_ptr<Round> round = store_.NewRound();
    for (bool wrote = true; wrote;) {
      for (const auto& driver : drivers_) driver->HasWork() && driver->Stage(*round);
      wrote = !round->empty();
      (void)store_.Write(*round);
      ++round_;
      for (const auto& driver : drivers_) driver->OnWritten(round_);
      store_.Sync([](const absl::Status&) {});
      store_.CompleteSyncs();
      for (const auto& driver : drivers_) driver->OnSynced(round_);
    }
  }

  void Send(GroupId, Message) override {}
  void Read(GroupId, const EntryRead&) override {}
  void Apply(const std::vector<Entry>&) override {}
  absl::Status ApplyDamaged(LogIndex, const absl::Status& damage) override { return damage; }
  std::optional<Snapshot> MakeSnapshot() override { return std::nullopt; }
  absl::Status Install(const InstallSnapshot&, Round&) override { return absl::OkStatus(); }
  void OnTruncated(LogIndex) override {}
  void OnRoleChange(const RoleChange&) override {}
  void OnReadAnswered(uint64_t, bool) override {}
  void OnNotice(const Notice&) override {}

  const Config config_{.quiesce_ticks = 2};
  FakeLogStore store_;
  SeededRandom random_{1};
  const GroupDriver::Seams seams_{store_, *this, *this, random_};
  RoundSeq round_;
  std::vector<std::unique_ptr<GroupDriver>> drivers_;
};

}  // namespace millrace::raft
