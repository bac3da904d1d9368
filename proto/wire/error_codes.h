// The one table of error codes: name, whether a retry can help, and the status of a call that fails with it.
//
//     const ErrorCodeFacts* facts = FindErrorCode(frame.code);
//     if (facts != nullptr) std::cerr << facts->name;
//
// The numbers are those of millrace.v1.Error.Code, where each is described; a test holds the two against each other.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"

namespace millrace {

struct ErrorCodeFacts {
  int32_t code;
  std::string_view name;
  // Usual for this code; an error may say otherwise.
  bool retriable;
  absl::StatusCode status;
};

// By number.
std::span<const ErrorCodeFacts> ErrorCodes();

// nullptr for a number that this release does not know.
const ErrorCodeFacts* FindErrorCode(int32_t code);

}  // namespace millrace
