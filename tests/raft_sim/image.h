// What one disk holds of a replica: the batches of Readies, applied one by one. Copyable, so that a machine can have one image of
// what was written and one of what was synced.
//
//     Image image;
//     if (const char* wrong = image.Apply(batch)) Fail(wrong);
//     Core core(config, group, self, image.ToState(), random);
#pragma once

#include <optional>
#include <vector>

#include "raft/core.h"
#include "tests/raft_sim/chain.h"

namespace millrace::raft::sim {

// The durable part of a Ready, with what waits for it.
struct Batch {
  ReadySeq seq;  // 0: the driver's own batch, no Ready's
  std::optional<InstallSnapshot> install;
  std::optional<LogIndex> truncate_from;
  std::vector<Entry> append;
  std::optional<TermAndVote> term_and_vote;
  std::optional<std::vector<MembershipAt>> memberships;
  std::optional<LogIndex> remove_prefix;  // the driver's own: the log begins behind this entry
  bool must_sync = false;
  // Within it the replica counted for a while, even if it abstains again at its end: then its answers need no mark.
  bool ended_abstaining = false;
  std::vector<Message> send_after_persist;

  bool writes() const {
    return install || truncate_from || !append.empty() || term_and_vote || memberships || remove_prefix;
  }
};

class Image {
 public:
  // nullptr, or which promise of raft/ready.h the batch breaks.
  const char* Apply(const Batch& batch);

  const Chain& chain() const { return chain_; }
  const TermAndVote& term_and_vote() const { return term_and_vote_; }
  const std::vector<MembershipAt>& memberships() const { return memberships_; }
  // In (before, last] of the chain.
  const Entry& EntryAt(LogIndex index) const {
    return entries_[head_ + static_cast<size_t>(index - chain_.before()) - 1];
  }

  void SetFirstMembership(const Membership& membership);
  // A disk that lied: what came behind `last` is gone, as if it had never been; and if a cut was made there, what it had cut off is
  // back instead. False when the image cannot stand so.
  bool Forget(LogIndex last);
  void SetAbstaining() { term_and_vote_.abstaining = true; }
  PersistedState ToState() const;
  // The state beside the log, for a member that is behind the log's start, with the newest committed membership as GroupDriver
  // sends it: of those that it has replaced none is kept.
  InstallSnapshot Snapshot(const MembershipAt& committed) const;

 private:
  const char* ApplyState(const Batch& batch);
  void Install(const InstallSnapshot& snapshot);
  void RemovePrefix(LogIndex before);
  void Cut(LogIndex first_removed);

  TermAndVote term_and_vote_;
  std::vector<MembershipAt> memberships_;
  Chain chain_;
  std::vector<Entry> entries_;  // from head_ on, those of the chain
  size_t head_ = 0;
  std::vector<Entry> cut_;  // what the newest cut removed; the log holds what is before it
};

}  // namespace millrace::raft::sim
