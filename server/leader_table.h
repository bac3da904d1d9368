// Who leads which group, as far as this broker has heard: from its own replicas, and from the brokers that lead. Soft state: what is
// missing or late costs a client one more hop, never a record.
//
//     table.Learn(group, {term, broker});                 // an older term changes nothing
//     std::optional<Leadership> known = table.Find(group);
//
// Any thread.
#pragma once

#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "raft/types.h"

namespace millrace::server {

struct Leadership {
  raft::Term term;
  raft::BrokerId broker{-1};  // -1: nobody that is known; the term has no leader yet

  bool operator==(const Leadership&) const = default;
};

class LeaderTable {
 public:
  // True: it is news. Of one term only a leader is news, since a term has one.
  bool Learn(raft::GroupId group, const Leadership& leadership);
  std::optional<Leadership> Find(raft::GroupId group) const;
  void Forget(raft::GroupId group);

 private:
  mutable std::mutex mutex_;
  std::unordered_map<raft::GroupId, Leadership> known_;  // guarded by mutex_
};

}  // namespace millrace::server
