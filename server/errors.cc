#include "server/errors.h"

#include <utility>

namespace millrace::server {
namespace {

using v1::Error;

struct CodeFacts {
  bool retriable;
  absl::StatusCode status;
};

CodeFacts FactsOf(int32_t code) {
  switch (code) {
    case Error::NONE:
      return {false, absl::StatusCode::kOk};
    case Error::OFFSET_OUT_OF_RANGE:
      return {false, absl::StatusCode::kOutOfRange};
    case Error::CORRUPT_MESSAGE:
      return {false, absl::StatusCode::kDataLoss};
    case Error::UNKNOWN_TOPIC_OR_PARTITION:
      return {true, absl::StatusCode::kNotFound};
    case Error::LEADER_NOT_AVAILABLE:
      return {true, absl::StatusCode::kUnavailable};
    case Error::NOT_LEADER_OR_FOLLOWER:
      return {true, absl::StatusCode::kUnavailable};
    case Error::REQUEST_TIMED_OUT:
      return {true, absl::StatusCode::kDeadlineExceeded};
    case Error::MESSAGE_TOO_LARGE:
      return {false, absl::StatusCode::kInvalidArgument};
    case Error::NOT_ENOUGH_REPLICAS:
      return {true, absl::StatusCode::kUnavailable};
    case Error::INVALID_TOPIC_EXCEPTION:
      return {false, absl::StatusCode::kInvalidArgument};
    case Error::CLUSTER_AUTHORIZATION_FAILED:
      return {false, absl::StatusCode::kPermissionDenied};
    case Error::INVALID_TIMESTAMP:
      return {false, absl::StatusCode::kInvalidArgument};
    case Error::UNSUPPORTED_VERSION:
      return {false, absl::StatusCode::kUnimplemented};
    case Error::TOPIC_ALREADY_EXISTS:
      return {false, absl::StatusCode::kAlreadyExists};
    case Error::INVALID_PARTITIONS:
      return {false, absl::StatusCode::kInvalidArgument};
    case Error::INVALID_REPLICATION_FACTOR:
      return {false, absl::StatusCode::kInvalidArgument};
    case Error::INVALID_CONFIG:
      return {false, absl::StatusCode::kInvalidArgument};
    case Error::INVALID_REQUEST:
      return {false, absl::StatusCode::kInvalidArgument};
    case Error::POLICY_VIOLATION:
      return {false, absl::StatusCode::kFailedPrecondition};
    case Error::OUT_OF_ORDER_SEQUENCE_NUMBER:
      return {false, absl::StatusCode::kFailedPrecondition};
    case Error::DUPLICATE_SEQUENCE_NUMBER:
      return {false, absl::StatusCode::kAlreadyExists};
    case Error::INVALID_PRODUCER_EPOCH:
      return {false, absl::StatusCode::kAborted};
    case Error::KAFKA_STORAGE_ERROR:
      return {true, absl::StatusCode::kUnavailable};
    case Error::UNKNOWN_PRODUCER_ID:
      return {false, absl::StatusCode::kFailedPrecondition};
    case Error::FENCED_LEADER_EPOCH:
      return {true, absl::StatusCode::kUnavailable};
    case Error::UNKNOWN_LEADER_EPOCH:
      return {true, absl::StatusCode::kUnavailable};
    case Error::UNSUPPORTED_COMPRESSION_TYPE:
      return {false, absl::StatusCode::kUnimplemented};
    case Error::INVALID_RECORD:
      return {false, absl::StatusCode::kInvalidArgument};
    case Error::THROTTLING_QUOTA_EXCEEDED:
      return {true, absl::StatusCode::kResourceExhausted};
    case Error::UNKNOWN_TOPIC_ID:
      return {true, absl::StatusCode::kNotFound};
    case Error::REPLY_TOO_LARGE:
      return {false, absl::StatusCode::kResourceExhausted};
    case Error::SHUTTING_DOWN:
      return {true, absl::StatusCode::kUnavailable};
    default:
      return {false, absl::StatusCode::kInternal};
  }
}

}  // namespace

ErrorFrame MakeError(ErrorCode code, std::string message) {
  ErrorFrame error;
  error.code = code;
  error.message = std::move(message);
  error.retriable = FactsOf(code).retriable;
  return error;
}

ErrorFrame MakeError(ErrorCode code, const std::string& topic, int32_t partition, std::string message) {
  ErrorFrame error = MakeError(code, std::move(message));
  error.topic = topic;
  error.partition = partition;
  return error;
}

ErrorFrame ErrorFromStatus(const absl::Status& status) {
  std::string text = ToStdString(status.message());
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return MakeError(Error::INVALID_REQUEST, std::move(text));
    case absl::StatusCode::kDataLoss:
      return MakeError(Error::CORRUPT_MESSAGE, std::move(text));
    case absl::StatusCode::kUnimplemented:
      return MakeError(Error::UNSUPPORTED_VERSION, std::move(text));
    case absl::StatusCode::kOutOfRange:
      return MakeError(Error::OFFSET_OUT_OF_RANGE, std::move(text));
    case absl::StatusCode::kNotFound:
      return MakeError(Error::UNKNOWN_TOPIC_OR_PARTITION, std::move(text));
    default:
      return MakeError(Error::KAFKA_STORAGE_ERROR, std::move(text));
  }
}

CallEnd FailedCall(ErrorFrame error) {
  std::string text = v1::Error::Code_Name(static_cast<ErrorCode>(error.code)) + ": " + error.message;
  absl::Status status(FactsOf(error.code).status, absl::string_view(text.data(), text.size()));
  return {std::move(status), std::move(error)};
}

}  // namespace millrace::server
