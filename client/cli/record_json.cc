#include "client/cli/record_json.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "proto/wire/utf8.h"

namespace millrace::cli {
namespace {

using nlohmann::json;

// Bytes that cannot stand as they are in a JSON string.
bool NeedsEscape(unsigned char c) { return c < 0x20 || c == '"' || c == '\\'; }

void AppendEscaped(std::string& out, unsigned char c) {
  constexpr char kHex[] = "0123456789abcdef";
  switch (c) {
    case '"': out += "\\\""; return;
    case '\\': out += "\\\\"; return;
    case '\b': out += "\\b"; return;
    case '\f': out += "\\f"; return;
    case '\n': out += "\\n"; return;
    case '\r': out += "\\r"; return;
    case '\t': out += "\\t"; return;
  }
  out += "\\u00";
  out += kHex[c >> 4];
  out += kHex[c & 15];
}

absl::Status Bad(const std::string& what) { return absl::InvalidArgumentError(what); }

// The bytes of member `name` of `object`, undoing its "_encoding".
absl::StatusOr<std::optional<std::string>> TakeBytes(json& object, const std::string& name) {
  auto member = object.find(name);
  if (member == object.end() || member->is_null()) return std::optional<std::string>();
  if (!member->is_string()) return Bad(absl::StrCat("has a \"", name, "\" that is neither a string nor null"));
  auto encoding = object.find(name + "_encoding");
  if (encoding == object.end()) return std::optional<std::string>(std::move(member->get_ref<std::string&>()));
  std::string bytes;
  if (*encoding != "base64") return Bad(absl::StrCat("has a \"", name, "_encoding\" other than base64"));
  if (!absl::Base64Unescape(member->get_ref<std::string&>(), &bytes)) {
    return Bad(absl::StrCat("has a \"", name, "\" that is not base64"));
  }
  return std::optional<std::string>(std::move(bytes));
}

absl::StatusOr<std::optional<int64_t>> TakeInteger(const json& object, const char* name, int64_t max) {
  auto member = object.find(name);
  if (member == object.end() || member->is_null()) return std::optional<int64_t>();
  bool fits = member->is_number_integer() && !(member->is_number_unsigned() && member->get<uint64_t>() > static_cast<uint64_t>(max));
  if (!fits || member->get<int64_t>() > max) return Bad(absl::StrCat("has a \"", name, "\" that is no whole number up to ", max));
  return std::optional<int64_t>(member->get<int64_t>());
}

absl::StatusOr<std::vector<HeaderText>> TakeHeaders(json& object) {
  std::vector<HeaderText> headers;
  auto member = object.find("headers");
  if (member == object.end() || member->is_null()) return headers;
  if (!member->is_array()) return Bad("has \"headers\" that are no array of {\"key\",\"value\"}");
  for (json& item : *member) {
    if (!item.is_object()) return Bad("has \"headers\" that are no array of {\"key\",\"value\"}");
    absl::StatusOr<std::optional<std::string>> key = TakeBytes(item, "key");
    if (!key.ok()) return key.status();
    if (!key->has_value()) return Bad("has a header without a \"key\"");
    absl::StatusOr<std::optional<std::string>> value = TakeBytes(item, "value");
    if (!value.ok()) return value.status();
    headers.push_back({**std::move(key), *std::move(value)});
  }
  return headers;
}

}  // namespace

void AppendJsonString(std::string& out, std::string_view text) {
  out += '"';
  size_t done = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    auto c = static_cast<unsigned char>(text[i]);
    if (!NeedsEscape(c)) continue;
    out.append(text, done, i - done);
    AppendEscaped(out, c);
    done = i + 1;
  }
  out.append(text, done, text.size() - done);
  out += '"';
}

void AppendJsonBytes(std::string& out, std::string_view name, const std::optional<std::string_view>& bytes) {
  out += '"';
  out += name;
  out += "\":";
  if (!bytes) {
    out += "null";
  } else if (IsUtf8(*bytes)) {
    AppendJsonString(out, *bytes);
  } else {
    out += '"';
    out += absl::Base64Escape(absl::string_view(bytes->data(), bytes->size()));
    out += "\",\"";
    out += name;
    out += "_encoding\":\"base64\"";
  }
}

absl::StatusOr<JsonRecord> ParseJsonRecord(std::string_view line) {
  json object = json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return Bad("is no JSON object in UTF-8; --input json takes the lines that consume --output json writes");
  if (!object.contains("value")) {
    return Bad("has no \"value\"; --input json takes the lines that consume --output json writes, for lines of other JSON use --key-field");
  }
  JsonRecord record;
  absl::StatusOr<std::optional<int64_t>> partition = TakeInteger(object, "partition", std::numeric_limits<int32_t>::max());
  if (!partition.ok()) return partition.status();
  if (partition->has_value()) {
    if (**partition < 0) return Bad("has a \"partition\" below 0");
    record.partition = static_cast<int32_t>(**partition);
  }
  absl::StatusOr<std::optional<int64_t>> timestamp = TakeInteger(object, "timestamp", std::numeric_limits<int64_t>::max());
  if (!timestamp.ok()) return timestamp.status();
  record.timestamp = *timestamp;
  absl::StatusOr<std::optional<std::string>> key = TakeBytes(object, "key");
  if (!key.ok()) return key.status();
  record.key = *std::move(key);
  absl::StatusOr<std::optional<std::string>> value = TakeBytes(object, "value");
  if (!value.ok()) return value.status();
  record.value = *std::move(value);
  absl::StatusOr<std::vector<HeaderText>> headers = TakeHeaders(object);
  if (!headers.ok()) return headers.status();
  record.headers = *std::move(headers);
  return record;
}

}  // namespace millrace::cli
