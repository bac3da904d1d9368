// The plain types of a Raft log, shared by the core, the log store and the broker.
//
// LogIndex counts entries, Offset counts records; the two never mix:
//
//     Offset end = header.base_offset + header.record_count;   // compiles
//     header.base_offset + header.index;                       // does not
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <ostream>

#include "absl/strings/cord.h"

namespace millrace::raft {

// An integer that only mixes with its own kind. Differences and steps are plain int64_t.
template <typename Tag>
class StrongInt {
 public:
  constexpr StrongInt() = default;
  constexpr explicit StrongInt(int64_t value) : value_(value) {}
  constexpr int64_t value() const { return value_; }

  constexpr auto operator<=>(const StrongInt&) const = default;
  constexpr StrongInt& operator++() {
    ++value_;
    return *this;
  }
  constexpr StrongInt& operator+=(int64_t n) {
    value_ += n;
    return *this;
  }
  friend constexpr StrongInt operator+(StrongInt a, int64_t n) { return StrongInt(a.value_ + n); }
  friend constexpr StrongInt operator-(StrongInt a, int64_t n) { return StrongInt(a.value_ - n); }
  friend constexpr int64_t operator-(StrongInt a, StrongInt b) { return a.value_ - b.value_; }
  template <typename H>
  friend H AbslHashValue(H h, StrongInt a) {
    return H::combine(std::move(h), a.value_);
  }
  friend std::ostream& operator<<(std::ostream& out, StrongInt a) { return out << a.value_; }

 private:
  int64_t value_ = 0;
};

using Term = StrongInt<struct TermTag>;          // = leader epoch on the wire
using LogIndex = StrongInt<struct LogIndexTag>;  // of an entry; the first is 1, 0 is before the first
using Offset = StrongInt<struct OffsetTag>;      // of a record; the first is 0
using BrokerId = StrongInt<struct BrokerIdTag>;
using GroupId = StrongInt<struct GroupIdTag>;  // one Raft group = one partition's log; never reused

enum class EntryType : uint8_t {
  kRecords = 1,     // payload: a serialized RecordBatch
  kNoop = 2,        // a leader's first entry; record_count is 0
  kMembership = 3,  // record_count is 0
  kLogStart = 4,    // moves the log start offset; record_count is 0
};

// What is known of an entry without its payload. Offsets are dense: base_offset is the previous entry's base_offset +
// record_count.
struct EntryHeader {
  EntryType type = EntryType::kRecords;
  Term term;
  LogIndex index;
  Offset base_offset;
  int32_t record_count = 0;
  int64_t append_time = 0;    // leader's clock, ms; never less than the previous entry's
  int64_t max_timestamp = 0;  // largest record timestamp, ms; what offsets are found by
  uint32_t payload_crc = 0;   // of the payload's bytes as the producer made it; part of the chain
  uint32_t chain = 0;         // digest of this header and the previous entry's chain; set by the store

  Offset end_offset() const { return base_offset + record_count; }
};

struct Entry {
  EntryHeader header;
  absl::Cord payload;
};

// What limits in bytes count: a million of small entries is much, too.
inline size_t MemoryCost(const Entry& entry) { return sizeof(EntryHeader) + entry.payload.size(); }

// One copy of one log. A broker that comes back with another disk has another incarnation and is another replica: what the lost
// disk had promised (a vote, an ack) is not kept by the new one, so it must not act under the old name (KIP-853).
struct ReplicaId {
  BrokerId broker{-1};
  uint64_t incarnation = 0;  // of its disk: drawn at random when the store is made

  auto operator<=>(const ReplicaId&) const = default;
  explicit operator bool() const { return broker.value() >= 0; }
  friend std::ostream& operator<<(std::ostream& out, ReplicaId a) { return out << a.broker << '/' << a.incarnation; }
};
inline constexpr ReplicaId kNoReplica;

// An entry by its place and its author. Two logs that have the same EntryId are equal up to it (Raft paper, 5.3).
struct EntryId {
  Term term;
  LogIndex index;

  auto operator<=>(const EntryId&) const = default;
};

// What a replica must not forget before it votes or acks (Raft paper, figure 2).
struct TermAndVote {
  Term term;
  ReplicaId voted_for;      // kNoReplica: nobody
  LogIndex commit_index;    // goes along: what is surely committed after a restart, may be less than what was
  bool abstaining = false;  // what it once acked may be lost: it neither votes alone nor counts (core_abstaining.cc)

  bool operator==(const TermAndVote&) const = default;
};

}  // namespace millrace::raft

template <typename Tag>
struct std::hash<millrace::raft::StrongInt<Tag>> {
  size_t operator()(millrace::raft::StrongInt<Tag> a) const { return std::hash<int64_t>()(a.value()); }
};
