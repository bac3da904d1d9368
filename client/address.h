// Lists of broker addresses as users write them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace millrace::client {

// "HOST[:PORT],..." with names, IPv4 or [IPv6] as hosts; a missing port is 9470. Gives HOST:PORT each, duplicates
// removed.
absl::StatusOr<std::vector<std::string>> ParseAddresses(std::string_view list);

}  // namespace millrace::client
