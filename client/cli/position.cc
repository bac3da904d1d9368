#include "client/cli/position.h"

#include <chrono>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/units.h"

namespace millrace::cli {
namespace {

constexpr int64_t kAny = std::numeric_limits<int64_t>::max();

absl::StatusOr<Position> ParseAgo(std::string_view text) {
  absl::StatusOr<std::chrono::nanoseconds> duration = ParseDuration(text);
  if (!duration.ok()) return duration.status();
  return Position::Ago(std::chrono::duration_cast<std::chrono::milliseconds>(*duration));
}

// Behind the minus sign: "100" are records, "15m" is time.
absl::StatusOr<Position> ParseBack(std::string_view text) {
  if (absl::StatusOr<int64_t> records = ParseInteger(text, 0, kAny); records.ok()) return Position::BeforeEnd(*records);
  return ParseAgo(text);
}

}  // namespace

absl::StatusOr<Position> ParsePosition(std::string_view text) {
  if (text == "beginning" || text == "start" || text == "earliest") return Position::Beginning();
  if (text == "end" || text == "latest") return Position::End();
  if (text.starts_with("@-")) return ParseAgo(text.substr(2));
  if (text.starts_with('@')) {
    absl::StatusOr<int64_t> time = ParseTime(text.substr(1));
    if (!time.ok()) return time.status();
    return Position::Time(*time);
  }
  if (text.starts_with('-')) {
    if (absl::StatusOr<Position> back = ParseBack(text.substr(1)); back.ok()) return back;
  } else if (absl::StatusOr<int64_t> offset = ParseInteger(text, 0, kAny); offset.ok()) {
    return Position::Offset(*offset);
  } else if (LooksLikeDate(text)) {
    absl::StatusOr<int64_t> time = ParseTime(text);
    if (!time.ok()) return time.status();
    return Position::Time(*time);
  }
  return absl::InvalidArgumentError(absl::StrCat("'", std::string(text),
                                                 "' is no position; write beginning, end, an offset (1000), a time "
                                                 "(@2013-07-04T00:00:00Z), a time back from now (-15m) "
                                                 "or a number of records back from the end (-100)"));
}

}  // namespace millrace::cli
