// A load for the store's benchmarks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "proto/wire/check.h"
#include "storage/rocks_log_store.h"
#include "tests/support/through_stalls.h"

namespace millrace::storage {

// Appends of equal entries to partitions in turn. Its clock is the number of entries appended to all of them.
class Appender {
 public:
  Appender(RocksLogStore& store, int partitions, size_t entry_bytes, const raft::SegmentLimits& limits = {},
           size_t slow = 0)
      : store_(store), logs_(partitions), slow_(slow) {
    std::string bytes(entry_bytes, '\0');
    std::mt19937_64 random(1);
    for (char& byte : bytes) byte = static_cast<char>(random());
    payload_ = absl::Cord(std::move(bytes));
    for (int i = 0; i < partitions; ++i) {
      const raft::GroupId group(i + 1);
      if (absl::Status created = store.Create(group, limits); !created.ok())
        MILLRACE_CHECK(absl::IsAlreadyExists(created));
      auto state = store.Open(group);
      MILLRACE_CHECK(state.ok()) << state.status().ToString();
      logs_[i] = *state;
      now_ = std::max(now_, state->last_append_time);
    }
    round_ = store.NewRound();
  }

  void Stage() {
    size_t turn = next_++ % logs_.size();
    while (turn < slow_ && next_ / logs_.size() % 10 != 0) turn = next_++ % logs_.size();
    raft::LogState& log = logs_[turn];
    appended_.push_back(turn);
    raft::Entry entry;
    entry.header.record_count = 64;
    entry.header.index = ++log.last_index;
    entry.header.base_offset = log.log_end;
    entry.header.append_time = entry.header.max_timestamp = log.last_append_time = ++now_;
    entry.payload = payload_;
    log.log_end += 64;
    round_->Append(raft::GroupId(static_cast<int64_t>(turn) + 1), std::move(entry));
  }
  // Removes the oldest segment of each log appended to since the last call that has more than bytes_max(i).
  template <typename BytesMax>
  void Retain(BytesMax bytes_max) {
    for (size_t i : std::exchange(appended_, {})) {
      const raft::GroupId group(static_cast<int64_t>(i) + 1);
      if (store_.State(group).bytes <= bytes_max(i)) continue;
      const auto segments = store_.Segments(group);
      if (segments.size() > 1) round_->SetLogStart(group, segments.front().end_offset);
    }
  }
  // The same by time: that has only entries older than age_max(i).
  template <typename AgeMax>
  void RetainByTime(AgeMax age_max) {
    for (size_t i : std::exchange(appended_, {})) {
      const raft::GroupId group(static_cast<int64_t>(i) + 1);
      const auto segments = store_.Segments(group);
      const bool due = segments.size() > 1 && segments.front().last_append_time < now_ - age_max(i);
      if (due) round_->SetLogStart(group, segments.front().end_offset);
    }
  }
  double kept_bytes() const {
    double bytes = 0;
    for (size_t i = 0; i < logs_.size(); ++i) {
      bytes += static_cast<double>(store_.State(raft::GroupId(static_cast<int64_t>(i) + 1)).bytes);
    }
    return bytes;
  }
  raft::Round& round() { return *round_; }
  void Write() {
    const absl::Status status = ThroughStalls(store_, [this] { return store_.Write(*round_); });
    MILLRACE_CHECK(status.ok()) << status.ToString();
  }

 private:
  RocksLogStore& store_;
  std::vector<raft::LogState> logs_;
  std::vector<size_t> appended_;
  absl::Cord payload_;
  std::unique_ptr<raft::Round> round_;
  size_t next_ = 0;
  int64_t now_ = 0;
  const size_t slow_;
};

}  // namespace millrace::storage
