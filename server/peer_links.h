// The way from this broker to all others, for everything that lives on one executor.
//
//     PeerLinks links({.self = identity, .secret = secret, .storage_progresses = [&] { return !store.stalled(); }}, presence,
//                     transport, executor, clock, random, listener);
//     links.SetPeers({{BrokerId(2), {"10.0.0.2:9470"}}, {BrokerId(3), {"10.0.0.3:9470"}}});
//     links.Send(group, std::move(message));       // to message.to, some time or never
//
// Messages of one turn of the executor leave together. AppendEntries and snapshots go by a connection of their own, in their
// order, so that nothing else ever waits behind them. Nothing grows while a peer is slow or gone: what is for a peer that is not
// connected is dropped at once, and what does not fit into its share (32 MiB of entries, 4 MiB of the rest) is dropped and told.
//
// Between brokers that have nothing to say a ping goes every 200 ms. A peer is up from when both have let the other in, until a
// connection breaks (a process that is killed is noticed at once), nothing is heard for a second, or its storage makes no progress
// for a second.
//
// Threads: the executor's only. Ownership: what is given by reference outlives the links; messages are encoded at once, payloads
// shared until they are sent. Errors: none are returned; connections are made again for ever, after pauses of 50 ms to 2 s.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "raft/transport.h"
#include "server/metrics.h"
#include "server/peer_link.h"

namespace millrace::server {

class PeerLinks : public raft::Transport, private PeerLink::Owner {
 public:
  struct Options {
    PeerIdentity self;  // with the id of its cluster
    PeerSecret secret;
    // Whether the storage makes progress: while it does not, peers are told not to count on this broker.
    std::function<bool()> storage_progresses;
  };

  // Hears on the executor; may send from there, but not change the peers.
  class Listener {
   public:
    virtual ~Listener() = default;
    // Soft state that was told to all may have to be told to this one again.
    virtual void OnPeerUp(raft::ReplicaId peer) = 0;
    // Whatever was under way to it may be lost.
    virtual void OnPeerDown(raft::BrokerId peer) = 0;
    // Something was sent to it, or its links are gone: see UnsentBytes.
    virtual void OnDrained(raft::BrokerId peer) = 0;
    // A message did not fit. Once a turn for each group, after the turn.
    virtual void OnLost(raft::ReplicaId to, raft::GroupId group) = 0;
  };

  PeerLinks(Options options, PeerPresence& presence, ClientTransport& transport, Executor& executor, const Clock& clock,
            Random& random, Listener& listener);
  ~PeerLinks() override;
  PeerLinks(const PeerLinks&) = delete;

  // All brokers of the cluster; this one is passed over. One whose address changed is connected anew, one that is missing is left,
  // unless it came here by itself: a broker that has just joined hears of the others in this way. While a peer that no list has is
  // here, it is looked for where it says it is: it may have moved, and nobody could tell the cluster otherwise.
  void SetPeers(const std::map<raft::BrokerId, PeerAddress>& peers);

  // From a replica of this broker. Dropped unless message.to, with this very disk, is connected.
  void Send(raft::GroupId group, raft::Message message) override;
  // To all that are connected. What does not fit is dropped.
  void SendLeaders(const std::vector<GroupLeader>& leaders);

  // Entries and snapshots that wait for this very disk to take them; nothing: it is not connected.
  std::optional<size_t> UnsentBytes(raft::ReplicaId to) const;

  // Of groups. Any thread.
  struct Messages {
    Counter sent;     // handed to a connection
    Counter dropped;  // there was none, or no room
  };
  const Messages& messages() const { return messages_; }

 private:
  void OnUp(raft::ReplicaId peer) override { listener_.OnPeerUp(peer); }
  void OnDown(raft::BrokerId peer) override { listener_.OnPeerDown(peer); }
  void OnDrained(raft::BrokerId peer) override { listener_.OnDrained(peer); }
  void Bury(std::unique_ptr<PeerStream> stream) override;

  void OnPresence(const PeerPresence::Change& change);
  void Open(raft::BrokerId broker, const PeerAddress& address);
  PeerAddress Current(raft::BrokerId broker, PeerAddress known) const;
  void StartTimer();
  void Tick();
  void NoteLost(raft::ReplicaId to, raft::GroupId group);
  void TellLost();

  const PeerEnvironment environment_;
  const std::function<bool()> storage_progresses_;
  PeerPresence& presence_;
  const Clock& clock_;
  Random& random_;
  Listener& listener_;

  Messages messages_;
  std::map<raft::BrokerId, std::unique_ptr<PeerLink>> links_;
  std::set<raft::BrokerId> came_;               // of these, those that SetPeers did not name
  std::map<raft::BrokerId, std::string> told_;  // addresses that those who are here gave of themselves
  std::vector<std::unique_ptr<PeerStream>> buried_;
  std::set<std::pair<raft::ReplicaId, raft::GroupId>> lost_;  // not told yet
  Executor::TimerId timer_ = 0;                               // while there are peers
  std::chrono::nanoseconds last_tick_;
  int watch_ = 0;
  // What comes later finds out through this whether the links still exist.
  std::shared_ptr<PeerLinks*> self_;
};

}  // namespace millrace::server
