#include "server/producer_state.h"

namespace millrace::server {

ProducerTable::Verdict ProducerState::Check(const BatchHeader& header) const {
  return uncommitted_.contains(header.producer_id) ? appended_.Check(header) : committed_.Check(header);
}

void ProducerState::OnAppended(const BatchHeader& header, raft::Offset base_offset, int64_t append_time) {
  if (uncommitted_[header.producer_id]++ == 0) appended_.CopyFrom(committed_, header.producer_id);
  appended_.Update(header, base_offset, append_time);
}

void ProducerState::OnCommitted(const BatchHeader& header, raft::Offset base_offset, int64_t append_time) {
  if (!committed_.Covers(header.producer_id, base_offset)) committed_.Update(header, base_offset, append_time);
  const auto appended = uncommitted_.find(header.producer_id);
  if (appended == uncommitted_.end() || --appended->second > 0) return;
  uncommitted_.erase(appended);
  appended_.Erase(header.producer_id);
}

void ProducerState::ForgetAppended() {
  appended_ = {};
  uncommitted_.clear();
}

}  // namespace millrace::server
