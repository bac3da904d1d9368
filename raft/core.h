// One replica of one Raft group as a state machine: no I/O, no clock, no thread. Events go in, a Ready with effects comes out;
// equal events give equal effects. README.md has the contract with the driver and the reduction to the Raft thesis.
//
//     Core core(config, group, self, persisted, random);
//     core.Tick();                         // or Step(message), Propose(entry), …: any number
//     while (core.HasReady()) {
//       Ready ready = core.TakeReady();
//       store.Write(ready);
//       network.Send(ready.send_now);
//       machine.Apply(ready.committed);        // a range of the log; then, at once or later, OnApplied(its last index)
//       clients.Answer(ready.reads_ready, ready.reads_failed);
//       store.Read(ready.entry_requests);      // each is answered, later, by OnEntries(); snapshot_requests by OnSnapshot()
//       store.Sync([&, seq = ready.seq, messages = std::move(ready.send_after_persist)] {
//         network.Send(messages);
//         core.OnPersisted(seq);
//       });
//     }
//
// The whole of it, with what else a Ready may ask for: ready.h; GroupDriver does it.
//
// Units: time is counted in ticks of the driver, sizes in bytes of payload and entry header (MemoryCost, types.h).
// Thread safety: none; a core belongs to one thread at a time. Cores share only `config` and `random`, which outlive them; `random` is
// one thread's.
// Errors: a contradiction in the replica's own state CHECKs with a dump; one that a message proves is Ready.fatal, after which
// the core does nothing more. Statuses say whether something has happened: every status that is not OK means that nothing has.
//
// A replica that may have lost what it acked abstains (ARCHITECTURE D9): core_abstaining.cc says how, and how that ends.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "raft/entry_tail.h"
#include "raft/membership.h"
#include "raft/messages.h"
#include "raft/progress.h"
#include "raft/random.h"
#include "raft/ready.h"
#include "raft/term_table.h"
#include "raft/types.h"

namespace millrace::raft {

struct Config {
  int election_ticks = 10;  // followers wait [election_ticks, 2 * election_ticks) for a leader
  int heartbeat_ticks = 1;  // < election_ticks
  // A leader whose oldest write takes longer steps down if others vote, a follower does not campaign. 0: never.
  int stall_ticks = 20;
  int quiesce_ticks = 20;  // idle for so long, a group whose members all have everything goes quiet; 0: never
  size_t append_bytes_max = 1 << 20;    // of one AppendEntries; one entry may be larger
  size_t inflight_messages_max = 256;   // to one member
  size_t inflight_bytes_max = 8 << 20;  // to one member
  // Of what is not committed, and of what is not durable here: proposals beyond it are refused; one is always taken.
  size_t uncommitted_bytes_max = 64 << 20;
  // Members learn of each commit by a message of its own. false: with the next entries or heartbeat, for half the messages.
  bool commit_at_once = true;
  size_t reads_max = 1 << 16;      // that wait; more are refused
  int64_t promotion_lag_max = 64;  // entries a learner may lag behind the commit index when it becomes a voter
  // Both on in the product: alone, each leaves a cluster without a leader in some partial partition (README, rule 11). Off only
  // to run other implementations' test cases.
  bool pre_vote = true;
  bool check_quorum = true;
  // A leader that a committed membership leaves out steps down (thesis 4.2.2). Off only to run other implementations' test cases:
  // it then leads on without counting itself.
  bool step_down_on_removal = true;
};

// What the store holds when a replica starts: all of it durable. Where a store may give back what was written and not synced (a
// replica opened anew in a running process), it is synced first: the core takes what it reads here for promises that are kept.
// Everything up to term_and_vote.commit_index counts as applied.
struct PersistedState {
  TermAndVote term_and_vote;
  TermTable terms;    // of the log, from the entry before its first one on
  Offset end_offset;  // base_offset of the next entry
  int64_t last_append_time = 0;
  std::vector<MembershipAt>
      memberships;             // as last given in Ready::memberships; or the one the group is made with, at index 0
  bool unsynced_acks = false;  // the driver's: acks may have left before what they ack was synced (flush=async)
};

struct Status {
  Role role = Role::kFollower;
  Term term;
  ReplicaId voted_for;
  ReplicaId leader;
  LogIndex commit;
  LogIndex last;
  bool quiet = false;
};

class Core {
 public:
  // `persisted` CHECKed for consistency. No membership means: not a member yet, waits to hear from a leader.
  Core(const Config& config, GroupId group, ReplicaId self, PersistedState persisted, Random& random);
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // ---- Events

  // Time has passed. Does nothing (and need not be called) while quiet().
  void Tick();
  // A message arrived. kInvalidArgument: malformed or for another replica, and ignored. Stale ones are ignored with OK.
  absl::Status Step(Message message);
  // Appends to the leader's log; takes type, record_count, timestamps, payload_crc and payload from `entry`, the rest is set
  // here. OK means appended, not committed: if another (term, index) commits at that place, it was lost.
  // kFailedPrecondition: not the leader (ask leader()). kUnavailable: leadership is being transferred. kResourceExhausted: too
  // much is uncommitted; try again when some has been.
  absl::StatusOr<EntryId> Propose(Entry entry);
  // Starts a change: one at a time, through a joint configuration when more than one voter changes. No changes: leave a joint
  // configuration that was entered with auto_leave = false. New voters must be caught-up learners.
  // kFailedPrecondition: not the leader, a change is under way, a voter would be behind, or nothing would change. kUnavailable:
  // leadership is being transferred, or nothing of the term is committed yet; try again. kInvalidArgument: no voter would be left, or
  // one is to be promoted.
  struct MembershipOptions {
    enum class Joint : uint8_t { kWhenNeeded, kAlways };
    Joint joint = Joint::kWhenNeeded;
    bool auto_leave = true;
    bool catch_up_first = true;  // false: a new voter may be empty (a first start by hand, other people's test cases)
  };
  absl::StatusOr<EntryId> ProposeMembership(const std::vector<MembershipChange>& changes,
                                            const MembershipOptions& options);
  absl::StatusOr<EntryId> ProposeMembership(const std::vector<MembershipChange>& changes) {
    return ProposeMembership(changes, MembershipOptions());
  }
  // Asks for a linearizable read: `id` comes back in reads_ready or reads_failed. kFailedPrecondition: not the leader.
  // kResourceExhausted: reads_max wait already.
  absl::Status ReadIndex(uint64_t id);
  // Hands leadership to a voter; proposals are refused meanwhile; given up after an election timeout. kFailedPrecondition.
  absl::Status TransferLeadership(ReplicaId to);
  // A follower stops protecting its leader: it votes for others, and hears of its leader anew. Nothing to other roles.
  void ForgetLeader();
  // Starts an election now (with a pre-vote if configured); nothing unless a voter that is not the leader.
  void Campaign();

  // Everything in the Ready of this number and of all before it is durable.
  void OnPersisted(ReadySeq seq);
  // What durable means from here on, also of what has been said to be: synced (as at the start) or only written (flush=async). Acks
  // tell it, and while it means synced a leader counts no copy that is only written.
  void SetSynced(bool synced);
  // The driver has applied up to `index`, at most what Ready::committed has said.
  void OnApplied(LogIndex index);
  // Answers an EntryRequest: entries from its `first` on, maybe fewer; none when the store no longer has the first one or could
  // not read it (asked again later, or a snapshot if the log begins behind it by then).
  void OnEntries(const EntryRequest& request, std::vector<Entry> entries);
  // Answers a snapshot request; nothing: it could not be made, tried again later.
  void OnSnapshot(ReplicaId to, std::optional<InstallSnapshot> snapshot);
  // The transport lost touch with a replica's broker, or it restarted: what was on the way is lost, a leader there is not waited
  // for. Wakes the group.
  void OnUnreachable(ReplicaId id);
  // Entries below `first_index` are gone from the store (retention); only what is committed and durable here may go.
  void OnPrefixRemoved(LogIndex first_index);
  // The driver may not go on with this replica: a last Ready says that it does not lead and fails its reads, then nothing more.
  void Stop();
  // The timers run again. Any message other than the one that made it quiet does this by itself.
  void Wake();

  // ---- Effects

  bool HasReady() const;
  Ready TakeReady();

  // ---- What is known

  Status status() const;
  ReplicaId self() const { return self_; }
  Role role() const;
  Term term() const { return state_.term; }
  ReplicaId leader() const;
  LogIndex commit_index() const { return state_.commit_index; }
  LogIndex applied_index() const { return applied_; }
  LogIndex stable_index() const { return stable_; }
  LogIndex last_index() const { return terms_.last_index(); }
  Offset end_offset() const { return tail_.end_offset(); }
  int64_t last_append_time() const { return last_append_time_; }
  const TermTable& terms() const { return terms_; }
  const Membership& membership() const { return memberships_.back().membership; }
  const std::vector<MembershipAt>& memberships() const { return memberships_; }
  const TermAndVote& term_and_vote() const { return state_; }
  bool abstaining() const { return state_.abstaining; }
  bool synced() const { return synced_; }
  // Of a leader: all that is committed is on the disks of a majority, and not only written there. False: it is not known.
  bool commit_is_synced() const;
  bool quiet() const { return quiet_; }
  // Of a leader: one per member, itself included, in the order of ids; also of those on their way out, until that is committed.
  // Empty otherwise, and while the group is quiet: then all have everything.
  const std::vector<Progress>& progress() const;

  // Everything, in a few lines.
  std::string Dump() const;

 private:
  // The role, with what only it has.
  struct Follower {
    ReplicaId leader;
  };
  struct Candidate {
    bool pre_vote = false;
    std::map<ReplicaId, VoteReply> votes;
  };
  struct PendingRead {
    uint64_t id;
    uint64_t round;
    LogIndex index;
  };
  struct Leader {
    std::vector<Progress> progress;  // sorted by id, one for each of RecipientsOfLog()
    LogIndex first_of_term;
    bool some_leave = false;  // progress has replicas that the membership, not yet committed, leaves out
    bool unanimous = false;   // elected with marked votes
    uint64_t next_request = 1;
    int heartbeat_elapsed = 0;
    int idle_ticks = 0;
    // Reads wait for the first commit of the term (round 0 until then), for a majority's answer to their round, and for apply.
    uint64_t read_round = 0;
    bool read_round_due = false;
    std::vector<PendingRead> reads;
    ReplicaId transfer_to;
    int transfer_elapsed = 0;
    Inflights uncommitted;       // proposals
    LogIndex confirmed;          // committed by a majority that does not abstain; 0: not known
    bool commit_synced = false;  // what a majority has up to the commit index is on its disks
  };
  // A Ready taken and not known to be durable.
  struct Writing {
    ReadySeq seq;
    LogIndex last;       // its log ends here; lowered when a later Ready cuts that off
    bool term_and_vote;  // it holds a term or vote
    uint64_t tick;       // when it was taken
  };

  // core.cc: term rules, dispatch, effects.
  absl::Status CheckWellFormed(const Message& m) const;
  bool HandleOtherTerm(const Message& m);
  void Handle(const Message& m, AppendEntries& body);
  void Handle(const Message& m, const AppendReply& body);
  void Handle(const Message& m, const Heartbeat& body);
  void Handle(const Message& m, const HeartbeatReply& body);
  void Handle(const Message& m, const VoteRequest& body);
  void Handle(const Message& m, const VoteReply& body);
  void Handle(const Message& m, const InstallSnapshot& body);
  void Handle(const Message& m, const TimeoutNow& body);
  template <typename Body>
  Message To(ReplicaId to, Body body) const {
    return {.from = self_, .to = to, .term = state_.term, .body = std::move(body)};
  }
  void Reply(ReplicaId to, AppendReply reply);
  template <typename Body>
  void ReplyOnceTermIsDurable(ReplicaId to, Body body);
  bool TermIsDurable() const;
  // Behind what was sent before, in the place of an older one of its kind: while a driver takes nothing (its store is stalled),
  // heartbeats, their answers and refusals must not pile up. A vote that was given stays.
  void SendNewest(std::vector<Message>& messages, Message m);
  bool KeepsQuiet(const Message& m) const;
  // False: `from` cannot be the leader of this term, Ready.fatal says so.
  bool FollowLeader(const Message& m);
  bool ContradictsCommitted(EntryId id) const;
  // The last index that the request proves to be the leader's.
  LogIndex AppendToLog(const Message& m, AppendEntries& body);
  void AppendOne(Entry entry);
  void TruncateLog(LogIndex first_removed, Offset end_offset);
  void ResetLog(const InstallSnapshot& snapshot);
  void Fail(Fatal::Kind kind, const Message& m, std::string_view what);
  void Notify(Notice::Kind kind, ReplicaId replica = kNoReplica, LogIndex index = LogIndex(0));
  void CommitTo(LogIndex index);
  bool DiskIsStalled() const;
  Ready& Next();
  void CheckInvariants() const;

  // core_election.cc: roles and votes (thesis 3.4, 3.10, 4.2.3, 6.2, 9.6).
  void BecomeFollower(Term term, ReplicaId leader);
  void BecomeCandidate(bool pre_vote, bool transfer);
  void BecomeLeader(bool unanimous);
  void RecordVote(ReplicaId voter, const VoteReply& vote);
  void ResetElectionTimer();
  bool LeaderIsAlive() const;
  bool CanCampaign() const;
  bool AllVotersGrant(const Candidate& candidate) const;
  void TickElection();
  void TickLeader();
  bool QuorumIsActive();
  void SetTerm(Term term);

  // core_replication.cc: the leader's side of the log (thesis 3.5, 3.6, 10.2).
  void AppendOwn(Entry entry);
  bool ReplicateTo(Progress& p);
  bool OwesCommit(const Progress& p) const;
  void SendEntries(Progress& p, std::vector<Entry> entries);
  void SendHeartbeats();
  void AdvanceCommit();
  LogIndex AckedByMajority();
  LogIndex DurableAt(const Progress& p) const;
  void ReplicateToAll();
  void RequestSnapshot(Progress& p);
  void SendTimeoutNow(ReplicaId to);
  void StartReadRound();
  void OnAcked(Progress& p, const AppendReply& reply);
  void OnRefused(Progress& p, const AppendReply& reply);
  Progress* Find(ReplicaId id);
  void ReleaseReads();
  void FailReads();
  bool MayGoQuiet() const;
  void GoQuiet();

  // core_abstaining.cc: what may be lost does not count (ARCHITECTURE D9); the replica's side, and the leader's.
  void SetAbstaining(bool abstaining);
  void BeToldToAbstain();
  void NoteConfirmed(const Confirmed& confirmed, LogIndex agreed);
  void MaybeEndAbstaining();
  void NoteAbstaining(Progress& p, uint64_t abstention, LogIndex last);
  void ForgetAcks(Progress& p, LogIndex last);
  void OnLostDurability(Progress& p, const AppendReply& reply);

  // core_membership.cc: changes (thesis 4).
  EntryId AppendMembership(Membership membership);
  ReplicaSet RecipientsOfLog() const;
  std::shared_ptr<const Membership> CommittedMembership() const;
  void TakeFirstMembership(const AppendEntries& request);
  void UpdateProgress();
  void TellCommit();
  void AdvanceMembership();
  bool IsCaughtUp(const Progress& p) const;
  absl::Status CheckCaughtUp(const std::vector<MembershipChange>& changes);
  void PruneMemberships();

  // Given at construction.
  const Config& config_;
  const GroupId group_;
  const ReplicaId self_;
  Random& random_;
  const uint64_t life_;

  // Persistent: each change goes into the next Ready.
  TermAndVote state_;                      // commit_index <= last_index()
  std::vector<MembershipAt> memberships_;  // rising index; all but the first lie above the commit index
  TermTable terms_;                        // of the whole log
  EntryTail tail_;                         // the entries not yet durable here; ends at last_index()

  // Positions.
  LogIndex stable_;           // durable here up to this entry; <= last_index(), may trail the commit index
  bool synced_ = true;        // and what durable means
  LogIndex applied_;          // told by the driver; <= committed_given_
  LogIndex committed_given_;  // handed out for applying; <= commit index
  int64_t last_append_time_ = 0;

  std::variant<Follower, Candidate, Leader> role_;
  uint64_t ticks_ = 0;
  int election_elapsed_ = 0;          // ticks since a leader was heard of; of a leader: since the quorum was checked
  int election_timeout_ = 0;          // drawn anew with each role change
  bool needed_as_candidate_ = false;  // though no voter by its own memberships; until a leader is heard of
  bool quiet_ = false;
  bool stopped_ = false;  // after Ready.fatal or Stop()

  bool told_to_abstain_ = false;  // by a leader, in this life: once is enough, whatever arrives late
  uint64_t abstention_ = 0;       // names this time of abstaining; 0 exactly when state_.abstaining is not set
  // Of the abstaining replica: the index that ends it, once durable here. 0: not known.
  LogIndex confirmed_;

  // Effects since the last TakeReady.
  std::unique_ptr<Ready> next_;   // made when needed: a quiet group has none
  std::unique_ptr<Ready> spare_;  // the last one, empty: a busy group makes none anew
  LogIndex taken_;                // entries up to here are in an earlier Ready; lowered by a truncation
  bool term_and_vote_dirty_ = false;
  bool memberships_dirty_ = false;
  bool role_dirty_ = false;
  bool send_due_ = false;         // a leader may have something for its members
  LogIndex commit_taken_;         // the commit index last given for storing
  std::vector<Writing> writing_;  // oldest first
  ReadySeq last_seq_;
};

}  // namespace millrace::raft
