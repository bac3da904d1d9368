// The secret by which the brokers of a cluster recognise each other, as a file holds it.
//
//     absl::StatusOr<std::string> secret = ReadSecretFile("/etc/millrace.secret");
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace millrace::server {

// Without white space around it. kInvalidArgument, with a sentence that does not name the file: it cannot be read, other users of
// the machine can read or change it, or it is not 16 to 1,024 printable characters.
absl::StatusOr<std::string> ReadSecretFile(const std::string& file);

}  // namespace millrace::server
