#include "client/cli/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>

#include "absl/strings/str_cat.h"
#include "proto/wire/setting_value.h"

namespace millrace::cli {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr std::array kDurationUnits = {Unit{"us", 1e3},   Unit{"ms", 1e6},     Unit{"s", 1e9},         Unit{"m", 60e9},
                                       Unit{"h", 3600e9}, Unit{"d", 86'400e9}, Unit{"w", 7 * 86'400e9}};
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

std::string_view TakeWhile(std::string_view& text, bool (*wanted)(char)) {
  size_t n = 0;
  while (n < text.size() && wanted(text[n])) ++n;
  std::string_view taken = text.substr(0, n);
  text.remove_prefix(n);
  return taken;
}

template <size_t N>
const Unit* FindUnit(const std::array<Unit, N>& units, std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) return &unit;
  }
  return nullptr;
}

absl::Status BadDuration(std::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat("'", std::string(text), "' is no duration; write one like 500ms, 10s, 15m, 1h30m or 7d"));
}

// Days since 1970-01-01 of a date of the proleptic Gregorian calendar.
int64_t DaysFromCivil(int64_t year, int month, int day) {
  return std::chrono::sys_days(std::chrono::year(static_cast<int>(year)) / month / day).time_since_epoch().count();
}

// Reads exactly `digits` digits.
bool TakeNumber(std::string_view& text, int digits, int& out) {
  if (text.size() < static_cast<size_t>(digits)) return false;
  out = 0;
  for (int i = 0; i < digits; ++i) {
    if (!IsDigit(text[i])) return false;
    out = out * 10 + (text[i] - '0');
  }
  text.remove_prefix(digits);
  return true;
}

bool TakeChar(std::string_view& text, char c) {
  if (text.empty() || text[0] != c) return false;
  text.remove_prefix(1);
  return true;
}

// Milliseconds of a fraction ".123456"; further digits are cut off.
bool TakeFraction(std::string_view& text, int& millis) {
  millis = 0;
  if (!TakeChar(text, '.') && !TakeChar(text, ',')) return true;
  if (text.empty() || !IsDigit(text[0])) return false;
  int scale = 100;
  while (!text.empty() && IsDigit(text[0])) {
    millis += (text[0] - '0') * scale;
    scale /= 10;
    text.remove_prefix(1);
  }
  return true;
}

bool TakeZone(std::string_view& text, int& offset_minutes) {
  offset_minutes = 0;
  if (TakeChar(text, 'Z') || TakeChar(text, 'z')) return true;
  int sign = TakeChar(text, '+') ? 1 : TakeChar(text, '-') ? -1 : 0;
  int hours = 0, minutes = 0;
  if (sign == 0 || !TakeNumber(text, 2, hours)) return false;
  if (!text.empty()) {
    TakeChar(text, ':');
    if (!TakeNumber(text, 2, minutes)) return false;
  }
  if (hours > 18 || minutes > 59) return false;
  offset_minutes = sign * (hours * 60 + minutes);
  return true;
}

}  // namespace

bool LooksLikeDate(std::string_view text) {
  return text.size() >= 8 && IsDigit(text[0]) && text.find('-', 1) != std::string_view::npos;
}

absl::StatusOr<std::chrono::nanoseconds> ParseDuration(std::string_view text) {
  if (text == "0") return std::chrono::nanoseconds(0);
  if (text.empty()) return BadDuration(text);
  double total = 0, previous_factor = std::numeric_limits<double>::infinity();
  std::string_view rest = text;
  while (!rest.empty()) {
    std::string_view digits = TakeWhile(rest, [](char c) { return IsDigit(c) || c == '.'; });
    std::string_view name = TakeWhile(rest, [](char c) { return c >= 'a' && c <= 'z'; });
    double number = 0;
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc() || end != digits.data() + digits.size()) return BadDuration(text);
    if (name.empty() && rest.empty() && digits.size() == text.size()) {
      return absl::InvalidArgumentError(absl::StrCat("'", std::string(text), "' has no unit; write ", std::string(text),
                                                     "s or ", std::string(text), "ms"));
    }
    const Unit* unit = FindUnit(kDurationUnits, name);
    if (unit == nullptr || unit->factor >= previous_factor) return BadDuration(text);
    previous_factor = unit->factor;
    total += number * unit->factor;
  }
  if (total > 9e18)
    return absl::InvalidArgumentError(absl::StrCat("'", std::string(text), "' is too long: at most 104,000 days"));
  return std::chrono::nanoseconds(std::llround(total));
}

absl::StatusOr<int64_t> ParseSize(std::string_view text) {
  const std::optional<int64_t> bytes = ParseBytes(text);
  if (bytes && *bytes >= 0) return *bytes;
  return absl::InvalidArgumentError(
      absl::StrCat("'", std::string(text), "' is no size; write one like 1000, 256KiB or 64MB"));
}

absl::StatusOr<int64_t> ParseInteger(std::string_view text, int64_t min, int64_t max) {
  int64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size() && number >= min && number <= max) return number;
  std::string range = max == std::numeric_limits<int64_t>::max() ? absl::StrCat(" of at least ", min)
                                                                 : absl::StrCat(" from ", min, " to ", max);
  return absl::InvalidArgumentError(absl::StrCat("'", std::string(text), "' is no whole number", range));
}

std::optional<int64_t> ParseIsoTime(std::string_view text) {
  int year, month, day, hour, minute, second = 0, millis = 0, offset_minutes;
  if (!TakeNumber(text, 4, year) || !TakeChar(text, '-') || !TakeNumber(text, 2, month) || !TakeChar(text, '-') ||
      !TakeNumber(text, 2, day)) {
    return std::nullopt;
  }
  if (!TakeChar(text, 'T') && !TakeChar(text, 't') && !TakeChar(text, ' ')) return std::nullopt;
  if (!TakeNumber(text, 2, hour) || !TakeChar(text, ':') || !TakeNumber(text, 2, minute)) return std::nullopt;
  if (TakeChar(text, ':') && (!TakeNumber(text, 2, second) || !TakeFraction(text, millis))) return std::nullopt;
  if (!TakeZone(text, offset_minutes) || !text.empty()) return std::nullopt;
  if (!(std::chrono::year(year) / month / day).ok() || hour > 24 || minute > 59 || second > 60) return std::nullopt;
  int64_t minutes = (DaysFromCivil(year, month, day) * 24 + hour) * 60 + minute - offset_minutes;
  return (minutes * 60 + second) * 1000 + millis;
}

absl::StatusOr<int64_t> ParseTime(std::string_view text) {
  int64_t millis = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), millis);
  if (error == std::errc() && end == text.data() + text.size()) return millis;
  if (std::optional<int64_t> time = ParseIsoTime(text)) return *time;
  std::string given(text);
  for (const char* completion : {"Z", "T00:00:00Z"}) {
    if (LooksLikeDate(text) && ParseIsoTime(given + completion)) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", given, "' names no time zone; write ", given, completion, " for UTC"));
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "'", given,
      "' is no time; write one like 2013-07-04T00:00:00Z, 2013-07-04T02:00:00+02:00 or milliseconds since 1970"));
}

std::string FormatTime(int64_t unix_millis) {
  using namespace std::chrono;
  sys_time<milliseconds> time{milliseconds(unix_millis)};
  sys_days day = floor<days>(time);
  year_month_day date(day);
  hh_mm_ss clock(time - day);
  char text[64];
  std::snprintf(text, sizeof(text), "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
  return text;
}

std::string FormatBytes(double bytes) {
  constexpr const char* kNames[] = {"B", "KB", "MB", "GB", "TB", "PB"};
  size_t unit = 0;
  while (bytes >= 999.5 && unit + 1 < std::size(kNames)) {
    bytes /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof(text), unit == 0 || bytes >= 99.95 ? "%.0f %s" : "%.1f %s", bytes, kNames[unit]);
  return text;
}

std::string FormatCount(int64_t count) {
  const std::string digits = std::to_string(count);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && digits[i - 1] != '-' && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string FormatCountOf(int64_t count, std::string_view noun) {
  return absl::StrCat(FormatCount(count), " ", std::string(noun), count == 1 ? "" : "s");
}

std::string FormatSeconds(double seconds) {
  char text[32];
  if (seconds < 9.95) {
    std::snprintf(text, sizeof(text), "%.1f s", seconds);
  } else if (seconds < 119.5) {
    std::snprintf(text, sizeof(text), "%.0f s", seconds);
  } else {
    int64_t whole = std::llround(seconds);
    std::snprintf(text, sizeof(text), "%lld min %lld s", static_cast<long long>(whole / 60),
                  static_cast<long long>(whole % 60));
  }
  return text;
}

}  // namespace millrace::cli
