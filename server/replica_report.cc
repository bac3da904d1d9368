#include "server/replica_report.h"

#include <algorithm>

namespace millrace::server {
namespace {

using raft::LogIndex;
using raft::Progress;

bool IsCaughtUp(const raft::Core& leader, const Progress& p) {
  if (p.id == leader.self()) return true;
  if (p.abstention != 0) return false;
  if (p.match >= leader.commit_index()) return true;
  return p.state == Progress::State::kReplicate && p.recent_active && p.next > leader.commit_index();
}

ReplicaReport ReportOf(const raft::Core& leader, const Progress& p, bool reachable) {
  const bool self = p.id == leader.self();
  return {.replica = p.id,
          .in_sync = reachable && IsCaughtUp(leader, p),
          .heard = self || p.match > LogIndex(0) || p.state != Progress::State::kProbe,
          .missing_from = (self ? leader.last_index() : p.match) + 1};
}

}  // namespace

std::vector<ReplicaReport> ReportReplicas(const raft::Core& leader, const std::set<raft::ReplicaId>& reachable) {
  std::vector<ReplicaReport> reports;
  for (const Progress& p : leader.progress()) reports.push_back(ReportOf(leader, p, reachable.contains(p.id)));
  if (!reports.empty()) return reports;
  for (const raft::ReplicaId& id : leader.membership().Members()) {  // quiet: all have everything
    reports.push_back({.replica = id, .in_sync = reachable.contains(id), .missing_from = leader.last_index() + 1});
  }
  return reports;
}

bool AllInSync(const raft::Core& leader, const std::set<raft::ReplicaId>& reachable) {
  return std::ranges::all_of(leader.progress(),
                             [&](const Progress& p) { return reachable.contains(p.id) && IsCaughtUp(leader, p); });
}

}  // namespace millrace::server
