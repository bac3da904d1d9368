// Where in a topic to begin or end, as `--from`, `--until` and `--at` take it:
//
//     beginning | end | OFFSET | @TIME | -15m | -100
//
// `-15m` is a time back from now, `-100` a number of records back from the end of each partition.
// `start` and `earliest` mean beginning, `latest` means end, `@-15m` is `-15m`. A time with a date needs no `@`.
#pragma once

#include <millrace/consumer.h>

#include <string_view>

#include "absl/status/statusor.h"

namespace millrace::cli {

// kInvalidArgument names the text and the accepted forms.
absl::StatusOr<Position> ParsePosition(std::string_view text);

}  // namespace millrace::cli
