#include "client/cli/field_scanner.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/units.h"

namespace millrace::cli {
namespace {

// Numbers below this are seconds since 1970, others milliseconds: 10^11 s is the year 5138, 10^11 ms is March 1973.
constexpr double kSecondsBelow = 1e11;
constexpr double kMillisBelow = 1e14;

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

void SkipSpace(const char*& at, const char* end) {
  while (at < end && IsSpace(*at)) ++at;
}

// What ends a number, true, false or null.
bool EndsScalar(char c) { return c == ',' || c == '}' || c == ']' || IsSpace(c); }

absl::Status NotJson(const char* what) { return absl::InvalidArgumentError(absl::StrCat("is no JSON object: ", what)); }

struct RawString {
  std::string_view text;  // between the quotes
  bool escaped = false;
};

// `at` stands on the opening quote; afterwards behind the closing one.
bool TakeString(const char*& at, const char* end, RawString& out) {
  const char* begin = ++at;
  out.escaped = false;
  for (; at < end; ++at) {
    if (*at == '"') {
      out.text = std::string_view(begin, at - begin);
      ++at;
      return true;
    }
    if (*at == '\\') {
      out.escaped = true;
      ++at;
    }
  }
  return false;
}

// Skips an object or array with all in it: brackets are counted outside strings.
bool SkipNested(const char*& at, const char* end) {
  int depth = 0;
  RawString ignored;
  while (at < end) {
    if (*at == '"') {
      if (!TakeString(at, end, ignored)) return false;
      continue;
    }
    if (*at == '{' || *at == '[') ++depth;
    if (*at == '}' || *at == ']') --depth;
    ++at;
    if (depth == 0) return true;
  }
  return false;
}

absl::StatusOr<std::string> Unescape(std::string_view raw) {
  nlohmann::json parsed = nlohmann::json::parse(absl::StrCat("\"", std::string(raw), "\""), nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_string()) return NotJson("a string has an invalid escape or is not UTF-8");
  return parsed.get<std::string>();
}

JsonField::Kind KindOfScalar(std::string_view text) {
  using Kind = JsonField::Kind;
  if (text == "null") return Kind::kNull;
  if (text == "true" || text == "false") return Kind::kBool;
  double number;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  bool starts_as_json = !text.empty() && (text[0] == '-' || (text[0] >= '0' && text[0] <= '9'));
  return starts_as_json && error == std::errc() && end == text.data() + text.size() ? Kind::kNumber : Kind::kMissing;
}

}  // namespace

FieldScanner::FieldScanner(std::vector<std::string> names) {
  for (std::string& name : names) fields_.push_back({.name = std::move(name), .value = {}, .unescaped = {}});
}

absl::Status FieldScanner::Scan(std::string_view line) {
  for (Wanted& wanted : fields_) wanted.value = {};
  const char* at = line.data();
  const char* end = line.data() + line.size();
  SkipSpace(at, end);
  if (at == end || *at != '{') return NotJson("it does not begin with {");
  ++at;
  return ScanMembers(at, end);
}

FieldScanner::Wanted* FieldScanner::Match(std::string_view raw_name, bool escaped) {
  std::string unescaped;
  if (escaped) {
    absl::StatusOr<std::string> name = Unescape(raw_name);
    if (!name.ok()) return nullptr;
    unescaped = *std::move(name);
    raw_name = unescaped;
  }
  for (Wanted& wanted : fields_) {
    if (wanted.value.kind == JsonField::Kind::kMissing && wanted.name == raw_name) return &wanted;
  }
  return nullptr;
}

absl::Status FieldScanner::ScanMembers(const char*& at, const char* end) {
  size_t missing = fields_.size();
  SkipSpace(at, end);
  if (at < end && *at == '}') return absl::OkStatus();
  while (true) {
    RawString name;
    SkipSpace(at, end);
    if (at == end || *at != '"' || !TakeString(at, end, name)) return NotJson("a name in double quotes was expected");
    SkipSpace(at, end);
    if (at == end || *at != ':') return NotJson("a colon was expected after a name");
    ++at;
    SkipSpace(at, end);
    if (at == end) return NotJson("it ends within a member");

    const char* begin = at;
    RawString string;
    JsonField::Kind kind;
    if (*at == '"') {
      if (!TakeString(at, end, string)) return NotJson("a string has no end");
      kind = JsonField::Kind::kString;
    } else if (*at == '{' || *at == '[') {
      kind = *at == '{' ? JsonField::Kind::kObject : JsonField::Kind::kArray;
      if (!SkipNested(at, end)) return NotJson("a bracket is not closed");
    } else {
      while (at < end && !EndsScalar(*at)) ++at;
      kind = JsonField::Kind::kNumber;  // or null, true, false: looked at only when the field is wanted
    }

    if (Wanted* wanted = Match(name.text, name.escaped)) {
      std::string_view text(begin, at - begin);
      if (kind == JsonField::Kind::kString) {
        text = string.text;
        if (string.escaped) {
          absl::StatusOr<std::string> unescaped = Unescape(string.text);
          if (!unescaped.ok()) return unescaped.status();
          wanted->unescaped = *std::move(unescaped);
          text = wanted->unescaped;
        }
      } else if (kind == JsonField::Kind::kNumber) {
        kind = KindOfScalar(text);
        if (kind == JsonField::Kind::kMissing) return NotJson("a value is neither string, number, true, false nor null");
      }
      wanted->value = {.kind = kind, .text = text};
      if (--missing == 0) return absl::OkStatus();
    }

    SkipSpace(at, end);
    if (at < end && *at == '}') return absl::OkStatus();
    if (at == end || *at != ',') return NotJson("a comma or } was expected after a member");
    ++at;
  }
}

absl::StatusOr<std::optional<std::string_view>> KeyOfField(const JsonField& field, const std::string& name) {
  using Kind = JsonField::Kind;
  switch (field.kind) {
    case Kind::kMissing:
    case Kind::kNull:
      return std::optional<std::string_view>();
    case Kind::kString:
    case Kind::kNumber:
    case Kind::kBool:
      return std::optional<std::string_view>(field.text);
    case Kind::kObject:
    case Kind::kArray:
      break;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("has an ", field.kind == Kind::kObject ? "object" : "array", " in field '", name, "'; a key is a string or a number"));
}

absl::StatusOr<int64_t> TimestampOfField(const JsonField& field, const std::string& name) {
  using Kind = JsonField::Kind;
  if (field.kind == Kind::kString) {
    if (std::optional<int64_t> time = ParseIsoTime(field.text)) return *time;
  } else if (field.kind == Kind::kNumber) {
    double number = 0;
    std::from_chars(field.text.data(), field.text.data() + field.text.size(), number);
    if (std::abs(number) < kSecondsBelow) return std::llround(number * 1000);
    if (std::abs(number) < kMillisBelow) return std::llround(number);
  } else if (field.kind == Kind::kMissing) {
    return absl::InvalidArgumentError(absl::StrCat("has no field '", name, "' to take the time from"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("has ", std::string(field.text), " in field '", name,
                   "'; a time is an ISO 8601 string with a zone (2013-07-04T00:00:00Z) or a number of seconds or milliseconds since 1970"));
}

}  // namespace millrace::cli
