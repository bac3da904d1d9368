// The idempotent producers of a partition as its replica knows them: what is committed, and on the leader also what it has
// appended and is not committed yet. A repeat of something uncommitted is found; if the leadership is lost, what it appended alone is
// forgotten, and comes back with the log if it was committed after all.
//
//     ProducerTable::Verdict v = producers.Check(header);              // leader
//     producers.OnAppended(header, base_offset, append_time);          // leader, in the order of the log
//     producers.OnCommitted(header, base_offset, append_time);         // every replica, in the order of the log
//     producers.ForgetAppended();                                      // not the leader any more
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "server/producer_table.h"

namespace millrace::server {

class ProducerState {
 public:
  ProducerTable::Verdict Check(const BatchHeader& header) const;
  void OnAppended(const BatchHeader& header, raft::Offset base_offset, int64_t append_time);
  // What the table has already is passed over: a snapshot's table may be ahead of the entries that follow it.
  void OnCommitted(const BatchHeader& header, raft::Offset base_offset, int64_t append_time);
  void ForgetAppended();

  // Of what is committed: see ProducerTable.
  std::vector<std::pair<std::string, std::string>> TakeChanges() { return committed_.TakeChanges(); }
  std::vector<std::pair<std::string, std::string>> All() const { return committed_.All(); }
  absl::Status Load(std::string_view key, std::string_view value) { return committed_.Load(key, value); }

 private:
  ProducerTable committed_;
  // Only those with something uncommitted, with all that they have in committed_ when the first of that was appended.
  ProducerTable appended_;
  std::unordered_map<int64_t, int64_t> uncommitted_;  // how many batches
};

}  // namespace millrace::server
