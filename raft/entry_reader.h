// Reads entries that are not in memory, apart from the thread that drives the group: a cold read may take a disk's time.
//
//     void Read(GroupId group, const EntryRead& read) override {
//       cold_thread.Post([=] {
//         auto entries = store.ReadEntries(group, read.first, read.last, read.bytes_max);
//         group_thread.Post([=] { if (auto* driver = Find(group)) driver->OnRead(read.id, std::move(entries)); });
//       });
//     }
//
// Threads: called by the thread that drives the group, within calls of its GroupDriver; never answers inline. Ownership: the read
// is named by group and id, so whoever answers looks for a driver that may be gone by then; a later one of the group ignores it.
// Each read is answered once.
// Failure: kDataLoss is final: the first entry asked for is damaged. The reader also checks records against payload_crc (this
// folder knows no checksums) and answers kDataLoss for what is not as its producer sent it: a corrupt copy is never served.
// Entries of other types have no payload_crc.
// Anything else means that the read may be tried again later.
#pragma once

#include <cstddef>
#include <cstdint>

#include "raft/types.h"

namespace millrace::raft {

// Entries first to last, of at most bytes_max bytes but at least one.
struct EntryRead {
  uint64_t id = 0;  // no other of the group has it, whichever driver asked
  LogIndex first;
  LogIndex last;
  size_t bytes_max = 0;
  ReplicaId to;  // the member they are for; kNoReplica: this replica itself, to apply them
};

class EntryReader {
 public:
  virtual ~EntryReader() = default;

  virtual void Read(GroupId group, const EntryRead& read) = 0;
  // Whether the way to a member takes more: else also what is in memory is asked for with Read, whose answer waits until it does.
  virtual bool HasRoom(ReplicaId to) const { return true; }
};

}  // namespace millrace::raft
