// The network between the brokers: one link per direction and pair, each with its own delay, cuts and clogs. Messages lie in slots
// that are used again; delivering moves them out.
//
//     network.Send(now, std::move(message));           // schedules kDeliver, or drops it
//     Message message = network.Take(event.what);
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "raft/messages.h"
#include "tests/raft_sim/dice.h"
#include "tests/raft_sim/event_queue.h"
#include "tests/raft_sim/faults.h"

namespace millrace::raft::sim {

inline constexpr int kBrokersMax = 7;

class Network {
 public:
  Network(const Swarm& swarm, EventQueue& queue, Dice& dice) : swarm_(swarm), queue_(queue), dice_(dice) {}

  void Send(int64_t now, Message message);
  Message Take(uint32_t slot);
  const Message& Peek(uint32_t slot) const { return slots_[slot]; }

  bool Connected(int from, int to) const { return link(from, to).cuts == 0; }
  // Cuts are counted: a link that two faults cut needs both to end.
  void Cut(int from, int to) { ++link(from, to).cuts; }
  void Mend(int from, int to) { --link(from, to).cuts; }
  // What is sent until then arrives after it.
  void Clog(int from, int to, int64_t until) { link(from, to).clogged_until = until; }
  // No fault from now on: no loss, no doubles, no cuts, short delays, in order.
  void Heal();

  // Those under way; others are empty.
  const std::vector<Message>& messages() const { return slots_; }
  uint64_t dropped() const { return dropped_; }

 private:
  struct Link {
    int cuts = 0;
    int64_t clogged_until = 0;
    int64_t last_arrival = 0;
  };
  Link& link(int from, int to) { return links_[static_cast<size_t>(from * kBrokersMax + to)]; }
  const Link& link(int from, int to) const { return links_[static_cast<size_t>(from * kBrokersMax + to)]; }
  uint32_t Store(Message message);
  void Schedule(int64_t time, Message message);

  const Swarm& swarm_;
  EventQueue& queue_;
  Dice& dice_;
  std::array<Link, kBrokersMax * kBrokersMax> links_;
  std::vector<Message> slots_;
  std::vector<uint32_t> free_;
  bool healed_ = false;
  uint64_t dropped_ = 0;
};

}  // namespace millrace::raft::sim
