// One broker's replica: its process, its disk, and the driver between them, which does what raft/ready.h says in the order that it
// says, and can be crashed between any two steps of it.
//
// Events reach it through On() and Deliver(). After each, the driver takes what Readies there are (or, busy, takes them later),
// and the invariants look at what has changed.
#pragma once

#include <array>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "raft/core.h"
#include "tests/raft_sim/conduct.h"
#include "tests/raft_sim/disk.h"
#include "tests/raft_sim/event_queue.h"
#include "tests/raft_sim/invariants.h"
#include "tests/raft_sim/network.h"
#include "tests/raft_sim/observer.h"

namespace millrace::raft::sim {

struct World;

// Where in the handling of a Ready the process dies.
enum class Step : uint8_t { kBeforeWrite, kBeforeSend, kBeforeApply, kBeforeReply, kAfterReply, kOnceApplied, kNone };

class Node {
 public:
  Node(World& world, int broker);

  ReplicaId id() const { return id_; }
  int broker() const { return static_cast<int>(id_.broker.value()); }
  bool up() const { return core_.has_value(); }
  bool paused() const { return paused_; }
  uint32_t life() const { return life_; }
  Core& core() { return *core_; }
  const Core& core() const { return *core_; }
  Disk& disk() { return disk_; }
  const Disk& disk() const { return disk_; }
  const Chain& chain() const { return chain_; }
  LogIndex applied() const { return applied_; }
  bool leads() const { return up() && seen_.role == Role::kLeader; }
  const Glance& seen() const { return seen_; }
  // The term in which it learnt that this entry is committed: a busy driver may look when the core has gone further.
  Term LearntIn(LogIndex index) const;
  // Its process has a disk that answers.
  bool healthy() const { return up() && !paused_ && !disk_stalled_; }
  // When its disk answers for what it is doing.
  int64_t round_ends() const { return round_ends_; }
  // Has lost what it acked, and nobody knows.
  bool forgetful() const { return !disk_.acked().chain().Holds(forgotten_); }
  // May have lost what it acked, by its disk.
  bool abstaining() const { return disk_.acked().term_and_vote().abstaining; }
  bool must_mark() const { return abstaining() && !counted_; }

  void Start();
  // Dies, leaving on the disk what `level` leaves.
  void Stop(Disk::Level level);
  // Dies, and its disk with it: the broker comes back as another replica.
  void Wipe();
  void Pause() { paused_ = true; }
  void Resume();
  void CrashAt(Step step) { crash_at_ = step; }
  void StallDisk(int64_t until) { disk_stalled_until_ = until; }
  void SlowDisk(int factor) { disk_factor_ = factor; }
  // Dies, and what its disk had of the log behind `last` is gone unnoticed (flush=commit).
  void ForgetBehind(LogIndex last);
  void FailDisk() { disk_fails_ = true; }
  // No fault any more from within.
  void Calm() {
    crash_at_ = Step::kNone;
    disk_fails_ = false;
  }
  void TickNow();

  void On(const Event& event);
  void Deliver(Message message);

  // Of the workload.
  absl::StatusOr<EntryId> Propose(Entry entry);
  absl::Status ProposeMembership(const std::vector<MembershipChange>& changes, const Core::MembershipOptions& options);
  absl::Status ReadIndex(uint64_t id);
  absl::Status TransferLeadership(ReplicaId to);
  void Campaign();

  // A read that it took was neither answered nor refused.
  bool owes_read() const { return !reads_.empty(); }

  std::string Dump() const;

 private:
  struct Question {  // of the core to the store
    std::optional<EntryRequest> entries;
    ReplicaId snapshot_for;
    Term term;
    std::optional<std::vector<Entry>> read_early;
    std::optional<InstallSnapshot> snapshot_early;
    bool answered = true;
  };

  void Tick();
  void AnswerRead(uint64_t id);
  void HearBrokers();
  void RemovePrefix();
  void NoteCommit();
  void Settle();
  void Drain();
  void Perform(Ready ready);
  void Remember(const Ready& ready);
  void Queue(Ready& ready);
  void BeginRound();
  void FinishRound();
  bool FinishBatch();
  void TellPersisted();
  void SendAll(std::vector<Message>& messages);
  void TakeCommitted(const Ready& ready);
  void Apply();
  void Ask(const Ready& ready);
  InstallSnapshot MakeSnapshot() const;
  void Answer(uint32_t slot);
  std::vector<Entry> Read(const EntryRequest& request);
  void Look();
  bool Dies(Step step);

  World& world_;
  ReplicaId id_;
  SeededRandom timeouts_;
  Disk disk_;
  Observer observer_;
  Conduct conduct_;

  // Of the process.
  std::optional<Core> core_;
  Chain chain_;  // the core's log, as its Readies tell
  Glance seen_;
  std::vector<EntryId> learnt_;  // commit indexes not looked at yet, with the term in which each was learnt; rising
  LogIndex applied_;
  LogIndex to_apply_;
  std::vector<Question> questions_;
  std::set<uint64_t> reads_;                        // that wait for their answer
  std::vector<Event> missed_;                       // while paused
  std::array<int, kBrokersMax> silent_{};           // ticks since a broker was heard of
  std::array<uint32_t, kBrokersMax> heard_life_{};  // its process then
  std::array<ReplicaId, kBrokersMax> heard_id_{};   // its replica then
  uint32_t life_ = 0;
  bool paused_ = false;
  bool missed_tick_ = false;
  bool drain_scheduled_ = false;
  bool apply_scheduled_ = false;
  bool apply_due_ = false;
  bool prefix_queued_ = false;
  ReadySeq untold_{0};    // of what is on the disk; 0: the core knows of all
  bool counted_ = false;  // what is being sent may have been said while it did not abstain

  // Faults.
  Step crash_at_ = Step::kNone;
  int64_t tick_length_;
  int64_t disk_stalled_until_ = 0;
  int64_t round_ends_ = 0;
  bool disk_stalled_ = false;
  bool disk_fails_ = false;
  EntryId forgotten_;  // the log's end before its disk forgot
  int disk_factor_ = 1;
};

}  // namespace millrace::raft::sim
