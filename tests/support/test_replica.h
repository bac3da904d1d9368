// A replica under test: a GroupDriver on a store, with seams that keep what it does for the test to look at.
//
//     TestReplica::Make(store, group, membership);       // once: the log and who takes part
//     TestReplica replica({.group = group, .self = self});
//     ASSERT_TRUE(replica.Start(store).ok());             // and again after the store was opened anew, or lost what was not synced
//     replica.Stage(*round); ... replica.OnWritten(seq); replica.OnSynced(seq);      // TestBroker does it
//     for (raft::Message& m : replica.TakeSent()) ...
//
// Its state machine sums what it applies, keeps the sum beside the log, and CHECKs that entries come in order and once. Each Start
// is held against what the core had made durable.
//
// With flush=async, after a crash that took what was not synced:
//     if (replica.MayLackAcked(store)) {
//       ASSERT_TRUE(replica.Abstain(store).ok());         // then sync, then Start
//     }
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "raft/group_driver.h"
#include "raft/persisted_state.h"

namespace millrace {

class TestReplica : private raft::Transport, private raft::StateMachine, private raft::EntryReader {
 public:
  struct Options {
    raft::GroupId group;
    raft::ReplicaId self;
    raft::Flush flush = raft::Flush::kCommit;
    uint64_t seed = 1;
    raft::Config config;
    std::function<void(const raft::Entry&)> on_applied;
    std::function<void(const raft::Message&)> on_sent;
  };
  // Of a read.
  struct Answer {
    uint64_t id;
    bool ready;
    raft::LogIndex applied;  // by the state machine at that time

    bool operator==(const Answer&) const = default;
  };
  // What its core has in its log and beside it, as the store must have it after a restart; the commit index may be less there.
  struct Durable {
    raft::TermAndVote term_and_vote;
    raft::TermTable terms;
    raft::Offset end_offset;
    std::vector<raft::MembershipAt> memberships;

    std::string ToString() const;
  };
  // Of the state machine: what it has applied.
  struct Sum {
    raft::LogIndex index;
    uint64_t sum = 0;

    bool operator==(const Sum&) const = default;
    std::string Encode() const;  // as a snapshot's state
  };

  explicit TestReplica(const Options& options) : options_(options), random_(options.seed) {}

  // Written, not synced.
  static absl::Status Make(raft::LogStore& store, raft::GroupId group, const raft::Membership& membership);

  // kDataLoss, besides the driver's statuses: what the store has is none of the states that it may have.
  absl::Status Start(raft::LogStore& store);
  void Stop() { driver_.reset(); }
  // Says the store, which can be read.
  bool MayLackAcked(raft::LogStore& store) const;
  // Has the store say that what this replica acked may be lost. Written, not synced. Statuses as Start.
  absl::Status Abstain(raft::LogStore& store);
  // Also in later lives.
  void SetFlush(raft::Flush flush);
  bool running() const { return driver_ != nullptr; }
  raft::GroupDriver& driver() { return *driver_; }
  raft::Core& core() { return driver_->core(); }

  // As GroupDriver's; Stage also has the state machine's sum written, when it has changed.
  void Stage(raft::Round& round);
  void OnWritten(raft::RoundSeq round);
  void OnSynced(raft::RoundSeq round);
  // Reads what was asked of the reader, by a driver before this one too; whether anything was.
  bool AnswerReads();
  // Answers it with this.
  void FailReads(const absl::Status& status);

  std::vector<raft::Message> TakeSent() { return std::exchange(sent_, {}); }
  const std::vector<raft::Message>& sent() const { return sent_; }
  // Of the reader, and not answered.
  const std::vector<raft::EntryRead>& asked() const { return asked_; }
  const Sum& sum() const { return sum_; }
  // In this life.
  const std::vector<raft::EntryId>& applied() const { return applied_; }
  const std::vector<raft::RoleChange>& role_changes() const { return role_changes_; }
  const std::vector<raft::LogIndex>& truncations() const { return truncations_; }
  const std::vector<Answer>& reads() const { return reads_; }
  const std::vector<raft::Notice>& notices() const { return notices_; }
  const std::vector<raft::LogIndex>& passed_over() const { return passed_over_; }
  int installs() const { return installs_; }
  int cold_reads() const { return cold_reads_; }

  // All in its log, also as a crash may leave it.
  std::vector<raft::MembershipAt> Memberships() const;

  // Its snapshots stand for what is applied, instead of for what lies before the log.
  void SnapshotAtApplied() { snapshot_at_applied_ = true; }
  // It goes on behind committed entries that are damaged, instead of stopping.
  void PassOverDamage() { passes_over_damage_ = true; }

 private:
  void Send(raft::GroupId group, raft::Message message) override {
    if (options_.on_sent) options_.on_sent(message);
    sent_.push_back(std::move(message));
  }
  void Read(raft::GroupId group, const raft::EntryRead& read) override { asked_.push_back(read); }
  void Apply(const std::vector<raft::Entry>& entries) override;
  absl::Status ApplyDamaged(raft::LogIndex index, const absl::Status& damage) override;
  std::optional<Snapshot> MakeSnapshot() override;
  absl::Status Install(const raft::InstallSnapshot& snapshot, raft::Round& round) override;
  void OnTruncated(raft::LogIndex first_removed) override { truncations_.push_back(first_removed); }
  void OnRoleChange(const raft::RoleChange& change) override { role_changes_.push_back(change); }
  void OnReadAnswered(uint64_t id, bool ready) override { reads_.push_back({id, ready, sum_.index}); }
  void OnNotice(const raft::Notice& notice) override { notices_.push_back(notice); }

  absl::Status CheckRestored(const raft::PersistedState& found);

  Options options_;
  raft::SeededRandom random_;
  bool snapshot_at_applied_ = false;
  bool passes_over_damage_ = false;

  raft::LogStore* store_ = nullptr;
  std::optional<raft::GroupDriver::Seams> seams_;
  std::unique_ptr<raft::GroupDriver> driver_;
  Sum sum_;
  Sum stored_sum_;
  std::vector<raft::Message> sent_;
  std::vector<raft::EntryRead> asked_;
  std::vector<raft::EntryId> applied_;
  std::vector<raft::RoleChange> role_changes_;
  std::vector<raft::LogIndex> truncations_;
  std::vector<Answer> reads_;
  std::vector<raft::Notice> notices_;
  std::vector<raft::LogIndex> passed_over_;
  int installs_ = 0;
  int cold_reads_ = 0;

  bool staged_ = false;
  Durable taken_;  // when Stage last took something from the core
  // After each round: the first is surely on the disk, the others follow unless a crash takes them.
  std::vector<std::pair<raft::RoundSeq, Durable>> history_;
};

}  // namespace millrace
