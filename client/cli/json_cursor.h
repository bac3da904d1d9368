// Steps through JSON text without building anything: what lines at hundreds of MB/s need.
//
//     JsonCursor at(line);
//     JsonText name, value;
//     for (bool more = at.EnterObject(); more; more = at.NextMember()) {
//       if (!at.TakeName(name) || !at.TakeValue(value)) break;
//       ...
//     }
//     if (!at.status().ok()) ...  // kInvalidArgument, "is no JSON object: a colon was expected after a name"
//
// Checks what it needs to find its way (quotes, brackets, commas, colons); what it skips may be wrong in other ways.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace millrace::cli {

struct JsonText {
  enum class Kind { kNull, kString, kNumber, kBool, kObject, kArray };
  Kind kind = Kind::kNull;
  std::string_view text;  // of a string what is between its quotes, of everything else as it is written
  bool escaped = false;   // a string with backslashes: see AppendUnescaped
};

// Appends the string with its escapes resolved. False when one is invalid: unknown, cut short, or half a surrogate pair.
bool AppendUnescaped(std::string& out, std::string_view raw);

class JsonCursor {
 public:
  explicit JsonCursor(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

  // To the first member or item. False when there is none, or on an error.
  bool EnterObject() { return Enter('{', '}', "it does not begin with {"); }
  bool EnterArray() { return Enter('[', ']', "it does not begin with ["); }
  // Past a value, to the next member or item. False behind the last, or on an error.
  bool NextMember() { return NextIn('}'); }
  bool NextItem() { return NextIn(']'); }

  // A member's name with its colon.
  bool TakeName(JsonText& name);
  bool TakeValue(JsonText& value);

  // True when nothing but space is left.
  bool AtEnd();
  const absl::Status& status() const { return status_; }

 private:
  bool Enter(char open, char close, const char* otherwise);
  bool NextIn(char close);
  bool TakeString(JsonText& string);
  bool SkipNested();
  void SkipSpace();
  bool Fail(const char* what);

  const char* at_;
  const char* end_;
  absl::Status status_;
};

}  // namespace millrace::cli
