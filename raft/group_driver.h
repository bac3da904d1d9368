// Drives one Core: takes what it wants done (raft/ready.h), has it written in rounds that all groups of a broker share, sends,
// applies, reads. No thread, no clock, no wait of its own; whoever owns it is its loop:
//
//     GroupDriver::Seams seams{store, transport, reader, random};    // of all groups of the loop
//     absl::StatusOr<std::unique_ptr<GroupDriver>> driver = GroupDriver::Open(config, {group, self}, machine, seams);
//     ...
//     driver->core().Step(message);                      // events: Step, Tick, Propose, …
//     for (GroupDriver* d : those_with_work) wrote |= d->Stage(*round);
//     absl::Status s = store.Write(*round);              // one for all groups
//     if (IsStalled(s)) ...                              // try again when it is over; until then Stage does nothing
//     for (GroupDriver* d : those_staged) d->OnWritten(seq);
//     store.Sync([=](absl::Status s) { Post([=] { for (d : those_awaiting) d->OnSynced(seq); }); });
//
// A call may give the core new effects: ask HasWork() after each.
//
// Order. All of a Ready goes into one round, Readies in their order; several may be written and not yet synced. Messages that
// must wait for the disk leave when their Ready and all before are durable: synced if the group's flush is kCommit or the Ready says
// must_sync, else written. What needs no write waits for nothing but its turn. While a staged Ready is not written (a stall) no
// other is taken, so nothing more is sent: to its peers a replica that cannot write falls silent.
// Threads: one at a time. The seams are called on it, within calls of this object, and call nothing of it but what they say.
// Ownership: config, state machine and seams outlive it. It may be destroyed at any time between calls: what was staged is written
// or not.
// Errors: a failed write or sync is final (OnFailed); the store's log is then in a state nobody knows, and the process must end.
// fatal() says that this replica has stopped: a message has proved that it and its leader contradict each other, or its log is
// damaged where it is needed. Its data stays, nothing leaves it any more, and all other groups go on.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "raft/core.h"
#include "raft/entry_reader.h"
#include "raft/log_store.h"
#include "raft/staged_log.h"
#include "raft/state_machine.h"
#include "raft/transport.h"

namespace millrace::raft {

// Rounds of a broker, numbered in the order in which they were written.
using RoundSeq = StrongInt<struct RoundSeqTag>;

// When entries are durable enough to be acked (ARCHITECTURE D9): on the disk, or written (they survive the process only).
enum class Flush : uint8_t { kCommit, kAsync };

class GroupDriver {
 public:
  struct Options {
    GroupId group;
    ReplicaId self;
    Flush flush = Flush::kCommit;
    // The state machine has applied this log's entries up to here: so they are committed, whatever was stored of that. What is
    // known to be committed behind them is applied first.
    LogIndex applied;
  };
  struct Seams {
    LogStore& store;
    Transport& transport;
    EntryReader& reader;
    Random& random;
  };

  // A replica as its store has it, all of which counts as durable (core.h, PersistedState); may block. Statuses:
  // LoadPersistedState, and kDataLoss if more is applied than the log has.
  static absl::StatusOr<std::unique_ptr<GroupDriver>> Open(const Config& config, const Options& options,
                                                           StateMachine& machine, const Seams& seams);
  GroupDriver(const GroupDriver&) = delete;
  GroupDriver& operator=(const GroupDriver&) = delete;

  // For its events, and to ask.
  Core& core() { return core_; }
  const Core& core() const { return core_; }

  // Whether Stage would do anything.
  bool HasWork() const;
  // Does all that the core wants done and can be done. True: something is in `round`, which the caller writes, and then says so.
  bool Stage(Round& round);
  // The round with what was staged is written. Its number is above all earlier ones.
  void OnWritten(RoundSeq round);
  // All rounds up to this one are on the disk.
  void OnSynced(RoundSeq round);
  // Whether OnSynced of some round already written is waited for.
  bool AwaitsSync() const;
  // A write or a sync failed.
  void OnFailed(absl::Status status);
  // Whether a read that was asked for is still to be answered.
  bool Awaits(uint64_t read) const;
  // Answers EntryReader::Read. Late answers are ignored.
  void OnRead(uint64_t id, absl::StatusOr<std::vector<Entry>> entries);

  // For what is staged from now on. From kAsync to kCommit: what is written is to be synced too (AwaitsSync); until then acks say that
  // they are not synced, and a leader counts copies that are written. Which it is the store knows (MayLackAcked).
  void SetFlush(Flush flush);
  // The log starts there once that is written, which waits until all that is applied now is durable here, and all that is known to
  // be committed then is applied. Not above what is applied; back is ignored. Whole segments below it go, and with them committed
  // entries without records right behind them.
  void SetLogStart(Offset log_start);

  LogIndex applied_index() const { return applied_; }
  // nullptr: it has not stopped.
  const Fatal* fatal() const { return fatal_.get(); }
  // Of OnFailed.
  const absl::Status& status() const { return failure_; }

 private:
  // Taken from the core, and not durable yet.
  struct InFlight {
    ReadySeq seq;  // 0: none; of earlier ones, or what the store is to know of the level
    bool needs_sync;
    std::optional<RoundSeq> written;  // in this round, or behind it
    LogIndex commit;
    std::vector<Message> send_after_persist;
  };
  struct LogStartMove {
    Offset log_start;
    LogIndex after;  // durable first
  };
  // Handed to the reader. For a member of the group, or for applying.
  struct PendingRead {
    uint64_t id;
    std::optional<EntryRequest> request;
  };

  GroupDriver(const Config& config, const Options& options, StateMachine& machine, const Seams& seams,
              PersistedState persisted);

  bool Works() const { return fatal_ == nullptr && failure_.ok(); }
  void TellStopped(const Ready& last);
  void FailReads(const Ready& ready);
  void Stop(Fatal::Kind kind, absl::string_view text);

  void Take(Ready ready, Round& round);
  bool Accept(const Ready& ready, Round& round);
  bool Refuse(const Ready& ready, Fatal::Kind kind, absl::string_view text);
  StagedLog& Log();
  bool LogStartIsDue() const;
  void StageLogStart(Round& round);
  void StageFlush(Round& round);
  void TellPrefixRemoved();
  void Tell(const Ready& ready);
  void Send(std::vector<Message>& messages);
  void Advance();

  void ApplyCommitted();
  void Apply(const std::vector<Entry>& entries);

  void Answer(const EntryRequest& request);
  std::optional<InstallSnapshot> MakeSnapshot();
  void Read(LogIndex first, LogIndex last, size_t bytes_max, std::optional<EntryRequest> request);
  bool IsReadingToApply() const;
  void OnReadToApply(absl::StatusOr<std::vector<Entry>> entries);

  // Ten thousand of these wait in a broker's memory: what is seldom there is made when needed, and goes with its use.
  const GroupId group_;
  StateMachine& machine_;
  const Seams& seams_;

  Core core_;

  std::unique_ptr<StagedLog> log_;   // with what is staged; none while nothing is
  std::vector<InFlight> in_flight_;  // oldest first; the written ones before the others
  RoundSeq synced_;
  RoundSeq last_written_;                    // of this group
  std::unique_ptr<LogStartMove> log_start_;  // to be staged
  LogIndex applied_;                         // <= committed_
  LogIndex committed_;                       // the core's, as far as it is written here
  std::vector<PendingRead> reads_;

  Flush flush_;
  bool flush_due_ = false;         // the store does not know it
  bool staged_ = false;            // something is in a round that is not written
  bool log_start_staged_ = false;  // in that round
  bool log_start_moved_ = false;   // it is written, and the core does not know
  bool apply_due_;                 // something was committed before the start

  std::unique_ptr<Fatal> fatal_;
  absl::Status failure_;
};

}  // namespace millrace::raft
