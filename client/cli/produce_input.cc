#include "client/cli/produce_input.h"

#include <utility>

namespace millrace::cli {
namespace {

// Names to scan lines for, and where they stand among them.
FieldScanner MakeScanner(const RecordMakerOptions& options, std::optional<size_t>& key_index,
                         std::optional<size_t>& timestamp_index) {
  std::vector<std::string> names;
  if (options.key_field) {
    key_index = names.size();
    names.push_back(*options.key_field);
  }
  if (options.timestamp_field && options.timestamp_field == options.key_field) {
    timestamp_index = key_index;
  } else if (options.timestamp_field) {
    timestamp_index = names.size();
    names.push_back(*options.timestamp_field);
  }
  return FieldScanner(std::move(names));
}

}  // namespace

RecordMaker::RecordMaker(RecordMakerOptions options)
    : options_(std::move(options)), scanner_(MakeScanner(options_, key_index_, timestamp_index_)) {}

absl::Status RecordMaker::Make(const std::optional<std::string_view>& input, ProducerRecord& record) {
  if (options_.input == RecordMakerOptions::Input::kJson) return TakeJson(input.value_or(""), record);
  record.value = input;
  if (options_.key) record.key = *options_.key;
  if (options_.key_separator && input) {
    size_t place = input->find(*options_.key_separator);
    record.key.reset();
    if (place != std::string_view::npos) {
      record.key = input->substr(0, place);
      record.value = input->substr(place + options_.key_separator->size());
    }
  }
  if (record.headers.size() != options_.headers.size()) {
    for (const HeaderText& header : options_.headers) record.headers.push_back({header.key, header.value});
  }
  return key_index_ || timestamp_index_ ? TakeFields(input.value_or(""), record) : absl::OkStatus();
}

absl::Status RecordMaker::TakeFields(std::string_view line, ProducerRecord& record) {
  if (absl::Status scanned = scanner_.Scan(line); !scanned.ok()) return scanned;
  if (key_index_) {
    const JsonText* field = scanner_.field(*key_index_);
    absl::StatusOr<std::optional<std::string_view>> key = KeyOfField(field, *options_.key_field);
    if (!key.ok()) return key.status();
    record.key = *key;
    key_seen_ |= field != nullptr;
  }
  if (timestamp_index_) {
    absl::StatusOr<int64_t> timestamp = TimestampOfField(scanner_.field(*timestamp_index_), *options_.timestamp_field);
    if (!timestamp.ok()) return timestamp.status();
    record.timestamp = *timestamp;
  }
  return absl::OkStatus();
}

absl::Status RecordMaker::TakeJson(std::string_view line, ProducerRecord& record) {
  if (absl::Status parsed = ParseJsonRecord(line, json_); !parsed.ok()) return parsed;
  if (options_.keep_partition && !json_.partition) return absl::InvalidArgumentError("has no \"partition\" to keep");
  if (options_.keep_timestamp && !json_.timestamp) return absl::InvalidArgumentError("has no \"timestamp\" to keep");
  record.key = json_.key;
  record.value = json_.value;
  record.headers.clear();
  for (const HeaderText& header : json_.headers) record.headers.push_back({header.key, header.value});
  if (options_.keep_partition) record.partition = static_cast<int32_t>(*json_.partition);
  if (options_.keep_timestamp) record.timestamp = json_.timestamp;
  return absl::OkStatus();
}

}  // namespace millrace::cli
