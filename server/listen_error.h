// Why an address cannot be listened on: gRPC only tells that it cannot.
#pragma once

#include "absl/status/status.h"
#include "server/host_port.h"

namespace millrace::server {

// Tries it once more. kUnavailable in any case: the address, the cause and what to do; port 0 stands for any free one.
absl::Status ListenError(const HostPort& address);

}  // namespace millrace::server
