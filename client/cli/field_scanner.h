// Finds fields at the top level of a JSON object without building the object: what `produce --key-field` and
// `--timestamp-field` need of each line.
//
//     FieldScanner scanner({"tailnum", "time"});
//     if (absl::Status s = scanner.Scan(line); !s.ok()) ...
//     if (const JsonText* field = scanner.field(0)) Use(field->text);
//
// Reading stops once every field was found, so the line is checked only up to there; of a name that repeats, the first counts.
// One scanner serves many lines; not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/json_cursor.h"

namespace millrace::cli {

class FieldScanner {
 public:
  explicit FieldScanner(std::vector<std::string> names);

  // kInvalidArgument when the line is no JSON object as far as it was read.
  absl::Status Scan(std::string_view line);

  // Of the last Scan, in the order of the names given; null: the line does not have it. Escapes are resolved. Valid until the
  // next Scan, as long as the line.
  const JsonText* field(size_t index) const { return fields_[index].found ? &fields_[index].value : nullptr; }

 private:
  struct Wanted {
    std::string name;
    bool found = false;
    JsonText value;
    std::string unescaped;  // backs value.text when the string had escapes
  };

  Wanted* Match(const JsonText& name);

  std::vector<Wanted> fields_;
  std::string unescaped_name_;
};

// The key of a record: null (nullopt) when the field is null or missing; strings without their quotes, numbers and booleans as
// they are written. kInvalidArgument for objects and arrays.
absl::StatusOr<std::optional<std::string_view>> KeyOfField(const JsonText* field, const std::string& name);

// The time of a record in milliseconds since 1970: an ISO 8601 string with a time zone, or a number of seconds (below 10^11) or
// milliseconds. kInvalidArgument for everything else, also for null or missing: a guess would put the record at a wrong time.
absl::StatusOr<int64_t> TimestampOfField(const JsonText* field, const std::string& name);

}  // namespace millrace::cli
