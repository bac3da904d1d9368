// The loop of a broker under test: replicas of several groups on one store, written in shared rounds with one sync for all.
//
//     TestBroker broker(store);
//     broker.Add(&replica);
//     while (broker.Turn() || broker.FinishSyncs()) {
//     }
//
// One thread; completions of the store's syncs, which may come on another, wait until FinishSyncs().
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "raft/log_store.h"
#include "tests/support/test_replica.h"

namespace millrace {

class TestBroker {
 public:
  explicit TestBroker(raft::LogStore& store) : store_(store) {}

  // The replica runs, and outlives its time here.
  void Add(TestReplica* replica) { replicas_.push_back(replica); }
  // Everybody stops; the next round is a new one.
  void StopAll();

  // Stages what there is and writes it. False: there was nothing, or the store takes no writes.
  bool Turn();
  // Asks for a sync of everything written, if anybody waits for one.
  void RequestSync();
  // Tells of syncs that were completed; whether there were any.
  bool FinishSyncs();

  const absl::Status& status() const { return status_; }  // of the last write
  raft::RoundSeq written() const { return seq_; }

 private:
  struct Completed {
    std::mutex mutex;
    std::vector<std::pair<raft::RoundSeq, absl::Status>> syncs;  // guarded by mutex
  };

  void Tell(absl::Status failure);

  raft::LogStore& store_;
  std::vector<TestReplica*> replicas_;
  std::unique_ptr<raft::Round> round_;
  raft::RoundSeq seq_;
  raft::RoundSeq sync_requested_;
  std::shared_ptr<Completed> completed_ = std::make_shared<Completed>();
  absl::Status status_;
};

}  // namespace millrace
