// The Raft groups of one executor (ARCHITECTURE D4): their drivers, their clock, and the rounds in which all of them write.
//
//     MultiRaft groups(seams, config);
//     absl::StatusOr<MultiRaft::Group*> group = groups.Open({.driver = {.group = id, .self = self}}, machine);
//     groups.Touch(**group).Propose(std::move(entry));     // looked after before the executor waits for more
//     groups.Step(id, std::move(message));                 // from a peer
//
// A group that has something to do is staged with all others into the next round of the LogWriter; one write and one sync then
// serve all of them. Groups that are quiet (raft/core.h) cost nothing: the clock passes them over until something touches them. Where
// nothing happens and a group cannot go quiet all the same, because a member is away, its clock goes at a third of the pace.
//
// Threads: the executor's. Ownership: machines outlive their groups, everything in Seams outlives this.
// Errors: a replica that stops by itself (GroupDriver::fatal) is told in the log once and stays open, doing nothing; what its
// machine answers then is up to the machine.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/wire/runtime.h"
#include "raft/group_driver.h"
#include "server/batch_validation.h"
#include "server/catch_up_reads.h"
#include "server/cold_read_pacer.h"
#include "server/log_writer.h"
#include "server/work_pool.h"

namespace millrace::server {

class GroupMachine : public raft::StateMachine {
 public:
  // More of the log may be durable here (Core::stable_index).
  virtual void OnProgress() = 0;
};

// The way to other replicas, and how full it is.
class PeerTransport : public raft::Transport {
 public:
  // Entries and snapshots that wait to be sent; nothing: the replica is not connected.
  virtual std::optional<size_t> UnsentBytes(raft::ReplicaId to) const = 0;
};

class MultiRaft : public RoundSource, private raft::EntryReader {
 public:
  static constexpr std::chrono::milliseconds kTick{50};  // of the cores' clocks
  // A preferred leader is given back what others lead when it has been up for so long, some groups at a time.
  static constexpr std::chrono::seconds kGiveBackAfter{5};

  struct Seams {
    raft::LogStore& store;
    LogWriter& writer;
    Executor& executor;
    WorkPool& pool;
    ColdReadPacer& cold_reads;
    PeerTransport& peers;
    uint64_t seed;  // of election timeouts
  };

  struct Options {
    raft::GroupDriver::Options driver;
    // Who leads if it can: campaigns as soon as there is no leader and others can be reached, and is given the leadership back when
    // it has everything.
    raft::ReplicaId preferred;
    // raft::Config::commit_at_once: for groups whose members act on what is committed.
    bool commit_at_once = true;
    // Of entries from the disk; on any thread.
    bool (*is_intact)(const raft::Entry&) = IsIntact;
  };

  class Group {
   public:
    const raft::Core& core() const { return driver_->core(); }
    const raft::GroupDriver& driver() const { return *driver_; }

   private:
    friend class MultiRaft;
    std::unique_ptr<raft::GroupDriver> driver_;
    GroupMachine* machine_ = nullptr;
    raft::GroupId id_;
    bool (*is_intact_)(const raft::Entry&) = nullptr;
    raft::ReplicaId preferred_;
    int campaigns_left_ = 0;  // a tick apart, while there is no leader
    int idle_ticks_ = 0;      // since there was more than a heartbeat
    bool dirty_ = false;      // in MultiRaft::dirty_, and so on
    bool awaiting_ = false;
    bool ticking_ = false;
    bool stop_told_ = false;
  };

  explicit MultiRaft(const Seams& seams);
  ~MultiRaft() override;
  MultiRaft(const MultiRaft&) = delete;
  MultiRaft& operator=(const MultiRaft&) = delete;

  // Starts the replica that the store has; may block (raft/persisted_state.h). Statuses as GroupDriver::Open.
  absl::StatusOr<Group*> Open(const Options& options, GroupMachine& machine);
  // The group's machine hears nothing more; its log stays.
  void Close(raft::GroupId group);
  Group* Find(raft::GroupId group);

  // The core, for events. `bytes`: of what is about to be proposed.
  raft::Core& Touch(Group& group, size_t bytes = 0);
  void SetFlush(Group& group, raft::Flush flush);
  void SetLogStart(Group& group, raft::Offset log_start);

  // A message of a peer. For a group that is not here yet a question for its vote is kept; what else comes is passed over.
  void Step(raft::GroupId group, raft::Message message);
  // Preferred leaders that lacked it ask again.
  void OnPeerUp(raft::ReplicaId peer);
  // A message did not reach it.
  void OnLost(raft::ReplicaId to, raft::GroupId group);
  // Its link has sent something, or is gone.
  void OnDrained(raft::BrokerId broker) { catch_up_reads_.OnDrained(broker); }
  // The broker is gone, or was started again: whatever was on the way to it is lost, and nobody waits for it as a leader.
  void OnPeerLost(raft::BrokerId broker);

  // Gives the leaderships away to replicas that are up, as far as there are any; how many are left.
  size_t HandOver();

  size_t size() const { return groups_.size(); }
  // Those that are not quiet.
  void ForEachAwake(const std::function<void(raft::GroupId, const raft::Core&)>& visit) const;

 private:
  void Stage(raft::Round& round) override;
  void OnWritten(raft::RoundSeq round) override;
  void OnSynced(raft::RoundSeq round) override;
  raft::RoundSeq AwaitedSync() const override { return awaited_sync_; }
  void Read(raft::GroupId group, const raft::EntryRead& read) override;
  bool HasRoom(raft::ReplicaId to) const override { return catch_up_reads_.HasRoom(to); }

  raft::Core& Stir(Group& group, size_t bytes);
  bool SkipsTick(const Group& group) const;
  raft::ReplicaSet UpMembers(const Group& group) const;
  bool IsSuccessor(const Group& group) const;
  bool LacksLeader(const Group& group) const;
  void GiveBack(Group& group);
  void Balance();
  void MarkDirty(Group& group);
  void StartTicking(Group& group);
  void Await(Group& group, raft::RoundSeq round);
  void AfterEvents(Group& group);
  void Tick();
  void CampaignAgain(Group& group);
  void AdmitCold(raft::GroupId group, const raft::EntryRead& read);
  void ReadCold(raft::GroupId group, const raft::EntryRead& read, ColdReadPacer::Done told);
  void OnRead(raft::GroupId group, const raft::EntryRead& read, absl::StatusOr<std::vector<raft::Entry>> entries);
  void HandOn();

  const Seams seams_;
  const raft::Config config_, lazy_config_;  // with commit_at_once, and without
  raft::SeededRandom random_;
  const raft::GroupDriver::Seams driver_seams_;
  std::unordered_map<raft::GroupId, std::unique_ptr<Group>> groups_;
  // Of groups that others have been told of before this broker; the last of each, up to a number.
  std::unordered_map<raft::GroupId, raft::Message> early_votes_;
  std::vector<raft::GroupId> dirty_;     // have work, or had
  std::vector<raft::GroupId> staged_;    // in the round that is being written
  std::vector<raft::GroupId> awaiting_;  // a sync
  std::vector<raft::GroupId> ticking_;
  raft::RoundSeq awaited_sync_;
  CatchUpReads catch_up_reads_;
  std::vector<std::pair<raft::ReplicaId, size_t>> read_;    // for members; their links have it after the next Stage
  std::map<raft::ReplicaId, std::chrono::nanoseconds> up_;  // peers, and since when
  Executor::TimerId tick_ = 0;
  int64_t ticks_ = 0;
  Executor::TimerId balance_ = 0;     // while there are peers
  std::shared_ptr<MultiRaft*> self_;  // what comes back from the pool finds out through this whether it still exists
};

}  // namespace millrace::server
