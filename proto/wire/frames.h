// The messages of the Produce and Fetch streams (proto/millrace/v1/broker.proto), read and written without generated code.
//
// Parsing keeps batches as Cords that share the received buffer; building puts references to batches between small pieces of
// freshly written bytes. Both ends use the same structs. Bytes are exactly those of protobuf: stock stubs interoperate.
//
//     absl::StatusOr<ProduceRequestFrame> request = ParseProduceRequest(message);
//     for (PartitionBatchFrame& b : request->batches) ...
//
// Unknown fields are skipped. Errors: kInvalidArgument for bytes that are no such message, or that repeat a field more than
// kElementsMax times.
// Not thread-safe; values only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"

namespace millrace {

// Batches of a request, acks of a response, and so on: bounds the memory that a message of a given size can take.
inline constexpr size_t kElementsMax = 65'536;

enum class Acks : int32_t { kUnspecified = 0, kNone = 1, kLeader = 2, kQuorum = 3 };
enum class Routing : int32_t { kAny = 0, kLeaderOnly = 1 };
enum class Durability : int32_t {
  kUnspecified = 0,
  kLeaderMemory = 1,
  kLeaderDisk = 2,
  kQuorumMemory = 3,
  kQuorumDisk = 4,
};

// The leader of a partition, or the controller, as a broker knows it.
struct LeaderHintFrame {
  int32_t broker_id = 0;
  std::string address;
  int32_t leader_epoch = 0;

  bool operator==(const LeaderHintFrame&) const = default;
};

// millrace.v1.Error. `code` holds an Error.Code number; 0 is no error.
struct ErrorFrame {
  int32_t code = 0;
  std::string message;
  bool retriable = false;
  bool may_have_happened = false;
  std::string topic;
  std::optional<int32_t> partition;
  std::string address;
  int64_t limit = 0;
  int64_t size = 0;
  std::optional<int64_t> log_start_offset;
  std::optional<int64_t> high_watermark;
  std::optional<LeaderHintFrame> leader;
  int32_t producer_epoch = 0;
  int32_t expected_sequence = 0;

  bool ok() const { return code == 0; }
};
std::string SerializeError(const ErrorFrame& error);
absl::StatusOr<ErrorFrame> ParseError(const absl::Cord& bytes);

struct PartitionBatchFrame {
  uint64_t id = 0;
  std::string topic;
  int32_t partition = 0;
  uint64_t topic_id = 0;
  int32_t leader_epoch = 0;
  absl::Cord batch;  // serialized RecordBatch
};

struct ProduceRequestFrame {
  int32_t acks = 0;     // what came from outside may be any number; see Acks
  int32_t routing = 0;  // see Routing
  uint64_t ping = 0;
  std::vector<PartitionBatchFrame> batches;
};
absl::StatusOr<ProduceRequestFrame> ParseProduceRequest(const absl::Cord& message);
absl::Cord SerializeProduceRequest(const ProduceRequestFrame& request);

struct ProduceAckFrame {
  uint64_t id = 0;
  ErrorFrame error;
  int64_t base_offset = 0;
  int64_t append_time = 0;
  int32_t leader_epoch = 0;
  Durability durability = Durability::kUnspecified;
  int64_t log_start_offset = 0;
  int64_t high_watermark = 0;
  bool duplicate = false;
  bool crc_computed = false;
  std::optional<LeaderHintFrame> leader;
};

struct ProduceResponseFrame {
  uint64_t ping = 0;
  std::vector<ProduceAckFrame> acks;
};
absl::StatusOr<ProduceResponseFrame> ParseProduceResponse(const absl::Cord& message);
absl::Cord SerializeProduceResponse(const ProduceResponseFrame& response);

enum class OffsetSpec : int32_t { kUnspecified = 0, kEarliest = 1, kLatest = 2 };
enum class OutOfRange : int32_t { kError = 0, kGap = 1 };

struct FetchSubscriptionFrame {
  uint64_t id = 0;
  std::string topic;
  int32_t partition = 0;
  uint64_t topic_id = 0;
  enum class Position { kNone, kOffset, kTimestamp, kSpec, kRecordsBeforeEnd };
  Position position = Position::kNone;
  int64_t position_value = 0;  // offset, timestamp, OffsetSpec number or record count, as `position` says
  int32_t leader_epoch = 0;
  int32_t out_of_range = 0;  // see OutOfRange
  int32_t routing = 0;
  int64_t end_offset = 0;
};

struct FetchRequestFrame {
  int64_t max_reply_bytes = 0;
  std::vector<uint64_t> unsubscribe;
  std::vector<FetchSubscriptionFrame> subscribe;
  std::vector<uint64_t> pause;
  std::vector<uint64_t> resume;
  int64_t credit = 0;
  uint64_t ping = 0;
};
absl::StatusOr<FetchRequestFrame> ParseFetchRequest(const absl::Cord& message);
absl::Cord SerializeFetchRequest(const FetchRequestFrame& request);

struct GapFrame {
  int64_t from = 0;
  int64_t to = 0;
  int32_t reason = 0;  // Gap.Reason: 1 retention, 2 truncated, 3 corrupt
};

struct FetchedBatchFrame {
  int64_t base_offset = 0;
  int32_t leader_epoch = 0;
  int64_t append_time = 0;
  absl::Cord batch;  // serialized RecordBatch
};

struct FetchPartitionFrame {
  uint64_t subscription = 0;
  ErrorFrame error;
  int64_t high_watermark = 0;
  int64_t log_start_offset = 0;
  int32_t leader_epoch = 0;
  std::optional<GapFrame> gap;
  std::optional<int64_t> start_offset;
  bool end_reached = false;
  bool log_append_time = false;
  std::optional<LeaderHintFrame> leader;
  std::vector<FetchedBatchFrame> batches;
};

struct FetchResponseFrame {
  uint64_t ping = 0;
  std::vector<FetchPartitionFrame> partitions;
};
absl::StatusOr<FetchResponseFrame> ParseFetchResponse(const absl::Cord& message);
absl::Cord SerializeFetchResponse(const FetchResponseFrame& response);

// Upper bound of the bytes that a batch of `batch_bytes` takes in a FetchResponse besides its own.
inline constexpr int64_t kFetchedBatchOverheadBytes = 64;
// Upper bound of the bytes that a FetchPartition without error and leader takes in a FetchResponse besides its batches.
inline constexpr int64_t kFetchPartitionOverheadBytes = 128;

}  // namespace millrace
