// Errors as the broker makes them; the codes and what goes with each are in proto/wire/error_codes.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "millrace/v1/error.pb.h"
#include "proto/wire/frames.h"
#include "proto/wire/transport.h"

namespace millrace::server {

using ErrorCode = v1::Error::Code;

// An error with the code's usual `retriable`. `message`: what failed, why, what to do next. What a client sent may be echoed in
// it: long texts are cut, so that no error is too large to be delivered.
ErrorFrame MakeError(ErrorCode code, std::string message);
ErrorFrame MakeError(ErrorCode code, const std::string& topic, std::optional<int32_t> partition, std::string message);

// A name that no topic has, or that none can have.
ErrorFrame NoTopic(const std::string& name, std::optional<int32_t> partition = std::nullopt);
// Of who would change a topic of the cluster's own; none of other topics.
ErrorFrame CheckWritable(const std::string& topic);
ErrorFrame TopicDeleted(const std::string& name, int32_t partition);
// INVALID_REQUEST of a number that is no Routing; otherwise none. A client of a later release must not get another answer than the
// one it asked for.
ErrorFrame CheckRouting(int32_t routing);
v1::LeaderHint StubOf(const LeaderHintFrame& leader);
// Of a client that does not read what it asked for; see WriteDeadline.
ErrorFrame NotTakenError();

// A failure of the store or of a library, as the client is told of it. kInvalidArgument and kDataLoss from the codec mean a
// bad message of the client's.
ErrorFrame ErrorFromStatus(const absl::Status& status);

// The end of a call that fails as a whole: status text "CODE: message", and the error itself.
CallEnd FailedCall(ErrorFrame error);

inline std::string ToStdString(absl::string_view text) { return std::string(text.data(), text.size()); }

}  // namespace millrace::server
