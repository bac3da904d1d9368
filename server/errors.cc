#include "server/errors.h"

#include <utility>

#include "proto/wire/check.h"
#include "proto/wire/error_codes.h"

namespace millrace::server {

using v1::Error;

ErrorFrame MakeError(ErrorCode code, std::string message) {
  ErrorFrame error;
  error.code = code;
  error.message = std::move(message);
  error.retriable = FindErrorCode(code)->retriable;
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
  const ErrorCodeFacts* facts = FindErrorCode(error.code);
  MILLRACE_CHECK(facts != nullptr) << "error code " << error.code;
  const std::string text = std::string(facts->name) + ": " + error.message;
  absl::Status status(facts->status, absl::string_view(text.data(), text.size()));
  return {std::move(status), std::move(error)};
}

}  // namespace millrace::server
