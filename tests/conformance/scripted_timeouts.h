// Election timeouts of one node, for raft::Random. A transcript sets the timeout that is running, while our core draws it when
// the timer starts. So what a transcript will set is drawn ahead: up to a "set" command every timeout drawn is that command's.
// etcd's own are random until then, so a transcript cannot rest on any other.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

#include "raft/random.h"

namespace millrace::conformance {

class ScriptedTimeouts : public raft::Random {
 public:
  // `upcoming`: what the transcript will set, in ticks, each in [election_ticks, 2 * election_ticks).
  ScriptedTimeouts(int election_ticks, std::deque<int> upcoming)
      : election_ticks_(election_ticks), upcoming_(std::move(upcoming)) {}

  uint64_t Next() override {
    running_ = upcoming_.empty() ? 2 * election_ticks_ - 1 : upcoming_.front();
    return static_cast<uint64_t>(running_ - election_ticks_);
  }

  // The next "set" command is here. False: the timer has not been started since the one before, which asked for another.
  bool Reach() {
    const int wanted = upcoming_.front();
    upcoming_.pop_front();
    return running_ == wanted;
  }

 private:
  const int election_ticks_;
  std::deque<int> upcoming_;
  int running_ = 0;
};

}  // namespace millrace::conformance
