#include "server/leader_table.h"

namespace millrace::server {

bool LeaderTable::Learn(raft::GroupId group, const Leadership& leadership) {
  std::lock_guard lock(mutex_);
  Leadership& known = known_[group];
  const bool names = leadership.broker.value() >= 0;
  if (leadership.term < known.term || (leadership.term == known.term && (!names || known.broker.value() >= 0))) {
    return false;
  }
  known = leadership;
  return true;
}

std::optional<Leadership> LeaderTable::Find(raft::GroupId group) const {
  std::lock_guard lock(mutex_);
  const auto found = known_.find(group);
  if (found == known_.end()) return std::nullopt;
  return found->second;
}

void LeaderTable::Forget(raft::GroupId group) {
  std::lock_guard lock(mutex_);
  known_.erase(group);
}

}  // namespace millrace::server
