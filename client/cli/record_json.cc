#include "client/cli/record_json.h"

#include <array>
#include <charconv>
#include <limits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/cli/json_cursor.h"
#include "proto/wire/utf8.h"

namespace millrace::cli {
namespace {

// Bytes that cannot stand as they are in a JSON string.
constexpr auto kNeedsEscape = [] {
  std::array<bool, 256> table{};
  for (int c = 0; c < 0x20; ++c) table[c] = true;
  table['"'] = table['\\'] = true;
  return table;
}();

void AppendEscaped(std::string& out, unsigned char c) {
  constexpr char kHex[] = "0123456789abcdef";
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\b':
      out += "\\b";
      return;
    case '\f':
      out += "\\f";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
  }
  out += "\\u00";
  out += kHex[c >> 4];
  out += kHex[c & 15];
}

absl::Status Bad(const std::string& what) { return absl::InvalidArgumentError(what); }

// A member that holds bytes, with the "_encoding" beside it.
struct EncodedBytes {
  JsonText text;
  JsonText encoding;
  bool found = false;
};

absl::Status Decode(const char* name, const EncodedBytes& member, std::optional<std::string>& out) {
  using Kind = JsonText::Kind;
  out.reset();
  if (!member.found || member.text.kind == Kind::kNull) return absl::OkStatus();
  if (member.text.kind != Kind::kString)
    return Bad(absl::StrCat("has a \"", name, "\" that is neither a string nor null"));
  std::string& bytes = out.emplace();
  if (!member.text.escaped) {
    bytes = member.text.text;
  } else if (!AppendUnescaped(bytes, member.text.text)) {
    return Bad(absl::StrCat("has an invalid escape in \"", name, "\""));
  }
  if (member.encoding.kind == Kind::kNull) return absl::OkStatus();
  if (member.encoding.text != "base64") return Bad(absl::StrCat("has a \"", name, "_encoding\" other than base64"));
  const std::string encoded = std::move(bytes);
  bytes.clear();
  return absl::Base64Unescape(encoded, &bytes) ? absl::OkStatus()
                                               : Bad(absl::StrCat("has a \"", name, "\" that is not base64"));
}

absl::Status DecodeInteger(const char* name, const JsonText& member, int64_t min, int64_t max,
                           std::optional<int64_t>& out) {
  out.reset();
  if (member.kind == JsonText::Kind::kNull) return absl::OkStatus();
  int64_t number = 0;
  const char* end_of_text = member.text.data() + member.text.size();
  auto [end, error] = std::from_chars(member.text.data(), end_of_text, number);
  if (member.kind != JsonText::Kind::kNumber || error != std::errc() || end != end_of_text || number < min ||
      number > max) {
    return Bad(absl::StrCat("has a \"", name, "\" that is no whole number from ", min, " to ", max));
  }
  out = number;
  return absl::OkStatus();
}

// Puts a member where it belongs; true when `name` is one of `member`'s two.
bool TakeEncoded(std::string_view name, std::string_view member_name, const JsonText& value, EncodedBytes& member) {
  if (name == member_name) {
    member.text = value;
    member.found = true;
    return true;
  }
  if (!name.starts_with(member_name) || name.substr(member_name.size()) != "_encoding") return false;
  member.encoding = value;
  return true;
}

absl::Status DecodeHeader(std::string_view object, HeaderText& header) {
  JsonCursor at(object);
  JsonText name, value;
  EncodedBytes key_member, value_member;
  for (bool more = at.EnterObject(); more; more = at.NextMember()) {
    if (!at.TakeName(name) || !at.TakeValue(value)) break;
    if (!TakeEncoded(name.text, "key", value, key_member)) TakeEncoded(name.text, "value", value, value_member);
  }
  if (!at.status().ok()) return at.status();
  std::optional<std::string> key;
  if (absl::Status decoded = Decode("key", key_member, key); !decoded.ok()) return decoded;
  if (!key) return Bad("has a header without a \"key\"");
  header.key = *std::move(key);
  return Decode("value", value_member, header.value);
}

absl::Status DecodeHeaders(const JsonText& member, std::vector<HeaderText>& headers) {
  headers.clear();
  if (member.kind == JsonText::Kind::kNull) return absl::OkStatus();
  if (member.kind != JsonText::Kind::kArray) return Bad("has \"headers\" that are no array of {\"key\",\"value\"}");
  JsonCursor at(member.text);
  JsonText item;
  for (bool more = at.EnterArray(); more; more = at.NextItem()) {
    if (!at.TakeValue(item)) break;
    if (item.kind != JsonText::Kind::kObject) return Bad("has \"headers\" that are no array of {\"key\",\"value\"}");
    if (absl::Status decoded = DecodeHeader(item.text, headers.emplace_back()); !decoded.ok()) return decoded;
  }
  return at.status();
}

}  // namespace

void AppendJsonString(std::string& out, std::string_view text) {
  out += '"';
  size_t done = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!kNeedsEscape[static_cast<unsigned char>(text[i])]) continue;
    out.append(text.data() + done, i - done);
    AppendEscaped(out, static_cast<unsigned char>(text[i]));
    done = i + 1;
  }
  out.append(text.data() + done, text.size() - done);
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

absl::Status ParseJsonRecord(std::string_view line, JsonRecord& record) {
  JsonCursor at(line);
  JsonText name, value, partition, timestamp, headers;
  EncodedBytes key_member, value_member;
  for (bool more = at.EnterObject(); more; more = at.NextMember()) {
    if (!at.TakeName(name) || !at.TakeValue(value)) break;
    if (name.text == "partition")
      partition = value;
    else if (name.text == "timestamp")
      timestamp = value;
    else if (name.text == "headers")
      headers = value;
    else if (!TakeEncoded(name.text, "key", value, key_member))
      TakeEncoded(name.text, "value", value, value_member);
  }
  if (!at.status().ok()) return at.status();
  if (!at.AtEnd()) return Bad("is more than one JSON object");
  if (!value_member.found) {
    return Bad(
        "has no \"value\"; --input json takes the lines that consume --output json writes, for lines of other JSON use "
        "--key-field");
  }
  constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
  absl::Status decoded =
      DecodeInteger("partition", partition, 0, std::numeric_limits<int32_t>::max(), record.partition);
  if (decoded.ok()) decoded = DecodeInteger("timestamp", timestamp, -kAny, kAny, record.timestamp);
  if (decoded.ok()) decoded = Decode("key", key_member, record.key);
  if (decoded.ok()) decoded = Decode("value", value_member, record.value);
  if (decoded.ok()) decoded = DecodeHeaders(headers, record.headers);
  return decoded;
}

}  // namespace millrace::cli
