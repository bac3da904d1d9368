#include "proto/wire/setting_value.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <numeric>
#include <vector>

namespace millrace {
namespace {

struct Unit {
  std::string_view name;  // lower case
  int64_t factor;
};

constexpr std::array kByteUnits = std::to_array<Unit>({
    {"", 1},
    {"b", 1},
    {"kb", 1'000},
    {"mb", 1'000'000},
    {"gb", 1'000'000'000},
    {"tb", 1'000'000'000'000},
    {"kib", int64_t{1} << 10},
    {"mib", int64_t{1} << 20},
    {"gib", int64_t{1} << 30},
    {"tib", int64_t{1} << 40},
    {"ki", int64_t{1} << 10},
    {"mi", int64_t{1} << 20},
    {"gi", int64_t{1} << 30},
    {"ti", int64_t{1} << 40},
});

constexpr std::array kTimeUnits = std::to_array<Unit>({
    {"", 1},
    {"ms", 1},
    {"s", 1'000},
    {"m", 60'000},
    {"h", 3'600'000},
    {"d", 86'400'000},
});

std::optional<int64_t> ParseWithUnit(std::string_view text, std::span<const Unit> units) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc()) return std::nullopt;
  std::string unit(end, text.data() + text.size());
  if (unit.starts_with(' ')) unit.erase(0, 1);
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const auto it = std::ranges::find(units, unit, &Unit::name);
  int64_t result = 0;
  if (it == units.end() || __builtin_mul_overflow(number, it->factor, &result)) return std::nullopt;
  return result;
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, replaced});
    }
  }
  return row.back();
}

}  // namespace

std::optional<int64_t> ParseBytes(std::string_view text) { return ParseWithUnit(text, kByteUnits); }

std::optional<int64_t> ParseMillis(std::string_view text) { return ParseWithUnit(text, kTimeUnits); }

std::optional<int64_t> ParseInteger(std::string_view text) {
  return ParseWithUnit(text, std::span(kByteUnits).first(1));
}

std::string FormatBytes(int64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (unit + 1 < kUnits.size() && bytes != 0 && bytes % 1024 == 0) {
    bytes /= 1024;
    ++unit;
  }
  return std::to_string(bytes) + kUnits[unit];
}

std::optional<std::string_view> NearestName(std::string_view name, std::span<const std::string_view> names) {
  std::optional<std::string_view> nearest;
  // Half of the letters wrong is no slip of the finger any more.
  size_t best = name.size() / 2 + 1;
  for (std::string_view candidate : names) {
    if (const size_t distance = EditDistance(name, candidate); distance < best) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

std::string DidYouMean(std::string_view name, std::span<const std::string_view> names) {
  const auto nearest = NearestName(name, names);
  return nearest ? "; did you mean \"" + std::string(*nearest) + "\"?" : std::string();
}

}  // namespace millrace
