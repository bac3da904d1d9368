#include "client/cli/record_format.h"

#include <charconv>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "client/cli/record_json.h"

namespace millrace::cli {
namespace {

constexpr std::string_view kFieldLetters = "tpoeTkvhKV";

void AppendInteger(std::string& out, int64_t number) {
  char digits[24];
  out.append(digits, std::to_chars(digits, digits + sizeof(digits), number).ptr - digits);
}

int64_t LengthOf(const std::optional<std::string_view>& bytes) {
  return bytes ? static_cast<int64_t>(bytes->size()) : -1;
}

void AppendHeaders(std::string& out, std::span<const Header> headers) {
  bool first = true;
  for (const Header& header : headers) {
    if (!first) out += ',';
    first = false;
    out += header.key;
    out += '=';
    out += header.value.value_or("NULL");
  }
}

// Takes what follows a backslash off the front of `rest`.
absl::StatusOr<char> TakeEscape(std::string_view& rest) {
  const char kind = rest.empty() ? '\0' : rest[0];
  if (!rest.empty()) rest.remove_prefix(1);
  switch (kind) {
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case 'r':
      return '\r';
    case '0':
      return '\0';
    case '\\':
      return '\\';
    case 'x': {
      unsigned char byte = 0;
      if (rest.size() < 2) break;
      auto [end, error] = std::from_chars(rest.data(), rest.data() + 2, byte, 16);
      if (error != std::errc() || end != rest.data() + 2) break;
      rest.remove_prefix(2);
      return static_cast<char>(byte);
    }
  }
  return absl::InvalidArgumentError("a backslash begins one of \\n \\t \\r \\0 \\\\ \\xNN");
}

}  // namespace

absl::StatusOr<std::string> ResolveEscapes(std::string_view text) {
  std::string resolved;
  while (!text.empty()) {
    char c = text[0];
    text.remove_prefix(1);
    if (c == '\\') {
      absl::StatusOr<char> escaped = TakeEscape(text);
      if (!escaped.ok()) return escaped.status();
      c = *escaped;
    }
    resolved += c;
  }
  return resolved;
}

void RecordFormat::AddLiteral(char c) {
  if (segments_.empty() || segments_.back().field != Field::kLiteral) segments_.emplace_back();
  segments_.back().literal += c;
}

absl::StatusOr<RecordFormat> RecordFormat::Compile(std::string_view text) {
  RecordFormat format;
  while (!text.empty()) {
    char c = text[0];
    text.remove_prefix(1);
    if (c == '%') {
      const char letter = text.empty() ? ' ' : text[0];
      if (!text.empty()) text.remove_prefix(1);
      if (letter == '%') {
        format.AddLiteral('%');
      } else if (kFieldLetters.find(letter) != std::string_view::npos) {
        format.segments_.push_back({static_cast<Field>(letter), ""});
      } else {
        return absl::InvalidArgumentError(
            absl::StrCat("'%", std::string(1, letter),
                         "' is no field; there are %t %p %o %k %v %T %h %e %K %V, and %% for a percent sign"));
      }
      continue;
    }
    if (c == '\\') {
      absl::StatusOr<char> escaped = TakeEscape(text);
      if (!escaped.ok()) return escaped.status();
      c = *escaped;
    }
    format.AddLiteral(c);
  }
  return format;
}

void RecordFormat::Append(std::string& out, const ConsumerRecord& record) const {
  for (const Segment& segment : segments_) {
    switch (segment.field) {
      case Field::kLiteral:
        out += segment.literal;
        break;
      case Field::kTopic:
        out += record.topic;
        break;
      case Field::kPartition:
        AppendInteger(out, record.partition);
        break;
      case Field::kOffset:
        AppendInteger(out, record.offset);
        break;
      case Field::kLeaderEpoch:
        AppendInteger(out, record.leader_epoch);
        break;
      case Field::kTimestamp:
        AppendInteger(out, record.timestamp);
        break;
      case Field::kKey:
        out += record.key.value_or("");
        break;
      case Field::kValue:
        out += record.value.value_or("");
        break;
      case Field::kHeaders:
        AppendHeaders(out, record.headers);
        break;
      case Field::kKeyLength:
        AppendInteger(out, LengthOf(record.key));
        break;
      case Field::kValueLength:
        AppendInteger(out, LengthOf(record.value));
        break;
    }
  }
}

void AppendJsonRecord(std::string& out, const ConsumerRecord& record) {
  out += "{\"topic\":";
  AppendJsonString(out, record.topic);
  out += ",\"partition\":";
  AppendInteger(out, record.partition);
  out += ",\"offset\":";
  AppendInteger(out, record.offset);
  out += ",\"leader_epoch\":";
  AppendInteger(out, record.leader_epoch);
  out += ",\"timestamp\":";
  AppendInteger(out, record.timestamp);
  out += ",\"append_time\":";
  AppendInteger(out, record.append_time);
  out += ',';
  AppendJsonBytes(out, "key", record.key);
  out += ',';
  AppendJsonBytes(out, "value", record.value);
  out += ",\"headers\":[";
  bool first = true;
  for (const Header& header : record.headers) {
    out += first ? "{" : ",{";
    first = false;
    AppendJsonBytes(out, "key", header.key);
    out += ',';
    AppendJsonBytes(out, "value", header.value);
    out += '}';
  }
  out += "]}\n";
}

void AppendLengthPrefixed(std::string& out, const ConsumerRecord& record) {
  auto length = static_cast<uint32_t>(LengthOf(record.value));
  const char prefix[4] = {static_cast<char>(length >> 24), static_cast<char>(length >> 16),
                          static_cast<char>(length >> 8), static_cast<char>(length)};
  out.append(prefix, sizeof(prefix));
  out += record.value.value_or("");
}

}  // namespace millrace::cli
