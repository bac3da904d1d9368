#include "server/errors.h"

#include <chrono>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "millrace/v1/broker.pb.h"
#include "proto/wire/check.h"
#include "proto/wire/error_codes.h"
#include "proto/wire/utf8.h"
#include "server/topic_name.h"
#include "server/write_deadline.h"

namespace millrace::server {
namespace {

using v1::Error;

// Of a message, and of a name in it. A failed call carries its error in headers, twice and encoded, and gRPC's clients refuse
// more than 8 KiB of those.
constexpr size_t kMessageBytesMax = 1000;

// The beginning of a long text, at a character's end.
std::string Shortened(std::string text, size_t bytes_max) {
  constexpr std::string_view kCut = "...";
  if (text.size() > bytes_max) {
    size_t end = bytes_max - kCut.size();
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text.resize(end);
    text += kCut;
  }
  return IsUtf8(text) ? text : MakeUtf8(text);
}

}  // namespace

ErrorFrame MakeError(ErrorCode code, std::string message) {
  ErrorFrame error;
  error.code = code;
  error.message = Shortened(std::move(message), kMessageBytesMax);
  error.retriable = FindErrorCode(code)->retriable;
  return error;
}

ErrorFrame MakeError(ErrorCode code, const std::string& topic, std::optional<int32_t> partition, std::string message) {
  ErrorFrame error = MakeError(code, std::move(message));
  error.topic = Shortened(topic, kTopicNameMax);
  error.partition = partition;
  return error;
}

ErrorFrame NoTopic(const std::string& name, std::optional<int32_t> partition) {
  if (std::string problem = TopicNameProblem(name);
      !problem.empty() && (name.size() > kTopicNameMax || !IsInternalTopic(name)))
    return MakeError(Error::INVALID_TOPIC_EXCEPTION, name, partition, std::move(problem));
  return MakeError(
      Error::UNKNOWN_TOPIC_OR_PARTITION, name, partition,
      absl::StrCat("there is no topic ", name, "; list the topics, or create it with: millrace topic create ", name));
}

ErrorFrame CheckWritable(const std::string& topic) {
  if (!IsInternalTopic(topic)) return {};
  return MakeError(
      Error::POLICY_VIOLATION, topic, std::nullopt,
      absl::StrCat(topic, " is a topic of the cluster's own: it can be read, and is changed by brokers alone"));
}

ErrorFrame TopicDeleted(const std::string& name, int32_t partition) {
  return MakeError(Error::UNKNOWN_TOPIC_OR_PARTITION, name, partition,
                   absl::StrCat("topic ", name, " was deleted; its records are gone"));
}

ErrorFrame CheckRouting(int32_t routing) {
  if (v1::Routing_IsValid(routing)) return {};
  return MakeError(Error::INVALID_REQUEST,
                   absl::StrCat("routing ", routing, " is not known; it is ROUTING_ANY or ROUTING_LEADER_ONLY"));
}

v1::LeaderHint StubOf(const LeaderHintFrame& leader) {
  v1::LeaderHint stub;
  stub.set_broker_id(leader.broker_id);
  stub.set_address(leader.address);
  stub.set_leader_epoch(leader.leader_epoch);
  return stub;
}

ErrorFrame NotTakenError() {
  return MakeError(
      Error::REQUEST_TIMED_OUT,
      absl::StrCat("the client took nothing of a reply for ", std::chrono::seconds(WriteDeadline::kLimit).count(),
                   " s, so the call was ended to free its memory; call again and keep reading"));
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
  // One that is handed on may be of a newer broker, whose codes are not known here (D14).
  const ErrorCodeFacts* facts = FindErrorCode(error.code);
  const std::string name = facts != nullptr ? std::string(facts->name) : absl::StrCat("code ", error.code);
  const std::string text = name + ": " + error.message;
  absl::Status status(facts != nullptr ? facts->status : absl::StatusCode::kUnknown,
                      absl::string_view(text.data(), text.size()));
  return {std::move(status), std::move(error)};
}

}  // namespace millrace::server
