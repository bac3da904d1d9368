#include "client/settings.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "proto/wire/setting_value.h"

namespace millrace::client {
const std::string* Settings::Take(std::string_view name) {
  known_.emplace_back(name);
  auto it = values_.find(known_.back());
  return it == values_.end() ? nullptr : &it->second;
}

void Settings::Fail(std::string_view name, const std::string& value, std::string_view expected) {
  if (!status_.ok()) return;
  status_ = InvalidConfig("setting \"" + std::string(name) + "\" cannot be \"" + value + "\", expected " +
                          std::string(expected));
}

void Settings::Text(std::string_view name, std::string& target) {
  if (const std::string* value = Take(name)) target = *value;
}

void Settings::Duration(std::string_view name, std::chrono::milliseconds& target) {
  const std::string* value = Take(name);
  if (value == nullptr) return;
  const std::optional<int64_t> number = ParseMillis(*value);
  if (!number || *number < 0) return Fail(name, *value, "milliseconds, such as 500, or a time such as 5s; 0 or more");
  target = std::chrono::milliseconds(*number);
}

void Settings::Bytes(std::string_view name, int64_t& target) {
  const std::string* value = Take(name);
  if (value == nullptr) return;
  const std::optional<int64_t> number = ParseBytes(*value);
  if (!number || *number < 0) return Fail(name, *value, "bytes, such as 262144 or 256KiB; 0 or more");
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
  if (status_.ok()) status_ = InvalidConfig("setting \"" + std::string(name) + "\": " + std::string(reason));
}

absl::Status Settings::Finish() const {
  if (!status_.ok()) return status_;
  for (const auto& [name, value] : values_) {
    if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
    const std::vector<std::string_view> names(known_.begin(), known_.end());
    return InvalidConfig("unknown setting \"" + name + "\"" + DidYouMean(name, names));
  }
  return absl::OkStatus();
}

}  // namespace millrace::client
