#include "proto/wire/error_codes.h"

#include <algorithm>
#include <array>

namespace millrace {
namespace {

using enum absl::StatusCode;

constexpr std::array kErrorCodes = std::to_array<ErrorCodeFacts>({
    {0, "NONE", false, kOk},
    {1, "OFFSET_OUT_OF_RANGE", false, kOutOfRange},
    {2, "CORRUPT_MESSAGE", false, kDataLoss},
    {3, "UNKNOWN_TOPIC_OR_PARTITION", false, kNotFound},
    {5, "LEADER_NOT_AVAILABLE", true, kUnavailable},
    {6, "NOT_LEADER_OR_FOLLOWER", true, kUnavailable},
    {7, "REQUEST_TIMED_OUT", true, kDeadlineExceeded},
    {10, "MESSAGE_TOO_LARGE", false, kInvalidArgument},
    {17, "INVALID_TOPIC_EXCEPTION", false, kInvalidArgument},
    {19, "NOT_ENOUGH_REPLICAS", true, kUnavailable},
    {24, "INVALID_GROUP_ID", false, kInvalidArgument},
    {25, "UNKNOWN_MEMBER_ID", false, kAborted},
    {26, "INVALID_SESSION_TIMEOUT", false, kInvalidArgument},
    {28, "INVALID_COMMIT_OFFSET_SIZE", false, kInvalidArgument},
    {31, "CLUSTER_AUTHORIZATION_FAILED", false, kPermissionDenied},
    {32, "INVALID_TIMESTAMP", false, kInvalidArgument},
    {35, "UNSUPPORTED_VERSION", false, kUnimplemented},
    {36, "TOPIC_ALREADY_EXISTS", false, kAlreadyExists},
    {37, "INVALID_PARTITIONS", false, kInvalidArgument},
    {38, "INVALID_REPLICATION_FACTOR", false, kInvalidArgument},
    {40, "INVALID_CONFIG", false, kInvalidArgument},
    {42, "INVALID_REQUEST", false, kInvalidArgument},
    {44, "POLICY_VIOLATION", false, kPermissionDenied},
    {45, "OUT_OF_ORDER_SEQUENCE_NUMBER", false, kFailedPrecondition},
    {46, "DUPLICATE_SEQUENCE_NUMBER", false, kAlreadyExists},
    {47, "INVALID_PRODUCER_EPOCH", false, kAborted},
    {56, "KAFKA_STORAGE_ERROR", true, kUnavailable},
    {59, "UNKNOWN_PRODUCER_ID", false, kFailedPrecondition},
    {68, "NON_EMPTY_GROUP", false, kFailedPrecondition},
    {69, "GROUP_ID_NOT_FOUND", false, kNotFound},
    {74, "FENCED_LEADER_EPOCH", true, kAborted},
    {75, "UNKNOWN_LEADER_EPOCH", true, kAborted},
    {76, "UNSUPPORTED_COMPRESSION_TYPE", false, kUnimplemented},
    {81, "GROUP_MAX_SIZE_REACHED", false, kResourceExhausted},
    {82, "FENCED_INSTANCE_ID", false, kAborted},
    {87, "INVALID_RECORD", false, kInvalidArgument},
    {89, "THROTTLING_QUOTA_EXCEEDED", true, kResourceExhausted},
    {100, "UNKNOWN_TOPIC_ID", true, kNotFound},
    {110, "FENCED_MEMBER_EPOCH", false, kAborted},
    {128, "INVALID_REGULAR_EXPRESSION", false, kInvalidArgument},
    {1001, "REPLY_TOO_LARGE", false, kResourceExhausted},
    {1002, "SHUTTING_DOWN", true, kUnavailable},
    {1003, "INTERNAL", false, kInternal},
});
static_assert(std::ranges::is_sorted(kErrorCodes, {}, &ErrorCodeFacts::code));

}  // namespace

std::span<const ErrorCodeFacts> ErrorCodes() { return kErrorCodes; }

const ErrorCodeFacts* FindErrorCode(int32_t code) {
  const auto it = std::ranges::lower_bound(kErrorCodes, code, {}, &ErrorCodeFacts::code);
  return it != kErrorCodes.end() && it->code == code ? &*it : nullptr;
}

}  // namespace millrace
