// Records as they go into a producer and come out of a consumer.
//
//     producer->Send({.topic = "orders", .key = "N14228", .value = json, .headers = {{"region", "eu"}}});
//     for (const millrace::ConsumerRecord& record : *consumer) Use(record.offset, record.value.value_or(""));
//
// A missing key or value (std::nullopt) is null, which is not the same as empty: records with an empty key are placed
// by that key, records without key are spread. Times are milliseconds since 1970-01-01T00:00:00Z.
//
// Ownership: keys, values, headers and topics are views. Producers copy what they are given before Send() returns. What
// a consumer gives stays valid until its next Poll() or step of iteration: OwnedRecord keeps a copy.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace {

// A name and a value that travel with a record. Order is kept; names may repeat.
struct Header {
  std::string_view key = {};
  std::optional<std::string_view> value = {};
};

struct ProducerRecord {
  std::string_view topic = {};
  // Unset: by the key (murmur2, the same partition as Kafka's clients), or spread batch by batch without one.
  std::optional<int32_t> partition = {};
  std::optional<std::string_view> key = {};
  std::optional<std::string_view> value = {};
  std::vector<Header> headers = {};
  // The record's time; unset: now.
  std::optional<int64_t> timestamp = {};
};

// How safe an acked record is.
enum class DurabilityReached : int32_t {
  kNone = 0,          // acks=none: nothing is known
  kLeaderMemory = 1,  // in the leader's page cache: survives a crash of the process, not of the machine
  kLeaderDisk = 2,    // synced to the leader's disk
  kQuorumMemory = 3,  // in the page cache of a majority
  kQuorumDisk = 4,    // synced by a majority (with one replica: by that one)
};

// Where an acked record is.
struct RecordMetadata {
  int32_t partition = 0;
  // -1: acks=none, or the ack of a retry that came after the broker had forgotten where the first copy went.
  int64_t offset = -1;
  int64_t append_time = 0;  // the broker's clock
  int32_t leader_epoch = 0;
  DurabilityReached durability = DurabilityReached::kNone;
};

struct ConsumerRecord {
  std::string_view topic;
  int32_t partition = 0;
  int32_t leader_epoch = 0;
  int64_t offset = 0;
  // The producer's time, or append_time in topics with message.timestamp.type=LogAppendTime.
  int64_t timestamp = 0;
  int64_t append_time = 0;  // the broker's clock; never goes back within a partition
  std::optional<std::string_view> key;
  std::optional<std::string_view> value;
  std::span<const Header> headers;
};

// A ConsumerRecord with memory of its own. Movable and copyable.
struct OwnedRecord {
  struct OwnedHeader {
    std::string key;
    std::optional<std::string> value;
  };

  OwnedRecord() = default;
  explicit OwnedRecord(const ConsumerRecord& record);

  std::string topic;
  int32_t partition = 0;
  int32_t leader_epoch = 0;
  int64_t offset = 0;
  int64_t timestamp = 0;
  int64_t append_time = 0;
  std::optional<std::string> key;
  std::optional<std::string> value;
  std::vector<OwnedHeader> headers;
};

// Records [from, to) of a partition that no reader will ever get.
struct Gap {
  enum class Reason : int32_t {
    kUnknown = 0,
    kRetention = 1,  // deleted by retention or trim
    kTruncated = 2,  // lost or replaced after a failure
    kCorrupt = 3,    // a damaged batch
  };
  std::string_view topic;
  int32_t partition = 0;
  int64_t from = 0;
  int64_t to = 0;
  Reason reason = Reason::kUnknown;
};

// "retention", "truncated", ...
std::string_view GapReasonName(Gap::Reason reason);

}  // namespace millrace
