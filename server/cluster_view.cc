#include "server/cluster_view.h"

#include <algorithm>
#include <utility>

namespace millrace::server {

ClusterView::ClusterView(raft::ReplicaId self, std::vector<ListedBroker> listed)
    : self_(self), listed_(std::move(listed)) {}

void ClusterView::SetAlive(const ShardPeers* shard, raft::BrokerId broker, bool alive) {
  std::lock_guard lock(mutex_);
  if (alive) {
    alive_[broker].insert(shard);
  } else if (const auto known = alive_.find(broker); known != alive_.end()) {
    known->second.erase(shard);
    if (known->second.empty()) alive_.erase(known);
  }
}

bool ClusterView::IsAlive(raft::BrokerId broker) const {
  if (broker == self_.broker) return true;
  std::lock_guard lock(mutex_);
  return alive_.contains(broker);
}

std::set<raft::ReplicaId> ClusterView::Reachable() const {
  std::set<raft::ReplicaId> reachable{self_};
  const auto image = image_.load();
  if (image == nullptr) return reachable;
  std::lock_guard lock(mutex_);
  for (const auto& [id, shards] : alive_) {
    if (const BrokerInfo* const broker = image->FindBroker(id)) reachable.insert(broker->id);
  }
  return reachable;
}

LeaderHintFrame FrameOf(const LeaderHint& leader) {
  return {static_cast<int32_t>(leader.broker.value()), leader.address, static_cast<int32_t>(leader.epoch.value())};
}

std::optional<LeaderHint> ClusterView::LeaderOf(raft::GroupId group) const {
  return HintTo(leaders_.Find(group).value_or(Leadership()));
}

std::optional<LeaderHint> ClusterView::LeaderOf(raft::GroupId group,
                                                const std::vector<raft::ReplicaId>& replicas) const {
  std::optional<Leadership> known = leaders_.Find(group);
  if (!known && replicas.size() == 1) known = Leadership{raft::Term(0), replicas.front().broker};
  return HintTo(known.value_or(Leadership()));
}

std::optional<LeaderHint> ClusterView::HintTo(const Leadership& leadership) const {
  if (leadership.broker == kNoBrokerId || !IsAlive(leadership.broker)) return std::nullopt;
  const auto image = image_.load();
  const BrokerInfo* const broker = image == nullptr ? nullptr : image->FindBroker(leadership.broker);
  return LeaderHint{leadership.broker, broker == nullptr ? PeerAddressOf(leadership.broker) : broker->address,
                    leadership.term};
}

std::string ClusterView::PeerAddressOf(raft::BrokerId broker) const {
  const auto listed = std::ranges::find(listed_, broker, &ListedBroker::id);
  if (listed != listed_.end()) return listed->address;
  const auto image = image_.load();
  const BrokerInfo* const known = image == nullptr ? nullptr : image->FindBroker(broker);
  return known == nullptr ? "" : known->address;
}

}  // namespace millrace::server
