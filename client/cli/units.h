// Durations, sizes and times as people write them on a command line, and as they like to read them.
//
//     ParseDuration("1h30m")               -> 90 min        ParseSize("256KiB")                 -> 262144
//     ParseTime("2013-07-04T00:00:00Z")    -> 1372896000000 ParseTime("1372896000000")          -> 1372896000000
//
// Every error is kInvalidArgument with a sentence that names the text and the accepted forms.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace millrace::cli {

// A number with a unit (us, ms, s, m, h, d, w), or several of them from large to small: "10s", "1.5h", "1h30m". A lone "0"
// needs no unit; any other number does.
absl::StatusOr<std::chrono::nanoseconds> ParseDuration(std::string_view text);

// Bytes, 0 or more: a whole number, alone or with B, kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024).
absl::StatusOr<int64_t> ParseSize(std::string_view text);

// A whole number in [min, max].
absl::StatusOr<int64_t> ParseInteger(std::string_view text, int64_t min, int64_t max);

// ISO 8601 with a time zone ("2013-07-04T00:00:00Z", "2013-07-04 02:00:00.5+02:00"), or milliseconds since 1970.
absl::StatusOr<int64_t> ParseTime(std::string_view text);

// True for what can only be meant as an ISO 8601 time, complete or not.
bool LooksLikeDate(std::string_view text);

// Only the ISO 8601 forms of ParseTime, in milliseconds; nullopt for anything else. Allocates nothing.
std::optional<int64_t> ParseIsoTime(std::string_view text);

std::string FormatTime(int64_t unix_millis);                      // 2013-07-04T00:00:00.000Z
std::string FormatBytes(double bytes);                            // 54.2 MB
std::string FormatCount(int64_t count);                           // 336,776
std::string FormatCountOf(int64_t count, std::string_view noun);  // 1 record, 336,776 records
std::string FormatSeconds(double seconds);                        // 0.8 s, 12 s, 3 min 20 s

}  // namespace millrace::cli
