#include "tests/raft_sim/disk.h"

#include <algorithm>

namespace millrace::raft::sim {

void Disk::SetFirstMembership(const Membership& membership) {
  acked_.SetFirstMembership(membership);
  if (async_) synced_ = acked_;
}

bool Disk::BeginRound() {
  round_ = queue_.size();
  round_syncs_ =
      !async_ || std::any_of(queue_.begin(), queue_.end(), [](const Batch& batch) { return batch.must_sync; });
  return round_syncs_;
}

const char* Disk::FinishNext(Batch* batch) {
  if (async_ && round_syncs_) SyncWritten();
  const char* wrong = Ack(queue_.front(), round_syncs_);
  *batch = std::move(queue_.front());
  queue_.erase(queue_.begin());
  --round_;
  return wrong;
}

const char* Disk::Ack(const Batch& batch, bool synced) {
  const char* wrong = acked_.Apply(batch);
  if (!async_ || wrong || !batch.writes()) return wrong;
  if (synced) return synced_.Apply(batch);
  unsynced_.push_back(batch);
  unsynced_.back().send_after_persist.clear();
  return nullptr;
}

void Disk::SyncWritten() {
  for (const Batch& batch : unsynced_) synced_.Apply(batch);
  unsynced_.clear();
}

Disk::Loss Disk::Crash(Level level, Dice& dice) {
  Loss loss;
  round_ = 0;
  if (level == Level::kMachine && async_) {
    size_t kept = static_cast<size_t>(dice.UpTo(static_cast<int>(unsynced_.size()) + 1));
    loss.written = unsynced_.size() - kept;
    acked_ = synced_;
    for (size_t i = 0; i < kept; ++i) acked_.Apply(unsynced_[i]);
    unsynced_.clear();
    synced_ = acked_;
    // Nothing behind a lost batch survives.
    if (loss.written > 0) {
      loss.queued = queue_.size();
      queue_.clear();
      return loss;
    }
  }
  size_t kept =
      level == Level::kClean ? queue_.size() : static_cast<size_t>(dice.UpTo(static_cast<int>(queue_.size()) + 1));
  loss.queued = queue_.size() - kept;
  for (size_t i = 0; i < kept; ++i) Ack(queue_[i], false);
  queue_.clear();
  if (async_ && level != Level::kProcess) SyncWritten();
  return loss;
}

void Disk::SetAbstaining() {
  acked_.SetAbstaining();
  synced_ = acked_;
}

}  // namespace millrace::raft::sim
