#include "raft/progress.h"

#include <algorithm>

#include "proto/wire/check.h"

namespace millrace::raft {

void Inflights::Add(LogIndex last, size_t bytes) {
  requests_.push_back({last, bytes});
  bytes_ += bytes;
}

void Inflights::FreeTo(LogIndex match) {
  while (head_ < requests_.size() && requests_[head_].last <= match) bytes_ -= requests_[head_++].bytes;
  if (head_ == requests_.size()) {
    requests_.clear();
    head_ = 0;
  } else if (head_ > requests_.size() / 2) {
    requests_.erase(requests_.begin(), requests_.begin() + static_cast<ptrdiff_t>(head_));
    head_ = 0;
  }
}

void Inflights::Clear() {
  std::vector<Request>().swap(requests_);
  head_ = bytes_ = 0;
}

void Progress::BecomeProbe() {
  // What the snapshot brought, if it arrived, is not known yet: ask behind it. A search for the place goes on where it was.
  if (state == State::kSnapshot) next = std::max(match, snapshot) + 1;
  if (state == State::kReplicate) next = match + 1;
  state = State::kProbe;
  snapshot = LogIndex(0);
  snapshot_requested = probe_sent = reading = false;
  inflights.Clear();
}

void Progress::BecomeReplicate() {
  state = State::kReplicate;
  next = match + 1;
  snapshot = LogIndex(0);
  snapshot_requested = probe_sent = reading = false;
  inflights.Clear();
}

void Progress::BecomeSnapshot(LogIndex index) {
  state = State::kSnapshot;
  snapshot = index;
  snapshot_waits = 0;
  snapshot_requested = probe_sent = reading = false;
  inflights.Clear();
}

bool Progress::Acked(LogIndex index) {
  if (index <= match) return false;
  match = index;
  next = std::max(next, match + 1);
  return true;
}

const char* ToString(Progress::State state) {
  switch (state) {
    case Progress::State::kProbe:
      return "probe";
    case Progress::State::kReplicate:
      return "replicate";
    case Progress::State::kSnapshot:
      return "snapshot";
  }
  MILLRACE_CHECK(false) << "not a state";
  return "";
}

}  // namespace millrace::raft
