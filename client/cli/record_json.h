// The JSON of a record: one line of `consume --output json`, and what `produce --input json` reads back.
//
//     {"topic":"t","partition":0,"offset":7,"leader_epoch":1,"timestamp":0,"append_time":0,"key":null,"value":"a","headers":[]}
//
// Keys and values that are not UTF-8 stand as base64, with "key_encoding" or "value_encoding":"base64" beside them (in
// headers too); null is null. Encoding and decoding are exact inverses on every record.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace millrace::cli {

struct HeaderText {
  std::string key;
  std::optional<std::string> value;

  bool operator==(const HeaderText&) const = default;
};

// A record read back from JSON, with the members that producing can use; `partition` and `timestamp` where they were given.
struct JsonRecord {
  std::optional<int64_t> partition;  // fits 32 bits
  std::optional<int64_t> timestamp;
  std::optional<std::string> key;
  std::optional<std::string> value;
  std::vector<HeaderText> headers;

  bool operator==(const JsonRecord&) const = default;
};

// Appends a JSON string in double quotes. `text` must be UTF-8.
void AppendJsonString(std::string& out, std::string_view text);

// Appends `"name":…` for bytes that may be null or not UTF-8, and `,"name_encoding":"base64"` where needed.
void AppendJsonBytes(std::string& out, std::string_view name, const std::optional<std::string_view>& bytes);

// Members of other names are passed over. kInvalidArgument continues a sentence that begins "line 7 ".
absl::Status ParseJsonRecord(std::string_view line, JsonRecord& record);

}  // namespace millrace::cli
