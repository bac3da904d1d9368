// One node of a transcript: a core, its disk in memory, its state machine (which strings together what it applies) and the work
// that waits for its disk and its state machine.
//
//     Node node(1, options, start, timeouts, labels);
//     node.Campaign();
//     while (node.HasReady()) RETURN_IF_ERROR(node.ProcessReady(&network));
//
// A Ready is handled when the transcript says so, and in etcd's order: write, apply, send, and only then let the core know. With
// async_storage_writes, writing and applying wait for commands of their own, and so does the news that they are done.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "raft/core.h"
#include "raft/ready.h"
#include "tests/conformance/mail.h"
#include "tests/conformance/scripted_timeouts.h"
#include "tests/support/ready_log.h"

namespace millrace::conformance {

// etcd starts nodes at term 0, also those whose log begins behind an entry of term 1. Our core knows no log that is ahead of its
// term. So here all terms are one higher than in the transcript.
inline constexpr int64_t kTermsAhead = 1;
int64_t EtcdTerm(raft::Term term);

struct NodeOptions {
  raft::Config config;
  bool async_storage_writes = false;
  size_t committed_bytes_max = SIZE_MAX;  // applied at a time; one entry always
  bool validate_changes = true;
  bool lease_based_reads = false;
};

// Where the node's log begins: behind `last`, with this membership and this content. Nothing of it for a node that joins later.
struct NodeStart {
  raft::EntryId last;
  raft::Membership membership;
  std::string content;
};

// What etcd calls an entry that stands for a proposed change; all nodes share it.
using EntryLabels = std::map<raft::EntryId, std::string>;

class Node {
 public:
  Node(int64_t number, const NodeOptions& options, const NodeStart& start, ScriptedTimeouts timeouts,
       EntryLabels& labels);
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // ---- Commands

  bool HasReady() const;
  absl::Status ProcessReady(std::vector<Mail>* network);
  bool HasAppendWork() const { return written_ < writes_.size(); }
  void ProcessAppendThread(std::vector<Mail>* network);
  bool HasApplyWork() const { return !applies_.empty(); }
  void ProcessApplyThread(std::vector<Mail>* network);
  absl::Status Deliver(const Mail& mail);
  void Campaign();
  void ReportUnreachable(int64_t node);
  void ForgetLeader();
  // A follower passes these on to the leader with its next Ready. kAborted, with etcd's words: dropped.
  absl::Status Propose(const Proposal& proposal);
  void TransferLeadership(int64_t to_node);
  // kOutOfRange, with etcd's words: the log begins behind it already.
  absl::Status Compact(raft::LogIndex last_removed);
  void Tick(int ticks);
  bool ReachTimeout() { return timeouts_.Reach(); }

  // ---- State

  const raft::Core& core() const { return core_; }
  const NodeOptions& options() const { return options_; }
  int64_t number() const { return number_; }
  // As of the last Ready: what a transcript shows lags behind the core until then.
  const raft::Status& shown() const { return shown_; }
  const raft::ReadyLog& log() const { return log_; }    // as of the last Ready
  const raft::ReadyLog& disk() const { return disk_; }  // what is written
  bool has_had_snapshot() const { return has_had_snapshot_; }
  // The newest snapshot that the state machine can make: how far it has applied, and the membership in force there.
  const raft::InstallSnapshot& snapshot() const { return snapshot_; }

 private:
  struct Write {
    std::vector<raft::Ready> readies;
    raft::ReadySeq seq = {};  // all up to it are durable with this write
  };

  void TakeReadies();
  void Answer(const raft::Ready& ready);
  absl::Status AfterEvent(absl::Status status);
  raft::LogIndex ApplicableTo() const;
  raft::LogIndex NextApply() const;
  void Apply(raft::LogIndex last);
  void QueueWrite(Write write);
  void WriteOldest(std::vector<Mail>* network);
  void OnPersisted();
  bool MustWait(const Proposal& proposal) const;
  absl::Status ProposeOrPassOn(const Proposal& proposal);
  absl::Status ProposePostponed();
  absl::Status ProposeData(const Proposal& proposal);
  absl::Status ProposeChange(const Proposal& proposal);

  const int64_t number_;
  const NodeOptions options_;
  EntryLabels& labels_;
  ScriptedTimeouts timeouts_;
  raft::Core core_;

  std::vector<raft::Ready> taken_;  // from the core, to be handled when the transcript says so
  std::vector<Mail> outbox_;  // sent when it does: the taken Readys' messages, and what is passed on to the leader
  raft::ReadyLog taken_log_;  // with the taken Readys
  raft::ReadyLog log_;
  raft::ReadyLog disk_;
  raft::InstallSnapshot snapshot_;
  raft::Status shown_;
  bool has_had_snapshot_ = false;
  raft::LogIndex committed_;  // the core has said
  raft::LogIndex handed_;     // to the state machine; <= committed_

  std::deque<Write> writes_;  // not known to be durable
  size_t written_ = 0;        // so many of them are on the disk, and the news is under way
  std::deque<raft::LogIndex> applies_;
  std::deque<Proposal> postponed_;  // taken by this leader as soon as the core does
};

}  // namespace millrace::conformance
