#include "millrace/error.h"

#include "absl/strings/cord.h"
#include "client/status.h"
#include "proto/wire/error_codes.h"
#include "proto/wire/frames.h"

namespace millrace {
namespace {

// Serialized millrace.v1.Error, so that whoever has the .proto can read it too; its message is the status' text.
constexpr char kErrorPayloadType[] = "type.googleapis.com/millrace.v1.Error";

absl::StatusCode CanonicalCode(ErrorCode code) {
  if (code == ErrorCode::kCancelled) return absl::StatusCode::kCancelled;
  if (code == ErrorCode::kNetworkException) return absl::StatusCode::kUnavailable;
  const ErrorCodeFacts* facts = FindErrorCode(static_cast<int32_t>(code));
  return facts == nullptr ? absl::StatusCode::kUnknown : facts->status;
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
  if (code == ErrorCode::kCancelled) return "CANCELLED";
  if (code == ErrorCode::kNetworkException) return "NETWORK_EXCEPTION";
  const ErrorCodeFacts* facts = FindErrorCode(static_cast<int32_t>(code));
  return facts == nullptr ? "UNKNOWN" : facts->name;
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

Trouble NextTrouble(const std::optional<Trouble>& previous, const Error& error, const Clock& clock) {
  return {.status = ToStatus(error), .since = previous ? previous->since : clock.Wall()};
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
  } else if (end.never_sent) {
    error.code = ErrorCode::kNetworkException;
    error.message = std::string(end.status.message());
    error.retriable = true;
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
