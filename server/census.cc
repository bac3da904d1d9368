#include "server/census.h"

#include <utility>

#include "server/group_counts.h"
#include "server/log.h"

namespace millrace::server {

Census::Census(Executor& executor, const std::vector<std::unique_ptr<Shard>>& shards, const ClusterView& view)
    : executor_(executor), shards_(shards), view_(view) {
  Look();
}

Census::~Census() { executor_.Cancel(timer_); }

void Census::Look() {
  timer_ = executor_.After(kPeriod, [this] { Look(); });
  for (const auto& shard : shards_) {
    RunOn(shard->executor, [&shard = *shard, &view = view_] {
      const GroupCounts counts = CountGroups(shard.groups, view.Reachable());
      shard.metrics.raft_groups.Set(counts.hosted);
      shard.metrics.raft_groups_quiet.Set(counts.quiet);
      shard.metrics.under_replicated.Set(counts.under_replicated);
    });
  }
  LogMoves();
}

void Census::LogMoves() {
  uint64_t won = 0, lost = 0;
  int64_t leads = 0;
  for (const auto& shard : shards_) {
    won += shard->peers.elections().won.Value();
    lost += shard->peers.elections().lost.Value();
    leads += shard->peers.elections().leads.Value();
  }
  const uint64_t gained = won - std::exchange(won_, won);
  const uint64_t given = lost - std::exchange(lost_, lost);
  const auto image = view_.image();
  if (gained + given == 0 || image == nullptr || image->brokers().size() < 2) return;
  MILLRACE_LOG(kInfo, "leaderships have moved", {"gained", gained}, {"lost", given}, {"leads", leads});
}

}  // namespace millrace::server
