// Generated messages to bytes and back, for control.cc and group_control.cc alone: nothing else in client/ sees generated code.
#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "client/status.h"
#include "millrace/v1/error.pb.h"
#include "proto/wire/frames.h"

namespace millrace::client::control {

inline absl::Cord Bytes(const google::protobuf::MessageLite& message) {
  return absl::Cord(message.SerializeAsString());
}

// kInternal: it is no such message.
template <typename Message>
absl::StatusOr<Message> Parse(const absl::Cord& reply) {
  Message message;
  if (message.ParseFromString(std::string(reply))) return message;
  return ToStatus({.code = ErrorCode::kInternal,
                   .message = "the broker's reply is not a " + message.GetTypeName() + "; do the versions match?"});
}

inline ErrorFrame FrameOf(const v1::Error& error) {
  absl::StatusOr<ErrorFrame> frame = ParseError(Bytes(error));
  if (frame.ok()) return *std::move(frame);
  ErrorFrame unread;
  unread.code = error.code();
  unread.message = error.message();
  return unread;
}

}  // namespace millrace::client::control
