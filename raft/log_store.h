// The durable logs of all groups of one broker, as the broker and the Raft runtime use them. storage/ implements it on
// RocksDB, tests in memory.
//
// Writing is in rounds: everything that all groups want to write is staged in one Round and goes down in one atomic write; one
// sync then covers every round written before it.
//
//     std::unique_ptr<Round> round = store.NewRound();
//     round->Append(group, std::move(entry));            // any number, any groups
//     round->SetTermAndVote(group, state);
//     absl::Status s = store.Write(*round);              // in the page cache: survives a crash of the process
//     store.Sync([](absl::Status s) { ... });            // on the disk, everything written before the call
//
// Threads: a group belongs to one writer thread at a time, which alone stages and writes its changes and calls the functions
// marked [writer]. Different groups may have different writers. [any] may be called by any thread at any time.
//
// Stalls: Create, Remove and Write never wait for the store's background work. When it is too far behind, they are refused with
// a status for which IsStalled() holds: nothing was written, nothing has changed. WhenWritable() tells when to try again:
//
//     if (IsStalled(store.Write(*round))) store.WhenWritable([&] { executor.Post(try_again); });
//
// Errors: a failed Write or Sync leaves the store unusable (what reached the disk is unknown): every later call fails with the
// same status and the process must stop. kDataLoss: a stored value is damaged; only that entry is affected (raft/damage.h tells
// which offsets are lost with it).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "raft/types.h"

namespace millrace::raft {

// When a segment is sealed and a new one begun.
struct SegmentLimits {
  int64_t bytes_max = 256 << 20;
  int64_t age_ms_max = 24 * 3600 * 1000;  // by append time
};

// The status of what was refused because of a stall, and of nothing else.
inline absl::Status StalledError() {
  return absl::ResourceExhaustedError(
      "the store takes no writes until its background work has caught up; nothing was "
      "written, trying again once it has is safe");
}
inline bool IsStalled(const absl::Status& status) { return absl::IsResourceExhausted(status); }

// Where a log begins: behind the entry `before`, which it does not have (any more), and of which it knows this. {} for a log that
// has lost nothing yet.
struct LogBegin {
  EntryId before;
  Offset end_offset;  // where `before` ended: base_offset of the first entry
  int64_t append_time = 0;
  uint32_t chain = 0;  // of `before`: what the first entry's continues

  bool operator==(const LogBegin&) const = default;
};

// Where a group's log stands, written rounds included.
struct LogState {
  LogBegin begin;
  LogIndex first_index{1};  // of the oldest entry kept: begin.before.index + 1
  LogIndex last_index{0};
  Term last_term;
  Offset log_start;  // oldest offset that may be read; may lie within an entry
  Offset log_end;    // next offset to be assigned
  int64_t last_append_time = 0;
  uint32_t chain = 0;  // of the last entry
  int64_t bytes = 0;   // of all entries kept
  TermAndVote term_and_vote;
  // What follows log_end is damaged, and where it ends is not known: entries may be read, but none appended, none cut and the
  // log start not moved (CHECKed). It can be removed.
  bool read_only = false;
};

// What retention decides by: segments go whole.
struct SegmentInfo {
  LogIndex first_index;
  Offset end_offset;  // a log start here or above removes it
  int64_t last_append_time = 0;
  int64_t bytes = 0;

  bool operator==(const SegmentInfo&) const = default;
};

// Changes of any number of groups, applied atomically. In the order staged.
class Round {
 public:
  virtual ~Round() = default;

  // The entry must follow the group's last one (index, base_offset: CHECKed). header.chain is set by the store.
  virtual void Append(GroupId group, Entry entry) = 0;
  // Removes all entries from `first_removed` on (a conflicting suffix). Never at or below the committed index (CHECKed).
  virtual void TruncateSuffix(GroupId group, LogIndex first_removed) = 0;
  // Drops all entries, so that the log goes on behind one that it never had (InstallSnapshot). The log start comes to
  // begin.end_offset: nothing below it can be read here. Term, vote and the values beside the log stay, and may be rewritten in
  // the same round. The chain is continued from begin.chain, so that it still tells whether two replicas hold the same.
  // Never before the committed index or the log start (CHECKed).
  virtual void Reset(GroupId group, const LogBegin& begin) = 0;
  virtual void SetTermAndVote(GroupId group, const TermAndVote& state) = 0;
  // Moves the log start forward; segments wholly below it are removed. Not past the log end (CHECKed); back is ignored.
  virtual void SetLogStart(GroupId group, Offset log_start) = 0;
  // Small values kept beside a group's log (producer table, membership) and removed with it.
  virtual void PutValue(GroupId group, std::string_view key, std::string_view value) = 0;
  virtual void DeleteValue(GroupId group, std::string_view key) = 0;

  virtual bool empty() const = 0;
  // Bytes of entries staged.
  virtual size_t bytes() const = 0;
};

class LogStore {
 public:
  virtual ~LogStore() = default;

  // Makes an empty log: written, not synced (the caller's next Sync covers a thousand of them). kAlreadyExists, or stalled.
  virtual absl::Status Create(GroupId group, const SegmentLimits& limits) = 0;
  // Removes logs with everything beside them, in one atomic write; those that do not exist are passed over. Readers in them
  // get kNotFound. Written, not synced; or stalled. A stalled round that changes one of them passes it over when it is written.
  virtual absl::Status Remove(const std::vector<GroupId>& groups) = 0;
  // All groups that exist. [any]
  virtual absl::StatusOr<std::vector<GroupId>> List() = 0;

  // Brings a log into memory, before any other use of it; cheap to call again. kNotFound. [writer]
  virtual absl::StatusOr<LogState> Open(GroupId group) = 0;
  // Of an open log, with what was written but not what is only staged. [writer]
  virtual LogState State(GroupId group) = 0;
  // Oldest first; the last one is being filled. [any]
  virtual std::vector<SegmentInfo> Segments(GroupId group) = 0;
  // Until the store closes: then those of Create hold again. [writer]
  virtual void SetLimits(GroupId group, const SegmentLimits& limits) = 0;

  virtual std::unique_ptr<Round> NewRound() = 0;  // [any]
  // Writes a round; it is empty afterwards and can be filled again. May be called inline: it waits neither for a sync nor for
  // background work. Stalled: the round keeps what is staged, can be filled further, and has to be written before any other
  // round of its groups. [writer] of every group in it.
  virtual absl::Status Write(Round& round) = 0;
  // Calls `retry` once, when what a stall refused is worth another try (which may be refused again), or has failed for good. On
  // any thread, and maybe before it returns; not any more once the store closes. [any]
  virtual void WhenWritable(std::function<void()> retry) = 0;
  // Calls `done` when everything written before this call is on the disk. `done` runs on a thread of the store. [any]
  virtual void Sync(std::function<void(absl::Status)> done) = 0;

  // Limits in bytes of these five count raft::MemoryCost: a million of small entries is much, too.

  // Entries from the one that holds `from`, from memory alone: fills `entries` with at most `bytes_max` bytes (but at least
  // one entry) that end at or before `end`. False when the position is not in memory: use Read. [writer]
  virtual bool ReadCached(GroupId group, Offset from, Offset end, size_t bytes_max, std::vector<Entry>* entries) = 0;
  // Entries from `first` on, as ReadEntries, from memory alone. False when `first` is not in memory. [writer]
  virtual bool ReadCachedEntries(GroupId group, LogIndex first, LogIndex last, size_t bytes_max,
                                 std::vector<Entry>* entries) = 0;
  // As ReadCached, from the disk; may block. kOutOfRange below the log start, kNotFound for a removed log, kDataLoss for a damaged
  // entry (entries before it are returned first; asked for it alone, the status). [any]
  virtual absl::StatusOr<std::vector<Entry>> Read(GroupId group, Offset from, Offset end, size_t bytes_max) = 0;
  // By index, for replication. [any]
  virtual absl::StatusOr<std::vector<Entry>> ReadEntries(GroupId group, LogIndex first, LogIndex last,
                                                         size_t bytes_max) = 0;
  // Term of an entry, or of begin.before. kOutOfRange. May block where a segment has several terms. [any]
  virtual absl::StatusOr<Term> TermAt(GroupId group, LogIndex index) = 0;
  // All that is known of an entry but its payload; may block. kOutOfRange, kDataLoss. [any]
  virtual absl::StatusOr<EntryHeader> HeaderAt(GroupId group, LogIndex index) = 0;
  // The same of the entry that holds `offset`. [any]
  virtual absl::StatusOr<EntryHeader> HeaderFor(GroupId group, Offset offset) = 0;
  // Base offset of the first entry whose max_timestamp is >= `timestamp`; the log end if none. May block. [any]
  virtual absl::StatusOr<Offset> OffsetForTime(GroupId group, int64_t timestamp) = 0;

  // All values beside a log. [any]
  virtual absl::StatusOr<std::vector<std::pair<std::string, std::string>>> Values(GroupId group) = 0;
};

}  // namespace millrace::raft
