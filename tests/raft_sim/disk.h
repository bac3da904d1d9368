// The disk under one replica. Batches are queued, written and synced in rounds (whatever was queued when the last round ended),
// and a crash keeps a prefix of whole batches: those that had reached the level it destroys, and by chance a few more.
//
//     disk.Queue(std::move(batch));
//     if (!disk.busy()) disk.BeginRound();            // the node schedules its end
//     while (disk.busy()) disk.FinishNext(&batch);    // at its end: `batch` is as durable as its Ready asked
//     CrashLoss loss = disk.Crash(Disk::Level::kMachine, dice);
//
// flush=commit: a batch is acked when it is synced. flush=async: when it is written, unless it must be synced; what was not synced
// survives a crash of the process and not of the machine.
#pragma once

#include <vector>

#include "tests/raft_sim/dice.h"
#include "tests/raft_sim/image.h"

namespace millrace::raft::sim {

class Disk {
 public:
  enum class Level : uint8_t {
    kClean,    // an orderly stop: nothing is lost
    kProcess,  // what was written stays
    kMachine,  // what was synced stays
  };
  struct Loss {
    size_t queued = 0;   // batches that nobody was told of
    size_t written = 0;  // batches that had been acked (flush=async only)
  };

  explicit Disk(bool async) : async_(async) {}

  // What the replica may tell others that it has.
  const Image& acked() const { return acked_; }
  // What a crash of the machine leaves at least.
  const Image& synced() const { return async_ ? synced_ : acked_; }
  bool busy() const { return round_ > 0; }
  bool idle() const { return queue_.empty(); }
  const std::vector<Batch>& queue() const { return queue_; }

  void SetFirstMembership(const Membership& membership);
  void Queue(Batch batch) { queue_.push_back(std::move(batch)); }
  // True if the round includes a sync.
  bool BeginRound();
  // nullptr or what is wrong with the batch.
  const char* FinishNext(Batch* batch);
  // The operating system writes back by itself, or a store is opened: what a process reads at its start it takes for durable, so
  // that must be (flush=async).
  void SyncWritten();
  Loss Crash(Level level, Dice& dice);
  void SetAbstaining();

 private:
  const char* Ack(const Batch& batch, bool synced);

  bool async_;
  Image acked_;
  Image synced_;                 // flush=async only
  std::vector<Batch> unsynced_;  // acked and not synced; flush=async only
  std::vector<Batch> queue_;     // not acked; the first round_ of them are being written
  size_t round_ = 0;
  bool round_syncs_ = false;
};

}  // namespace millrace::raft::sim
