// What a broker knows of the others: where they are, which answer, and who leads what. Soft state, for answers and hints: what is
// missing or late costs a client one more hop, never a record.
//
//     view.SetImage(image);
//     view.Learn(group, {term, broker});                         // true: it is news
//     if (const auto leader = view.LeaderOf(group)) … leader->broker, leader->address, leader->epoch
//
// Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proto/wire/frames.h"
#include "server/introduction.h"
#include "server/leader_table.h"
#include "server/metadata_image.h"

namespace millrace::server {

class ShardPeers;

struct LeaderHint {
  raft::BrokerId broker;
  std::string address;  // advertised
  raft::Term epoch;
};
LeaderHintFrame FrameOf(const LeaderHint& leader);

class ClusterView {
 public:
  // `listed`: --cluster, with the addresses that brokers are to use among themselves.
  ClusterView(raft::ReplicaId self, std::vector<ListedBroker> listed);

  void SetImage(std::shared_ptr<const MetadataImage> image) { image_.store(std::move(image)); }
  // Null before the first.
  std::shared_ptr<const MetadataImage> image() const { return image_.load(); }

  // As one of this broker's shards finds, each of which has a connection of its own.
  void SetAlive(const ShardPeers* shard, raft::BrokerId broker, bool alive);
  // As far as any connection tells; this broker is.
  bool IsAlive(raft::BrokerId broker) const;
  // The same of the disks that take part; of a broker whose disk is another one now, only that.
  std::set<raft::ReplicaId> Reachable() const;

  bool Learn(raft::GroupId group, const Leadership& leadership) { return leaders_.Learn(group, leadership); }
  void Forget(raft::GroupId group) { leaders_.Forget(group); }
  // Nothing: nobody that is alive.
  std::optional<LeaderHint> LeaderOf(raft::GroupId group) const;
  // The same of a partition: one that has a single replica is led by it, started or not.
  std::optional<LeaderHint> LeaderOf(raft::GroupId group, const std::vector<raft::ReplicaId>& replicas) const;

  // Where brokers reach it; empty: not known.
  std::string PeerAddressOf(raft::BrokerId broker) const;
  raft::ReplicaId self() const { return self_; }
  const std::vector<ListedBroker>& listed() const { return listed_; }

 private:
  std::optional<LeaderHint> HintTo(const Leadership& leadership) const;

  const raft::ReplicaId self_;
  const std::vector<ListedBroker> listed_;
  std::atomic<std::shared_ptr<const MetadataImage>> image_;
  LeaderTable leaders_;
  mutable std::mutex mutex_;
  std::map<raft::BrokerId, std::set<const ShardPeers*>> alive_;  // for whom, never nobody; guarded by mutex_
};

}  // namespace millrace::server
