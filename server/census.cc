#include "server/census.h"

#include <algorithm>
#include <utility>

#include "server/group_counts.h"
#include "server/log.h"
#include "server/shares.h"

namespace millrace::server {

Census::Census(Executor& executor, const std::vector<std::unique_ptr<Shard>>& shards, const ClusterView& view,
               WorkPool& pool)
    : executor_(executor), shards_(shards), view_(view), pool_(pool), self_(std::make_shared<Census*>(this)) {
  Look();
}

Census::~Census() {
  *self_ = nullptr;
  executor_.Cancel(timer_);
}

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
  LookForLeaders();
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

bool Census::Trouble::Changes(bool now) {
  const bool lasted = lasts();
  looks = now ? std::min(looks + 1, kLooks) : 0;
  return lasts() != lasted;
}

void Census::LookForLeaders() {
  const auto image = view_.image();
  if (image == nullptr) return;
  if (no_controller_.Changes(!view_.LeaderOf(kMetadataGroup))) {
    if (no_controller_.lasts()) {
      MILLRACE_LOG(
          kWarning,
          "the cluster has no controller that this broker reaches: topics cannot be made, and new producers do "
          "not begin, until a majority of those that keep its metadata reach each other",
          {"peers_up", view_.Reachable().size() - 1});
    } else {
      MILLRACE_LOG(kInfo, "the cluster has a controller again");
    }
  }
  // A walk over all partitions, so only where one may be without.
  const bool all_here = view_.Reachable().size() >= image->brokers().size();
  if (all_here && leaderless_.looks == 0) return;
  pool_.Submit([self = self_, &executor = executor_, &view = view_] {
    RunOn(executor, [self, partitions = SharesIn(view).of[view.self().broker].leaderless] {
      if (*self != nullptr) (*self)->OnLeaderless(partitions);
    });
  });
}

void Census::OnLeaderless(int32_t partitions) {
  if (!leaderless_.Changes(partitions > 0)) return;
  if (leaderless_.lasts()) {
    MILLRACE_LOG(kWarning,
                 "partitions have no leader: nothing can be written to them or read, until a majority of their "
                 "replicas reach each other",
                 {"partitions", partitions}, {"peers_up", view_.Reachable().size() - 1});
  } else {
    MILLRACE_LOG(kInfo, "all partitions have a leader again");
  }
}

}  // namespace millrace::server
