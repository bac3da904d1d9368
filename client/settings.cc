#include "client/settings.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

namespace millrace::client {
namespace {

std::optional<int64_t> ParseInteger(std::string_view text) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<int64_t> ParseBytes(std::string_view text) {
  constexpr std::pair<std::string_view, int64_t> kUnits[] = {{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
  int64_t unit = 1;
  for (const auto& [suffix, factor] : kUnits) {
    if (!text.ends_with(suffix)) continue;
    text.remove_suffix(suffix.size());
    unit = factor;
  }
  const std::optional<int64_t> number = ParseInteger(text);
  if (!number || *number > std::numeric_limits<int64_t>::max() / unit || *number < 0) return std::nullopt;
  return *number * unit;
}

// Levenshtein's.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

const std::string* Settings::Take(std::string_view name) {
  known_.emplace_back(name);
  auto it = values_.find(known_.back());
  return it == values_.end() ? nullptr : &it->second;
}

void Settings::Fail(std::string_view name, const std::string& value, std::string_view expected) {
  if (!status_.ok()) return;
  status_ =
      InvalidConfig("setting '" + std::string(name) + "' cannot be '" + value + "', expected " + std::string(expected));
}

void Settings::Text(std::string_view name, std::string& target) {
  if (const std::string* value = Take(name)) target = *value;
}

void Settings::Duration(std::string_view name, std::chrono::milliseconds& target) {
  const std::string* value = Take(name);
  if (value == nullptr) return;
  const std::optional<int64_t> number = ParseInteger(*value);
  if (!number || *number < 0) return Fail(name, *value, "whole milliseconds, 0 or more");
  target = std::chrono::milliseconds(*number);
}

void Settings::Bytes(std::string_view name, int64_t& target) {
  const std::string* value = Take(name);
  if (value == nullptr) return;
  const std::optional<int64_t> number = ParseBytes(*value);
  if (!number) return Fail(name, *value, "bytes, such as 262144 or 256KiB");
  target = *number;
}

void Settings::Count(std::string_view name, int32_t& target) {
  const std::string* value = Take(name);
  if (value == nullptr) return;
  const std::optional<int64_t> number = ParseInteger(*value);
  if (!number || *number < 0 || *number > std::numeric_limits<int32_t>::max()) {
    return Fail(name, *value, "a whole number");
  }
  target = static_cast<int32_t>(*number);
}

void Settings::Switch(std::string_view name, bool& target) {
  Choice<bool>(name, target, {{"true", true}, {"false", false}});
}

void Settings::Refuse(std::string_view name, std::string_view reason) {
  if (Take(name) == nullptr) return;
  known_.pop_back();
  if (status_.ok()) status_ = InvalidConfig("setting '" + std::string(name) + "': " + std::string(reason));
}

absl::Status Settings::Finish() const {
  if (!status_.ok()) return status_;
  for (const auto& [name, value] : values_) {
    if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
    auto nearest = std::min_element(known_.begin(), known_.end(), [&](const std::string& a, const std::string& b) {
      return EditDistance(name, a) < EditDistance(name, b);
    });
    return InvalidConfig("unknown setting '" + name + "', did you mean '" + *nearest + "'?");
  }
  return absl::OkStatus();
}

}  // namespace millrace::client
