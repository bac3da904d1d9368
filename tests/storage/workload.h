// Random changes that a correct broker could make, drawn from one seed: staged in a round and applied to the model of it.
#pragma once

#include <cstdint>
#include <map>
#include <random>

#include "raft/log_store.h"
#include "tests/support/memory_log.h"

namespace millrace {

class Workload {
 public:
  using Logs = std::map<raft::GroupId, MemoryLog>;
  static constexpr int kGroups = 5;

  // With every other seed most bytes are of small payloads, so that the large ones keep no WAL file.
  explicit Workload(uint64_t seed) : random_(seed), mostly_small_(seed % 2 == 1) {}

  // 0 to n inclusive.
  int64_t UpTo(int64_t n) { return std::uniform_int_distribution<int64_t>(0, n)(random_); }
  bool OneIn(int64_t n) { return UpTo(n - 1) == 0; }
  raft::GroupId AnyGroup() { return raft::GroupId(1 + UpTo(kGroups - 1)); }

  raft::SegmentLimits Limits();
  // Some changes of some of the logs.
  void FillRound(Logs& logs, raft::Round& round);
  // What may follow there, with records or without.
  raft::Entry NextEntry(const raft::LogState& state);

 private:
  void ChangeOne(raft::GroupId group, MemoryLog& log, raft::Round& round);
  void Truncate(raft::GroupId group, MemoryLog& log, raft::Round& round);
  void Reset(raft::GroupId group, MemoryLog& log, raft::Round& round);
  absl::Cord Payload();

  std::mt19937_64 random_;
  const bool mostly_small_;
};

}  // namespace millrace
