#include "server/cluster_view.h"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

constexpr raft::BrokerId kPeer{2};

// Each shard has connections of its own, and one may break alone.
TEST(ClusterView, APeerIsAliveAsLongAsAnyShardReachesIt) {
  ClusterView view({raft::BrokerId(1), 1}, {});
  const auto* const first = reinterpret_cast<const ShardPeers*>(1);
  const auto* const second = reinterpret_cast<const ShardPeers*>(2);
  EXPECT_FALSE(view.IsAlive(kPeer));
  view.SetAlive(first, kPeer, true);
  view.SetAlive(second, kPeer, true);
  view.SetAlive(first, kPeer, false);
  EXPECT_TRUE(view.IsAlive(kPeer));
  view.SetAlive(first, kPeer, false);
  EXPECT_TRUE(view.IsAlive(kPeer));
  view.SetAlive(second, kPeer, false);
  EXPECT_FALSE(view.IsAlive(kPeer));
}

}  // namespace
}  // namespace millrace::server
