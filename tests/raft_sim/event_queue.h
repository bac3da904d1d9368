// What happens next: a heap of small events by time, and among equal times in the order in which they were scheduled.
//
//     queue.Schedule(now + 1000, {.kind = EventKind::kTick, .broker = 2, .life = 1});
//     Event event = queue.Pop();
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace millrace::raft::sim {

enum class EventKind : uint8_t {
  kDeliver,   // what: slot of the message in the network
  kTick,      // the node's timer
  kDisk,      // the round that the disk is busy with is over
  kDrain,     // a busy driver gets to its Readies
  kApply,     // a slow state machine has applied
  kAnswer,    // what: slot of an entry or snapshot request of the node
  kStart,     // the process starts again
  kResume,    // a paused process goes on
  kClient,    // the workload does something
  kFault,     // the next fault
  kFaultEnd,  // what: slot of the fault that ends
};

struct Event {
  EventKind kind;
  uint8_t broker = 0;
  uint32_t life = 0;  // of the node's process; events of an earlier one are void
  uint32_t what = 0;
};

class EventQueue {
 public:
  void Schedule(int64_t time, Event event) {
    heap_.push_back({time, next_order_++, event});
    std::push_heap(heap_.begin(), heap_.end(), Later);
  }
  bool empty() const { return heap_.empty(); }
  int64_t next_time() const { return heap_.front().time; }
  Event Pop() {
    std::pop_heap(heap_.begin(), heap_.end(), Later);
    Event event = heap_.back().event;
    heap_.pop_back();
    return event;
  }

 private:
  struct Item {
    int64_t time;
    uint64_t order;
    Event event;
  };
  static bool Later(const Item& a, const Item& b) { return a.time != b.time ? a.time > b.time : a.order > b.order; }

  std::vector<Item> heap_;
  uint64_t next_order_ = 0;
};

}  // namespace millrace::raft::sim
