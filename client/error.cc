#include "millrace/error.h"

#include "absl/strings/cord.h"
#include "client/status.h"
#include "proto/wire/frames.h"

namespace millrace {
namespace {

// Serialized millrace.v1.Error, so that whoever has the .proto can read it too; its message is the status' text.
constexpr char kErrorPayloadType[] = "type.googleapis.com/millrace.v1.Error";

absl::StatusCode CanonicalCode(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNone:
      return absl::StatusCode::kOk;
    case ErrorCode::kOffsetOutOfRange:
      return absl::StatusCode::kOutOfRange;
    case ErrorCode::kCorruptMessage:
    case ErrorCode::kInvalidRecord:
      return absl::StatusCode::kDataLoss;
    case ErrorCode::kUnknownTopicOrPartition:
    case ErrorCode::kUnknownTopicId:
      return absl::StatusCode::kNotFound;
    case ErrorCode::kTopicAlreadyExists:
      return absl::StatusCode::kAlreadyExists;
    case ErrorCode::kLeaderNotAvailable:
    case ErrorCode::kNotLeaderOrFollower:
    case ErrorCode::kNetworkException:
    case ErrorCode::kNotEnoughReplicas:
    case ErrorCode::kKafkaStorageError:
    case ErrorCode::kShuttingDown:
      return absl::StatusCode::kUnavailable;
    case ErrorCode::kRequestTimedOut:
      return absl::StatusCode::kDeadlineExceeded;
    case ErrorCode::kThrottlingQuotaExceeded:
    case ErrorCode::kReplyTooLarge:
      return absl::StatusCode::kResourceExhausted;
    case ErrorCode::kUnsupportedVersion:
    case ErrorCode::kUnsupportedCompressionType:
      return absl::StatusCode::kUnimplemented;
    case ErrorCode::kClusterAuthorizationFailed:
    case ErrorCode::kPolicyViolation:
      return absl::StatusCode::kPermissionDenied;
    case ErrorCode::kOutOfOrderSequenceNumber:
    case ErrorCode::kInvalidProducerEpoch:
    case ErrorCode::kFencedLeaderEpoch:
    case ErrorCode::kUnknownLeaderEpoch:
      return absl::StatusCode::kAborted;
    case ErrorCode::kInternal:
      return absl::StatusCode::kInternal;
    case ErrorCode::kCancelled:
      return absl::StatusCode::kCancelled;
    case ErrorCode::kUnknown:
      return absl::StatusCode::kUnknown;
    case ErrorCode::kMessageTooLarge:
    case ErrorCode::kInvalidTopicException:
    case ErrorCode::kInvalidTimestamp:
    case ErrorCode::kInvalidPartitions:
    case ErrorCode::kInvalidReplicationFactor:
    case ErrorCode::kInvalidConfig:
    case ErrorCode::kInvalidRequest:
    case ErrorCode::kDuplicateSequenceNumber:
    case ErrorCode::kUnknownProducerId:
      return absl::StatusCode::kInvalidArgument;
  }
  return absl::StatusCode::kUnknown;
}

// The status' text is the code's name, a colon and the sentence.
std::string MessageIn(const absl::Status& status, ErrorCode code) {
  std::string_view text(status.message().data(), status.message().size());
  const std::string_view name = ErrorCodeName(code);
  if (text.starts_with(name) && text.substr(name.size()).starts_with(": ")) text.remove_prefix(name.size() + 2);
  return std::string(text);
}

// Without the sentence, which the status has: it would be printed twice.
ErrorFrame ToFrame(const Error& error) {
  ErrorFrame frame;
  frame.code = static_cast<int32_t>(error.code);
  frame.retriable = error.retriable;
  frame.may_have_happened = error.may_have_happened;
  frame.topic = error.topic;
  frame.partition = error.partition;
  frame.address = error.address;
  frame.limit = error.limit;
  frame.size = error.size;
  frame.log_start_offset = error.log_start_offset;
  frame.high_watermark = error.high_watermark;
  return frame;
}

}  // namespace

std::string_view ErrorCodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kCancelled:
      return "CANCELLED";
    case ErrorCode::kUnknown:
      return "UNKNOWN";
    case ErrorCode::kNone:
      return "NONE";
    case ErrorCode::kOffsetOutOfRange:
      return "OFFSET_OUT_OF_RANGE";
    case ErrorCode::kCorruptMessage:
      return "CORRUPT_MESSAGE";
    case ErrorCode::kUnknownTopicOrPartition:
      return "UNKNOWN_TOPIC_OR_PARTITION";
    case ErrorCode::kLeaderNotAvailable:
      return "LEADER_NOT_AVAILABLE";
    case ErrorCode::kNotLeaderOrFollower:
      return "NOT_LEADER_OR_FOLLOWER";
    case ErrorCode::kRequestTimedOut:
      return "REQUEST_TIMED_OUT";
    case ErrorCode::kMessageTooLarge:
      return "MESSAGE_TOO_LARGE";
    case ErrorCode::kNetworkException:
      return "NETWORK_EXCEPTION";
    case ErrorCode::kInvalidTopicException:
      return "INVALID_TOPIC_EXCEPTION";
    case ErrorCode::kNotEnoughReplicas:
      return "NOT_ENOUGH_REPLICAS";
    case ErrorCode::kClusterAuthorizationFailed:
      return "CLUSTER_AUTHORIZATION_FAILED";
    case ErrorCode::kInvalidTimestamp:
      return "INVALID_TIMESTAMP";
    case ErrorCode::kUnsupportedVersion:
      return "UNSUPPORTED_VERSION";
    case ErrorCode::kTopicAlreadyExists:
      return "TOPIC_ALREADY_EXISTS";
    case ErrorCode::kInvalidPartitions:
      return "INVALID_PARTITIONS";
    case ErrorCode::kInvalidReplicationFactor:
      return "INVALID_REPLICATION_FACTOR";
    case ErrorCode::kInvalidConfig:
      return "INVALID_CONFIG";
    case ErrorCode::kInvalidRequest:
      return "INVALID_REQUEST";
    case ErrorCode::kPolicyViolation:
      return "POLICY_VIOLATION";
    case ErrorCode::kOutOfOrderSequenceNumber:
      return "OUT_OF_ORDER_SEQUENCE_NUMBER";
    case ErrorCode::kDuplicateSequenceNumber:
      return "DUPLICATE_SEQUENCE_NUMBER";
    case ErrorCode::kInvalidProducerEpoch:
      return "INVALID_PRODUCER_EPOCH";
    case ErrorCode::kKafkaStorageError:
      return "KAFKA_STORAGE_ERROR";
    case ErrorCode::kUnknownProducerId:
      return "UNKNOWN_PRODUCER_ID";
    case ErrorCode::kFencedLeaderEpoch:
      return "FENCED_LEADER_EPOCH";
    case ErrorCode::kUnknownLeaderEpoch:
      return "UNKNOWN_LEADER_EPOCH";
    case ErrorCode::kUnsupportedCompressionType:
      return "UNSUPPORTED_COMPRESSION_TYPE";
    case ErrorCode::kInvalidRecord:
      return "INVALID_RECORD";
    case ErrorCode::kThrottlingQuotaExceeded:
      return "THROTTLING_QUOTA_EXCEEDED";
    case ErrorCode::kUnknownTopicId:
      return "UNKNOWN_TOPIC_ID";
    case ErrorCode::kReplyTooLarge:
      return "REPLY_TOO_LARGE";
    case ErrorCode::kShuttingDown:
      return "SHUTTING_DOWN";
    case ErrorCode::kInternal:
      return "INTERNAL";
  }
  return "UNKNOWN";
}

Error ErrorFrom(const absl::Status& status) {
  if (status.ok()) return {};
  if (auto payload = status.GetPayload(kErrorPayloadType); payload.has_value()) {
    if (absl::StatusOr<ErrorFrame> frame = ParseError(*payload); frame.ok()) {
      Error error = client::FromFrame(*frame);
      error.message = MessageIn(status, error.code);
      return error;
    }
  }
  Error error;
  error.code = ErrorCode::kUnknown;
  error.message = std::string(status.message());
  error.may_have_happened = true;
  return error;
}

absl::Status ToStatus(const Error& error) {
  if (error.code == ErrorCode::kNone) return absl::OkStatus();
  std::string text(ErrorCodeName(error.code));
  text += ": ";
  text += error.message;
  absl::Status status(CanonicalCode(error.code), text);
  status.SetPayload(kErrorPayloadType, absl::Cord(SerializeError(ToFrame(error))));
  return status;
}

}  // namespace millrace

namespace millrace::client {

Error FromFrame(const ErrorFrame& frame) {
  Error error;
  error.code = static_cast<ErrorCode>(frame.code);
  error.message = frame.message;
  error.retriable = frame.retriable;
  error.may_have_happened = frame.may_have_happened;
  error.topic = frame.topic;
  error.partition = frame.partition;
  error.address = frame.address;
  error.limit = frame.limit;
  error.size = frame.size;
  error.log_start_offset = frame.log_start_offset;
  error.high_watermark = frame.high_watermark;
  return error;
}

bool WorthRetrying(const Error& error) {
  return error.retriable && error.code != ErrorCode::kUnknownTopicOrPartition &&
         error.code != ErrorCode::kUnknownTopicId;
}

absl::Status InvalidConfig(std::string message) {
  return ToStatus({.code = ErrorCode::kInvalidConfig, .message = std::move(message)});
}

absl::Status InvalidRequest(std::string message) {
  return ToStatus({.code = ErrorCode::kInvalidRequest, .message = std::move(message)});
}

Error ErrorOfCall(const CallEnd& end, const std::string& address) {
  Error error;
  if (end.error.code != 0) {
    error = FromFrame(end.error);
  } else if (end.status.code() == absl::StatusCode::kDeadlineExceeded) {
    error.code = ErrorCode::kRequestTimedOut;
    error.message = "no answer from " + address + " in time";
    error.retriable = true;
    error.may_have_happened = true;
  } else if (end.status.code() == absl::StatusCode::kUnimplemented) {
    error.code = ErrorCode::kUnsupportedVersion;
    error.message = address + " does not know this call: " + std::string(end.status.message());
  } else {
    error.code = ErrorCode::kNetworkException;
    error.message = "connection to " + address + " broke: " + std::string(end.status.message());
    error.retriable = true;
    error.may_have_happened = true;
  }
  if (error.address.empty()) error.address = address;
  return error;
}

}  // namespace millrace::client
