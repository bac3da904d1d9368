#include "client/cli/field_scanner.h"

#include <charconv>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/units.h"

namespace millrace::cli {
namespace {

// Numbers below this are seconds since 1970, others milliseconds: 10^11 s is the year 5138, 10^11 ms is March 1973.
constexpr double kSecondsBelow = 1e11;
constexpr double kMillisBelow = 1e14;

}  // namespace

FieldScanner::FieldScanner(std::vector<std::string> names) {
  for (std::string& name : names) fields_.push_back({.name = std::move(name), .value = {}, .unescaped = {}});
}

absl::Status FieldScanner::Scan(std::string_view line) {
  for (Wanted& wanted : fields_) wanted.found = false;
  size_t missing = fields_.size();
  JsonCursor at(line);
  JsonText name, value;
  for (bool more = at.EnterObject(); more; more = at.NextMember()) {
    if (!at.TakeName(name) || !at.TakeValue(value)) break;
    Wanted* wanted = Match(name);
    if (wanted == nullptr) continue;
    if (value.escaped) {
      wanted->unescaped.clear();
      if (!AppendUnescaped(wanted->unescaped, value.text)) {
        return absl::InvalidArgumentError(absl::StrCat("has an invalid escape in field '", wanted->name, "'"));
      }
      value.text = wanted->unescaped;
    }
    wanted->found = true;
    wanted->value = value;
    if (--missing == 0) break;
  }
  return at.status();
}

FieldScanner::Wanted* FieldScanner::Match(const JsonText& name) {
  std::string_view text = name.text;
  if (name.escaped) {
    unescaped_name_.clear();
    if (!AppendUnescaped(unescaped_name_, name.text)) return nullptr;
    text = unescaped_name_;
  }
  for (Wanted& wanted : fields_) {
    if (!wanted.found && wanted.name == text) return &wanted;
  }
  return nullptr;
}

absl::StatusOr<std::optional<std::string_view>> KeyOfField(const JsonText* field, const std::string& name) {
  using Kind = JsonText::Kind;
  if (field == nullptr || field->kind == Kind::kNull) return std::optional<std::string_view>();
  if (field->kind != Kind::kObject && field->kind != Kind::kArray) return std::optional<std::string_view>(field->text);
  return absl::InvalidArgumentError(absl::StrCat("has an ", field->kind == Kind::kObject ? "object" : "array",
                                                 " in field '", name, "'; a key is a string or a number"));
}

absl::StatusOr<int64_t> TimestampOfField(const JsonText* field, const std::string& name) {
  if (field == nullptr)
    return absl::InvalidArgumentError(absl::StrCat("has no field '", name, "' to take the time from"));
  if (field->kind == JsonText::Kind::kString) {
    if (std::optional<int64_t> time = ParseIsoTime(field->text)) return *time;
  } else if (field->kind == JsonText::Kind::kNumber) {
    double number = 0;
    std::from_chars(field->text.data(), field->text.data() + field->text.size(), number);
    if (std::abs(number) < kSecondsBelow) return std::llround(number * 1000);
    if (std::abs(number) < kMillisBelow) return std::llround(number);
  }
  return absl::InvalidArgumentError(absl::StrCat("has ", std::string(field->text), " in field '", name,
                                                 "'; a time is an ISO 8601 string with a zone (2013-07-04T00:00:00Z) "
                                                 "or a number of seconds or milliseconds since 1970"));
}

}  // namespace millrace::cli
