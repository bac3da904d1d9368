#include "client/cli/json_cursor.h"

#include <charconv>
#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace millrace::cli {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// What ends a number, true, false or null.
bool EndsScalar(char c) { return c == ',' || c == '}' || c == ']' || IsSpace(c); }

bool IsNumber(std::string_view text) {
  bool starts_as_json = !text.empty() && (text[0] == '-' || (text[0] >= '0' && text[0] <= '9'));
  double number;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return starts_as_json && error != std::errc::invalid_argument && end == text.data() + text.size();
}

void AppendUtf8(std::string& out, uint32_t character) {
  auto tail = [&](int shift) { out += static_cast<char>(0x80 | ((character >> shift) & 0x3f)); };
  if (character < 0x80) {
    out += static_cast<char>(character);
  } else if (character < 0x800) {
    out += static_cast<char>(0xc0 | character >> 6);
    tail(0);
  } else if (character < 0x10000) {
    out += static_cast<char>(0xe0 | character >> 12);
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xf0 | character >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

// Takes the four digits of \uXXXX off the front.
bool TakeHex(std::string_view& raw, uint32_t& value) {
  if (raw.size() < 4) return false;
  auto [end, error] = std::from_chars(raw.data(), raw.data() + 4, value, 16);
  if (error != std::errc() || end != raw.data() + 4) return false;
  raw.remove_prefix(4);
  return true;
}

bool AppendUnicode(std::string& out, std::string_view& raw) {
  uint32_t character = 0, low = 0;
  if (!TakeHex(raw, character)) return false;
  if (character >= 0xd800 && character < 0xe000) {
    if (character >= 0xdc00 || !raw.starts_with("\\u")) return false;
    raw.remove_prefix(2);
    if (!TakeHex(raw, low) || low < 0xdc00 || low >= 0xe000) return false;
    character = 0x10000 + ((character - 0xd800) << 10) + (low - 0xdc00);
  }
  AppendUtf8(out, character);
  return true;
}

}  // namespace

bool AppendUnescaped(std::string& out, std::string_view raw) {
  constexpr std::string_view kLetters = "\"\\/bfnrt";
  constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
  while (true) {
    size_t backslash = raw.find('\\');
    out += raw.substr(0, backslash);
    if (backslash == std::string_view::npos) return true;
    raw.remove_prefix(backslash + 1);
    if (raw.empty()) return false;
    const char letter = raw[0];
    raw.remove_prefix(1);
    size_t index = kLetters.find(letter);
    if (index != std::string_view::npos) {
      out += kMeanings[index];
    } else if (letter != 'u' || !AppendUnicode(out, raw)) {
      return false;
    }
  }
}

bool JsonCursor::TakeName(JsonText& name) {
  SkipSpace();
  if (at_ == end_ || *at_ != '"') return Fail("a name in double quotes was expected");
  if (!TakeString(name)) return false;
  SkipSpace();
  if (at_ == end_ || *at_ != ':') return Fail("a colon was expected after a name");
  ++at_;
  return true;
}

bool JsonCursor::TakeValue(JsonText& value) {
  using Kind = JsonText::Kind;
  SkipSpace();
  if (at_ == end_) return Fail("it ends where a value was expected");
  if (*at_ == '"') return TakeString(value);
  const char* begin = at_;
  value.escaped = false;
  if (*at_ == '{' || *at_ == '[') {
    value.kind = *at_ == '{' ? Kind::kObject : Kind::kArray;
    if (!SkipNested()) return false;
    value.text = std::string_view(begin, at_ - begin);
    return true;
  }
  while (at_ < end_ && !EndsScalar(*at_)) ++at_;
  value.text = std::string_view(begin, at_ - begin);
  value.kind = value.text == "null"                            ? Kind::kNull
               : value.text == "true" || value.text == "false" ? Kind::kBool
                                                               : Kind::kNumber;
  if (value.kind == Kind::kNumber && !IsNumber(value.text))
    return Fail("a value is neither string, number, true, false nor null");
  return true;
}

bool JsonCursor::AtEnd() {
  SkipSpace();
  return at_ == end_;
}

bool JsonCursor::Enter(char open, char close, const char* otherwise) {
  SkipSpace();
  if (at_ == end_ || *at_ != open) return Fail(otherwise);
  ++at_;
  SkipSpace();
  if (at_ == end_ || *at_ != close) return true;
  ++at_;
  return false;
}

bool JsonCursor::NextIn(char close) {
  SkipSpace();
  if (at_ < end_ && *at_ == ',') {
    ++at_;
    return true;
  }
  if (at_ == end_ || *at_ != close) return Fail("a comma or closing bracket was expected");
  ++at_;
  return false;
}

bool JsonCursor::TakeString(JsonText& string) {
  string.kind = JsonText::Kind::kString;
  string.escaped = false;
  const char* begin = ++at_;
  for (; at_ < end_; ++at_) {
    if (*at_ == '"') {
      string.text = std::string_view(begin, at_ - begin);
      ++at_;
      return true;
    }
    if (*at_ == '\\') {
      string.escaped = true;
      if (++at_ == end_) break;
    }
  }
  return Fail("a string has no end");
}

// Brackets are counted outside strings.
bool JsonCursor::SkipNested() {
  int depth = 0;
  JsonText ignored;
  while (at_ < end_) {
    if (*at_ == '"') {
      if (!TakeString(ignored)) return false;
      continue;
    }
    if (*at_ == '{' || *at_ == '[') ++depth;
    if (*at_ == '}' || *at_ == ']') --depth;
    ++at_;
    if (depth == 0) return true;
  }
  return Fail("a bracket is not closed");
}

void JsonCursor::SkipSpace() {
  while (at_ < end_ && IsSpace(*at_)) ++at_;
}

bool JsonCursor::Fail(const char* what) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat("is no JSON object: ", what));
  return false;
}

}  // namespace millrace::cli
