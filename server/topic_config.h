// The settings of a topic: typed, checked, with the names that Kafka gave them.
//
//     auto config = ParseTopicConfig({{"retention.ms", "3600000"}, {"flush", "async"}}, cluster_defaults);
//     if (!config.ok()) return config.status();     // text for INVALID_CONFIG
//     config->SegmentMillis();                      // 360000, a tenth of the retention
//
// What a topic stores is the map of its overrides, not the effective values: a cluster default that changes later reaches
// every topic that did not override it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace millrace::server {

enum class FlushPolicy {
  kCommit,  // acked once fsynced
  kAsync,   // acked once in the page cache
};

enum class TimestampType {
  kCreateTime,     // a record keeps its producer's timestamp
  kLogAppendTime,  // a record's timestamp is the broker's append time
};

inline constexpr int64_t kUnlimited = -1;
inline constexpr int64_t kMaxMessageBytesLimit = int64_t{64} << 20;

struct TopicConfig {
  int64_t retention_ms = int64_t{7} * 24 * 60 * 60 * 1000;  // of append time; kUnlimited: for ever
  int64_t retention_bytes = kUnlimited;                     // of each partition
  std::optional<int64_t> segment_bytes;                     // unset: SegmentBytes() derives it
  std::optional<int64_t> segment_ms;                        // unset: SegmentMillis() derives it
  int64_t max_message_bytes = int64_t{1} << 20;             // of a record batch as sent; <= kMaxMessageBytesLimit
  FlushPolicy flush = FlushPolicy::kCommit;
  TimestampType timestamp_type = TimestampType::kCreateTime;
  // How far a record's timestamp may lie ahead of the broker's clock.
  int64_t timestamp_after_max_ms = int64_t{60} * 60 * 1000;

  bool operator==(const TopicConfig&) const = default;

  // The size at which the active segment is sealed: segment.bytes, or else 256 MiB, or a tenth of retention.bytes if that is less
  // (16 KiB at least).
  int64_t SegmentBytes() const;
  // The age at which the active segment is sealed: segment.ms, or else a day, or a tenth of the retention if that is less.
  int64_t SegmentMillis() const;

  // Every setting with its effective value, as ParseTopicConfig takes it.
  std::map<std::string, std::string> ToMap() const;
};

// `overrides` over `defaults`. kInvalidArgument with one sentence that names the setting, the value, what is accepted, and
// for an unknown name the nearest known one.
absl::StatusOr<TopicConfig> ParseTopicConfig(const std::map<std::string, std::string>& overrides,
                                             const TopicConfig& defaults);

// Sets one setting; the same errors.
absl::Status SetTopicSetting(std::string_view name, std::string_view value, TopicConfig& config);

// Whether SetTopicSetting has more to say about `name` than that it is unknown.
bool IsTopicSetting(std::string_view name);

// The names that can be set, sorted.
std::span<const std::string_view> TopicSettingNames();

}  // namespace millrace::server
