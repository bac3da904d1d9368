#include "tests/support/test_broker.h"

#include <algorithm>
#include <utility>

namespace millrace {

void TestBroker::StopAll() {
  for (TestReplica* replica : replicas_) replica->Stop();
  replicas_.clear();
  round_.reset();
  completed_ = std::make_shared<Completed>();
  sync_requested_ = seq_;
}

bool TestBroker::Turn() {
  if (round_ == nullptr) round_ = store_.NewRound();
  for (TestReplica* replica : replicas_) replica->Stage(*round_);
  if (round_->empty()) return false;
  status_ = store_.Write(*round_);
  if (raft::IsStalled(status_)) return false;
  if (!status_.ok()) {
    Tell(status_);
    return false;
  }
  ++seq_;
  for (TestReplica* replica : replicas_) replica->OnWritten(seq_);
  return true;
}

void TestBroker::RequestSync() {
  if (sync_requested_ == seq_) return;
  if (std::none_of(replicas_.begin(), replicas_.end(), [](TestReplica* r) { return r->driver().AwaitsSync(); })) return;
  sync_requested_ = seq_;
  store_.Sync([completed = completed_, seq = seq_](absl::Status status) {
    std::lock_guard lock(completed->mutex);
    completed->syncs.emplace_back(seq, std::move(status));
  });
}

bool TestBroker::FinishSyncs() {
  std::vector<std::pair<raft::RoundSeq, absl::Status>> syncs;
  {
    std::lock_guard lock(completed_->mutex);
    syncs.swap(completed_->syncs);
  }
  for (const auto& [seq, status] : syncs) {
    if (!status.ok()) Tell(status);
    for (TestReplica* replica : replicas_) {
      if (status.ok()) replica->OnSynced(seq);
    }
  }
  return !syncs.empty();
}

void TestBroker::Tell(absl::Status failure) {
  status_ = failure;
  for (TestReplica* replica : replicas_) replica->driver().OnFailed(failure);
}

}  // namespace millrace
