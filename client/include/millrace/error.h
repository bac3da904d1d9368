// What went wrong, where, whether a retry is safe, and whether the failed call may have taken effect.
//
// Every call of this library that can fail returns absl::Status or absl::StatusOr. The status' text is a sentence for
// people: what failed, on which topic, partition and address, the cause, and what to do next. ErrorFrom() gives the
// same for programs:
//
//     absl::Status status = producer->Flush();
//     if (!status.ok()) {
//       millrace::Error error = millrace::ErrorFrom(status);
//       if (error.code == millrace::ErrorCode::kMessageTooLarge) Split(error.limit);
//       if (error.may_have_happened) CheckBeforeRepeating();
//     }
//
// The library retries by itself whatever is worth it (see the time-outs in options.h): an error that reaches the caller
// is final for that call. `retriable` then says that the same call may succeed later without anything being changed.
//
// Codes become absl's canonical ones like this: kOutOfRange offsets; kNotFound and kAlreadyExists topics; kUnavailable
// network, leaders and brokers that stop; kDeadlineExceeded time-outs; kDataLoss damaged data; kResourceExhausted full
// buffers, quotas and replies over the limit; kUnimplemented what this release does not do; kPermissionDenied; kAborted
// fenced epochs; kFailedPrecondition and kAlreadyExists broken and repeated sequences; kCancelled what was given up by
// Close() or Wakeup(); kInternal bugs; kUnknown codes of a later release; kInvalidArgument everything else.
//
// Thread safety: values and pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace millrace {

// Names and numbers are those of millrace.v1.Error.Code (proto/millrace/v1/error.proto); below 1000 they are Apache
// Kafka's.
enum class ErrorCode : int32_t {
  kCancelled = -2,  // made by this library only: given up by Close() or Wakeup()
  kUnknown = -1,    // the status did not come from Millrace
  kNone = 0,
  kOffsetOutOfRange = 1,
  kCorruptMessage = 2,
  kUnknownTopicOrPartition = 3,
  kLeaderNotAvailable = 5,
  kNotLeaderOrFollower = 6,
  kRequestTimedOut = 7,
  kMessageTooLarge = 10,
  kNetworkException = 13,  // made by this library only: no broker can be reached, or the connection broke
  kInvalidTopicException = 17,
  kNotEnoughReplicas = 19,
  kInvalidGroupId = 24,
  kUnknownMemberId = 25,
  kInvalidSessionTimeout = 26,
  kInvalidCommitOffsetSize = 28,
  kClusterAuthorizationFailed = 31,
  kInvalidTimestamp = 32,
  kUnsupportedVersion = 35,
  kTopicAlreadyExists = 36,
  kInvalidPartitions = 37,
  kInvalidReplicationFactor = 38,
  kInvalidConfig = 40,  // also: a bad option given to this library
  kInvalidRequest = 42,
  kPolicyViolation = 44,
  kOutOfOrderSequenceNumber = 45,
  kDuplicateSequenceNumber = 46,
  kInvalidProducerEpoch = 47,
  kKafkaStorageError = 56,
  kUnknownProducerId = 59,
  kNonEmptyGroup = 68,
  kGroupIdNotFound = 69,
  kFencedLeaderEpoch = 74,
  kUnknownLeaderEpoch = 75,
  kUnsupportedCompressionType = 76,
  kGroupMaxSizeReached = 81,
  kFencedInstanceId = 82,
  kInvalidRecord = 87,
  kThrottlingQuotaExceeded = 89,  // also: this producer's buffer.memory is full
  kUnknownTopicId = 100,
  kFencedMemberEpoch = 110,
  kInvalidRegularExpression = 128,
  kReplyTooLarge = 1001,
  kShuttingDown = 1002,
  kInternal = 1003,
};

// "OFFSET_OUT_OF_RANGE"; "UNKNOWN" for numbers without a name.
std::string_view ErrorCodeName(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kNone;
  std::string message = {};        // the sentence, without the code's name
  bool retriable = false;          // the same call may succeed later
  bool may_have_happened = false;  // the call may have taken effect although it failed

  // Where, when known.
  std::string topic = {};
  std::optional<int32_t> partition = {};
  std::string address = {};  // of the broker

  // kMessageTooLarge, kReplyTooLarge: bytes. 0: not known.
  int64_t limit = 0;
  int64_t size = 0;

  // kOffsetOutOfRange: what can be read is [log_start_offset, high_watermark).
  std::optional<int64_t> log_start_offset = {};
  std::optional<int64_t> high_watermark = {};
};

// Takes a status apart. An OK status gives kNone; one that does not come from Millrace kUnknown with its text.
Error ErrorFrom(const absl::Status& status);

// The status that ErrorFrom() takes apart. Its text begins with the code's name.
absl::Status ToStatus(const Error& error);

}  // namespace millrace
