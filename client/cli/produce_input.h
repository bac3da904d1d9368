// How `produce` makes records of its input: whole lines, lines with a key in front, lines of JSON that hold key and time, or the
// JSON of whole records.
//
//     RecordMaker maker(std::move(options));
//     if (absl::Status made = maker.Make(line, record); !made.ok()) ...  // the text continues "line 7 "
//
// Not thread-safe.
#pragma once

#include <millrace/record.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "client/cli/field_scanner.h"
#include "client/cli/record_json.h"

namespace millrace::cli {

struct RecordMakerOptions {
  enum class Input { kLines, kJson };
  Input input = Input::kLines;
  // At most one of these three gives the key.
  std::optional<std::string> key;            // the same for all
  std::optional<std::string> key_separator;  // in front of it on each line; a line without it has a null key
  std::optional<std::string> key_field;      // of the line as JSON
  std::optional<std::string> timestamp_field;
  std::vector<HeaderText> headers;
  // Of Input::kJson: take over what the record says.
  bool keep_partition = false;
  bool keep_timestamp = false;
};

class RecordMaker {
 public:
  explicit RecordMaker(RecordMakerOptions options);

  // Sets key, value, headers, and timestamp and partition where the input says them; leaves the others as they are. Views in
  // `record` are valid until the next call, as long as `input`.
  absl::Status Make(const std::optional<std::string_view>& input, ProducerRecord& record);

  // True when --key-field was given and no record had that field.
  bool KeyFieldNeverSeen() const { return key_index_.has_value() && !key_seen_; }

 private:
  absl::Status TakeFields(std::string_view line, ProducerRecord& record);
  absl::Status TakeJson(std::string_view line, ProducerRecord& record);

  const RecordMakerOptions options_;
  std::optional<size_t> key_index_, timestamp_index_;  // of scanner_'s fields
  FieldScanner scanner_;
  bool key_seen_ = false;
  JsonRecord json_;  // backs the views of a record from JSON
};

}  // namespace millrace::cli
