#include "tests/raft_sim/network.h"

#include <algorithm>
#include <utility>

namespace millrace::raft::sim {
namespace {

constexpr int64_t kCalmDelay = 100;

}  // namespace

void Network::Send(int64_t now, Message message) {
  int from = static_cast<int>(message.from.broker.value());
  int to = static_cast<int>(message.to.broker.value());
  Link& l = link(from, to);
  if (l.cuts > 0) {
    ++dropped_;
    return;
  }
  if (healed_) {
    l.last_arrival = std::max(l.last_arrival, now + std::min(swarm_.delay, kCalmDelay));
    Schedule(l.last_arrival, std::move(message));
    return;
  }
  if (dice_.Chance(swarm_.replay_per_million)) {
    int64_t later = dice_.Between(5, 150) * kTick;
    Schedule(now + later, message);
  }
  if (dice_.Chance(swarm_.duplicate_per_million)) {
    int64_t later = dice_.LongTail(swarm_.delay * 2);
    Schedule(now + later, message);
  }
  if (dice_.Chance(swarm_.drop_per_million)) {
    ++dropped_;
    return;
  }
  int64_t delay = swarm_.Has(Fault::kSlowNetwork) ? dice_.LongTail(swarm_.delay) * 2
                                                  : dice_.Between(swarm_.delay / 2, swarm_.delay * 2);
  int64_t arrival = std::max(now + delay, l.clogged_until);
  if (!swarm_.Has(Fault::kReorder)) arrival = std::max(arrival, l.last_arrival);
  l.last_arrival = std::max(l.last_arrival, arrival);
  Schedule(arrival, std::move(message));
}

void Network::Schedule(int64_t time, Message message) {
  uint8_t to = static_cast<uint8_t>(message.to.broker.value());
  uint32_t slot = Store(std::move(message));
  queue_.Schedule(time, {.kind = EventKind::kDeliver, .broker = to, .what = slot});
}

uint32_t Network::Store(Message message) {
  if (free_.empty()) {
    slots_.push_back(std::move(message));
    return static_cast<uint32_t>(slots_.size() - 1);
  }
  uint32_t slot = free_.back();
  free_.pop_back();
  slots_[slot] = std::move(message);
  return slot;
}

Message Network::Take(uint32_t slot) {
  free_.push_back(slot);
  return std::exchange(slots_[slot], Message());  // messages() has it no more
}

void Network::Heal() {
  healed_ = true;
  for (Link& l : links_) l = {.last_arrival = 0};
}

}  // namespace millrace::raft::sim
