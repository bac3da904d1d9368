// Errors as the library makes and receives them; the public side is millrace/error.h.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "millrace/consumer.h"
#include "millrace/error.h"
#include "proto/wire/frames.h"
#include "proto/wire/runtime.h"
#include "proto/wire/transport.h"

namespace millrace::client {

Error FromFrame(const ErrorFrame& frame);

// What ended a call to `address`. A status without an Error of the peer's becomes kRequestTimedOut, kUnsupportedVersion
// or kNetworkException.
Error ErrorOfCall(const CallEnd& end, const std::string& address);

// Whether to ask again without being told to. A topic that is not there may appear later, but nobody should wait for
// that.
bool WorthRetrying(const Error& error);

// `error` goes on what began with `previous`, or begins now.
Trouble NextTrouble(const std::optional<Trouble>& previous, const Error& error, const Clock& clock);

absl::Status InvalidConfig(std::string message);
absl::Status InvalidRequest(std::string message);

}  // namespace millrace::client
