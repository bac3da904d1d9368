// One shard's way to the other brokers, and theirs to its groups.
//
//     ShardPeers peers(seams);
//     peers.Serve(groups, writer, [&](raft::GroupId group) -> ShardPeers& { … }, [](raft::BrokerId gone) { … });  // once they exist
//     peers.SetPeers(addresses);
//     peers.OnRoleChange(group, change);          // of a replica that lives here: who leads is told to everybody
//
// What peers send arrives on whatever executor their connection was given to, and goes to the shard of the group.
// Threads: the shard's executor. Ownership: everything in Seams outlives this.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "proto/wire/runtime.h"
#include "raft/ready.h"
#include "server/cluster_view.h"
#include "server/log_writer.h"
#include "server/multi_raft.h"
#include "server/peer_call.h"
#include "server/peer_links.h"

namespace millrace::server {

class ShardPeers : public PeerTransport, public PeerSink, private PeerLinks::Listener {
 public:
  struct Seams {
    PeerLinks::Options links;  // storage_progresses is filled in
    PeerPresence& presence;
    ClientTransport& transport;
    Executor& executor;
    const Clock& clock;
    Random& random;
    ClusterView& view;
  };

  explicit ShardPeers(const Seams& seams);
  ~ShardPeers() override { *self_ = nullptr; }

  // Before anything else. `shard_of`: which shard a group lives on. `on_presence`: hears of brokers that the
  // first shard reaches, or none any more.
  void Serve(MultiRaft& groups, LogWriter& writer, std::function<ShardPeers&(raft::GroupId)> shard_of,
             std::function<void(raft::BrokerId, bool alive)> on_presence);

  void SetPeers(const std::map<raft::BrokerId, PeerAddress>& peers) { links_.SetPeers(peers); }
  void Send(raft::GroupId group, raft::Message message) override { links_.Send(group, std::move(message)); }
  std::optional<size_t> UnsentBytes(raft::ReplicaId to) const override { return links_.UnsentBytes(to); }
  void OnRoleChange(raft::GroupId group, const raft::RoleChange& change);
  // The group is gone.
  void Forget(raft::GroupId group);

  // Counts. Any thread.
  struct Elections {
    Counter started;
    Counter won;
    Counter lost;  // leaderships
    Gauge leads;   // now
  };
  const Elections& elections() const { return elections_; }
  const PeerLinks::Messages& messages() const { return links_.messages(); }

  // PeerSink: from any shard's executor that a peer's connection lives on.
  void OnMessages(raft::ReplicaId from, std::vector<GroupMessage> messages) override;
  void OnLeaders(raft::ReplicaId from, std::vector<GroupLeader> leaders) override;
  void WhenReady(std::function<void()> read) override;

 private:
  void OnPeerUp(raft::ReplicaId peer) override;
  void OnPeerDown(raft::BrokerId peer) override;
  void OnDrained(raft::BrokerId peer) override { groups_->OnDrained(peer); }
  void OnLost(raft::ReplicaId to, raft::GroupId group) override;
  void Take(std::vector<GroupMessage> messages);
  void Tell(raft::GroupId group, raft::Term term);
  void TellLeaders();
  void CountRole(raft::GroupId group, raft::Role role);

  ClusterView& view_;
  Executor& executor_;
  MultiRaft* groups_ = nullptr;
  LogWriter* writer_ = nullptr;
  std::function<ShardPeers&(raft::GroupId)> shard_of_;
  std::function<void(raft::BrokerId, bool alive)> on_presence_;
  Elections elections_;
  std::set<raft::GroupId> campaigning_;
  std::map<raft::GroupId, raft::Term> led_;     // by this broker, on this shard
  std::map<raft::GroupId, raft::Term> untold_;  // news: of these, and of those that it led until then
  // What was deferred finds out through this whether the peers still exist.
  std::shared_ptr<ShardPeers*> self_;
  PeerLinks links_;  // its listener is all of the above
};

}  // namespace millrace::server
