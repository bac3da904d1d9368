#include "server/shard_peers.h"

#include <utility>

#include "server/identity.h"
#include "server/log.h"

namespace millrace::server {
namespace {

PeerLinks::Options WithProgress(PeerLinks::Options options, LogWriter*& writer) {
  options.storage_progresses = [&writer] { return writer == nullptr || writer->progresses(); };
  return options;
}

// A leader leads no more; that of a later term is not known yet.
void EndLeadership(ClusterView& view, raft::GroupId group, const Leadership& was) {
  const auto known = view.LeaderOf(group);
  if (!known || known->broker != was.broker || known->epoch != was.term) return;
  view.Forget(group);
  view.Learn(group, {was.term});
}

}  // namespace

ShardPeers::ShardPeers(const Seams& seams)
    : view_(seams.view),
      executor_(seams.executor),
      self_(std::make_shared<ShardPeers*>(this)),
      links_(WithProgress(seams.links, writer_), seams.presence, seams.transport, seams.executor, seams.clock,
             seams.random, *this) {}

void ShardPeers::Serve(MultiRaft& groups, LogWriter& writer, std::function<ShardPeers&(raft::GroupId)> shard_of,
                       std::function<void(raft::BrokerId, bool alive)> on_presence) {
  groups_ = &groups;
  writer_ = &writer;
  shard_of_ = std::move(shard_of);
  on_presence_ = std::move(on_presence);
}

// ---- What peers send

void ShardPeers::OnMessages(raft::ReplicaId, std::vector<GroupMessage> messages) {
  std::map<ShardPeers*, std::vector<GroupMessage>> by_shard;
  for (GroupMessage& message : messages) by_shard[&shard_of_(message.group)].push_back(std::move(message));
  for (auto& [shard, theirs] : by_shard) {
    if (shard->executor_.OnThread()) {
      shard->Take(std::move(theirs));
    } else {
      shard->executor_.Post([shard = shard, theirs = std::move(theirs)]() mutable { shard->Take(std::move(theirs)); });
    }
  }
}

void ShardPeers::Take(std::vector<GroupMessage> messages) {
  for (GroupMessage& each : messages) {
    if (each.message.to != view_.self()) continue;  // for a replica that this broker was once
    groups_->Step(each.group, std::move(each.message));
    writer_->FlushIfLarge();
  }
}

void ShardPeers::OnLeaders(raft::ReplicaId from, std::vector<GroupLeader> leaders) {
  for (const GroupLeader& leader : leaders) {
    if (leader.broker == kNoBrokerId) {
      EndLeadership(view_, leader.group, {leader.term, from.broker});
    } else {
      view_.Learn(leader.group, {leader.term, leader.broker});
    }
  }
}

// What was received waits in the round while the store stalls.
void ShardPeers::WhenReady(std::function<void()> read) {
  writer_->stalled() ? writer_->AfterStall(std::move(read)) : read();
}

// ---- Who is there

void ShardPeers::OnPeerUp(raft::ReplicaId peer) {
  if (!view_.IsAlive(peer.broker)) on_presence_(peer.broker, true);
  view_.SetAlive(this, peer.broker, true);
  untold_ = led_;
  TellLeaders();
  groups_->OnPeerUp(peer);
}

void ShardPeers::OnPeerDown(raft::BrokerId peer) {
  view_.SetAlive(this, peer, false);
  groups_->OnPeerLost(peer);
  if (!view_.IsAlive(peer)) on_presence_(peer, false);
}

void ShardPeers::OnLost(raft::ReplicaId to, raft::GroupId group) { groups_->OnLost(to, group); }

// ---- Who leads

void ShardPeers::OnRoleChange(raft::GroupId group, const raft::RoleChange& change) {
  view_.Learn(group, {change.term, change.leader.broker});
  CountRole(group, change.role);
  if (change.role == raft::Role::kLeader) {
    led_[group] = change.term;
    return Tell(group, change.term);
  }
  const auto led = led_.extract(group);
  if (led.empty()) return;
  EndLeadership(view_, group, {led.mapped(), view_.self().broker});
  Tell(group, led.mapped());
}

void ShardPeers::Tell(raft::GroupId group, raft::Term term) {
  if (untold_.empty()) {
    executor_.Defer([self = self_] {
      if (*self != nullptr) (*self)->TellLeaders();
    });
  }
  untold_[group] = term;
}

// Before led_ is changed. A vote of one is won before anybody hears that it began.
void ShardPeers::CountRole(raft::GroupId group, raft::Role role) {
  if (role == raft::Role::kCandidate && campaigning_.insert(group).second) elections_.started.Add();
  if (role == raft::Role::kLeader) {
    if (!campaigning_.contains(group)) elections_.started.Add();
    elections_.won.Add();
    if (!led_.contains(group)) elections_.leads.Add(1);
  } else if (led_.contains(group)) {
    elections_.lost.Add();
    elections_.leads.Add(-1);
  }
  if (role != raft::Role::kCandidate) campaigning_.erase(group);
}

void ShardPeers::Forget(raft::GroupId group) {
  campaigning_.erase(group);
  if (led_.contains(group)) elections_.leads.Add(-1);
  led_.erase(group);
  untold_.erase(group);
  view_.Forget(group);
}

void ShardPeers::TellLeaders() {
  std::vector<GroupLeader> leaders;
  for (const auto& [group, term] : untold_) {
    leaders.push_back({group, term, led_.contains(group) ? view_.self().broker : kNoBrokerId});
  }
  untold_.clear();
  if (!leaders.empty()) links_.SendLeaders(leaders);
}

}  // namespace millrace::server
