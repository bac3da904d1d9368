#include "server/peer_presence.h"

#include <utility>

namespace millrace::server {

using std::chrono::nanoseconds;

bool PeerPresence::IsTaken(const PeerLife& life) const {
  std::lock_guard lock(mutex_);
  const auto it = peers_.find(life.replica.broker);
  return it != peers_.end() && it->second->life != life && it->second->heard.load() > clock_.Monotonic() - kPeerSilence;
}

std::unique_ptr<PeerPresence::Visit> PeerPresence::Enter(const PeerLife& life, const std::string& address) {
  std::lock_guard lock(mutex_);
  std::shared_ptr<Peer>& peer = peers_[life.replica.broker];
  if (peer == nullptr || peer->life != life) {
    if (peer != nullptr) peer->outlived.store(true);
    peer = std::make_shared<Peer>(life, address);
  }
  ++peer->visits;
  return std::make_unique<Visit>(*this, peer);
}

void PeerPresence::Leave(Peer& peer, bool was_alive) {
  std::lock_guard lock(mutex_);
  --peer.visits;
  if (peer.outlived.load()) return;
  if (was_alive) Tell({.life = peer.life, .address = peer.address, .here = false});
  if (peer.visits == 0) peers_.erase(peer.life.replica.broker);
}

void PeerPresence::Tell(const Change& change) {
  for (const auto& [watch, watching] : watching_) {
    watching.executor->Post([on_change = watching.on_change, change] { on_change(change); });
  }
}

PeerPresence::Heard PeerPresence::HeardSince(raft::BrokerId broker, nanoseconds time) const {
  std::lock_guard lock(mutex_);
  const auto it = peers_.find(broker);
  if (it == peers_.end()) return {};
  const Peer& peer = *it->second;
  return {.life = peer.life, .any = peer.heard.load() >= time, .alive = peer.alive.load() >= time};
}

std::optional<int64_t> PeerPresence::ClockOffsetOf(raft::BrokerId broker) const {
  std::lock_guard lock(mutex_);
  const auto it = peers_.find(broker);
  return it == peers_.end() ? std::nullopt : it->second->clock_offset.Value();
}

int PeerPresence::Watch(Executor& executor, Watcher on_change) {
  std::lock_guard lock(mutex_);
  watching_.emplace(++last_watch_, Watching{&executor, std::move(on_change)});
  return last_watch_;
}

void PeerPresence::Unwatch(int watch) {
  std::lock_guard lock(mutex_);
  watching_.erase(watch);
}

// That a connection is given up long after it carried anything is no news.
PeerPresence::Visit::~Visit() { presence_.Leave(*peer_, heard_ > presence_.clock_.Monotonic() - kPeerSilence); }

void PeerPresence::Visit::Announce(bool alive, bool unheard) {
  Heard(alive);
  std::lock_guard lock(presence_.mutex_);
  presence_.Tell({.life = peer_->life, .address = peer_->address, .here = true, .unheard = unheard});
}

void PeerPresence::Visit::Heard(bool alive, UnixMillis sent_at) {
  heard_ = presence_.clock_.Monotonic();
  peer_->heard.store(heard_);
  if (alive) peer_->alive.store(heard_);
  if (sent_at == 0) return;
  std::lock_guard lock(presence_.mutex_);
  peer_->clock_offset.Add(sent_at, presence_.clock_.Wall(), heard_);
}

}  // namespace millrace::server
