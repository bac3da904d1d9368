#include "server/peer_links.h"

#include "proto/wire/check.h"

namespace millrace::server {

PeerLinks::PeerLinks(Options options, PeerPresence& presence, ClientTransport& transport, Executor& executor,
                     const Clock& clock, Random& random, Listener& listener)
    : environment_{std::move(options.self), std::move(options.secret), transport, executor, clock},
      storage_progresses_(std::move(options.storage_progresses)),
      presence_(presence),
      clock_(clock),
      random_(random),
      listener_(listener),
      last_tick_(clock.Monotonic()),
      self_(std::make_shared<PeerLinks*>(this)) {
  watch_ = presence_.Watch(executor, [self = self_](const PeerPresence::Change& change) {
    if (*self != nullptr) (*self)->OnPresence(change);
  });
}

PeerLinks::~PeerLinks() {
  presence_.Unwatch(watch_);
  if (timer_ != 0) environment_.executor.Cancel(timer_);
  *self_ = nullptr;
}

void PeerLinks::SetPeers(const std::map<raft::BrokerId, PeerAddress>& peers) {
  std::erase_if(links_, [&](auto& entry) {
    const auto it = peers.find(entry.first);
    const bool stays =
        it == peers.end() ? came_.contains(entry.first) : Current(it->first, it->second) == entry.second->address();
    if (stays) return false;
    entry.second->Close();
    return true;
  });
  for (const auto& [broker, address] : peers) {
    came_.erase(broker);
    if (broker == environment_.self.life.replica.broker || links_.contains(broker)) continue;
    Open(broker, Current(broker, address));
    const PeerPresence::Heard heard = presence_.HeardSince(broker, clock_.Monotonic() - kPeerSilence);
    if (heard.alive) links_[broker]->OnPresence({.life = *heard.life, .here = true});
  }
}

void PeerLinks::Open(raft::BrokerId broker, const PeerAddress& address) {
  PeerLink::Owner& self = *this;
  auto& link = links_[broker] = std::make_unique<PeerLink>(environment_, broker, address, random_, self);
  link->Open();
  if (timer_ == 0) StartTimer();
}

void PeerLinks::Send(raft::GroupId group, raft::Message message) {
  MILLRACE_CHECK_EQ(message.from, environment_.self.life.replica);
  const raft::ReplicaId to = message.to;
  const auto link = links_.find(to.broker);
  if (link == links_.end() || link->second->connected() != to) return messages_.dropped.Add();
  // The link names both ends.
  message.from = message.to = raft::kNoReplica;
  if (link->second->Send(group, message)) return messages_.sent.Add();
  messages_.dropped.Add();
  NoteLost(to, group);
}

std::optional<size_t> PeerLinks::UnsentBytes(raft::ReplicaId to) const {
  const auto link = links_.find(to.broker);
  if (link == links_.end() || link->second->connected() != to) return std::nullopt;
  return link->second->unsent_bytes();
}

void PeerLinks::SendLeaders(const std::vector<GroupLeader>& leaders) {
  for (const auto& [broker, link] : links_) {
    if (!link->connected()) continue;
    for (const GroupLeader& leader : leaders) {
      if (!link->Send(leader)) break;
    }
  }
}

PeerAddress PeerLinks::Current(raft::BrokerId broker, PeerAddress known) const {
  const auto told = told_.find(broker);
  if (told != told_.end() && !known.listed) known.address = told->second;
  return known;
}

void PeerLinks::OnPresence(const PeerPresence::Change& change) {
  const raft::BrokerId broker = change.life.replica.broker;
  told_.erase(broker);
  if (change.here && !change.address.empty()) {
    told_[broker] = change.address;
    if (!links_.contains(broker)) {
      came_.insert(broker);
      Open(broker, {change.address, change.life.replica.incarnation});
    } else if (const PeerAddress now = Current(broker, links_[broker]->address()); now != links_[broker]->address()) {
      links_[broker]->Close();
      Open(broker, now);
    }
  }
  const auto link = links_.find(broker);
  if (link != links_.end()) link->second->OnPresence(change);
}

void PeerLinks::StartTimer() {
  timer_ = environment_.executor.After(kPeerHeartbeat, [this] { Tick(); });
}

void PeerLinks::Tick() {
  timer_ = 0;
  if (links_.empty()) return;
  StartTimer();
  const bool stalled = storage_progresses_ && !storage_progresses_();
  const std::chrono::nanoseconds since = std::exchange(last_tick_, clock_.Monotonic());
  for (const auto& [broker, link] : links_) link->Tick(presence_.HeardSince(broker, since), stalled);
}

void PeerLinks::Bury(std::unique_ptr<PeerStream> stream) {
  if (buried_.empty()) {
    environment_.executor.Defer([self = self_] {
      if (*self != nullptr) (*self)->buried_.clear();
    });
  }
  buried_.push_back(std::move(stream));
}

// The core that sends is on the stack.
void PeerLinks::NoteLost(raft::ReplicaId to, raft::GroupId group) {
  if (lost_.empty()) {
    environment_.executor.Defer([self = self_] {
      if (*self != nullptr) (*self)->TellLost();
    });
  }
  lost_.emplace(to, group);
}

void PeerLinks::TellLost() {
  for (const auto& [to, group] : std::exchange(lost_, {})) listener_.OnLost(to, group);
}

}  // namespace millrace::server
